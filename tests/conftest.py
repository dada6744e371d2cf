import os
from collections.abc import Callable

import pytest
from hypothesis import settings

# Before torch is imported: the models of the tests are too small to gain from threads, and on a busy machine threads
# that wait for each other take longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: on a busy machine a test may take longer than Hypothesis allows without being wrong.
# The same examples in every run: a failure seen once can be seen again.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(scope="session")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A function that gives the model spec of the small random model of a family, written once."""
    from specimens import write_specimen

    written: dict[str, str] = {}

    def write(family: str) -> str:
        if family not in written:
            written[family] = write_specimen(family, tmp_path_factory.mktemp(f"specimen-{family}"))
        return written[family]

    return write
