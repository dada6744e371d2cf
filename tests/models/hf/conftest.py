"""Published folders of every class."""

import pytest

from specimens.huggingface import write_folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Return a function: kind -> (folder, the library's model); written once per kind."""
    written = {}

    def publish(kind):
        if kind not in written:
            folder = tmp_path_factory.mktemp(kind)
            written[kind] = folder, write_folder(folder, kind)
        return written[kind]

    return publish
