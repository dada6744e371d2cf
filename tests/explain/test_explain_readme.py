import doctest
from pathlib import Path

README = Path(__file__).parents[2] / "packages" / "vlm-explain" / "README.md"


def test_the_example_of_the_readme_runs():
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=flags)
    assert tried >= 20
    assert failed == 0
