import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_data.errors import CallError
from vlm_data.registry import Registry

PACKAGE = "registry_test_colours"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A package of three modules, one of which cannot be imported, and a distribution with an entry point."""
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "light_red.py").write_text("VALUE = 'red'\n")
    (package / "broken.py").write_text("raise RuntimeError('imported by listing')\n")
    (package / "_private.py").write_text("")
    (tmp_path / "registry_test_third_party.py").write_text("VALUE = 'blue'\n")
    info = tmp_path / "registry_test_third_party-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: registry-test-third-party\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{PACKAGE}]\nblue = registry_test_third_party\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry(PACKAGE, "colour", {"crimson": "light-red"})
    for name in [name for name in sys.modules if name.startswith("registry_test_")]:
        del sys.modules[name]


def test_listing_finds_modules_and_entry_points_and_imports_none(registry: Registry):
    assert registry.names() == ["blue", "broken", "light-red"]
    assert f"{PACKAGE}.light_red" not in sys.modules
    assert "registry_test_third_party" not in sys.modules


def test_loading_imports_one_module(registry: Registry):
    assert registry.load("light-red").VALUE == "red"
    assert registry.load("blue").VALUE == "blue"
    assert f"{PACKAGE}.broken" not in sys.modules


def test_an_alias_is_the_name_it_stands_for(registry: Registry):
    assert registry.canonical("crimson") == "light-red"
    assert registry.load("crimson") is registry.load("light-red")


@pytest.mark.parametrize(("written", "offered"), [("light_red", "light-red"), ("crimsn", "crimson"), ("blu", "blue")])
def test_an_unknown_name_gets_the_nearest_one_aliases_included(registry: Registry, written: str, offered: str):
    with pytest.raises(CallError, match=f"unknown colour '{written}'. Did you mean '{offered}'"):
        registry.load(written)
