import doctest
import re
from pathlib import Path

from vlm_models.catalog import REGISTRY

PACKAGE = Path(__file__).parents[2] / "packages" / "vlm-models"
README = PACKAGE / "README.md"


def test_the_example_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried > 10 and failed == 0
    assert (tmp_path / "saved" / "model.json").is_file()


def test_every_family_and_every_module_it_names_exist():
    text = README.read_text(encoding="utf-8")
    families, modules = text.split("## Families")[1].split("## What there is")
    named = {name for row in re.findall(r"^\| (`.*?) \|", families, re.M) for name in re.findall(r"`(\w+)", row)}
    assert named == set(REGISTRY.names())
    places = PACKAGE / "src" / "vlm_models"
    for row in re.findall(r"^\| (`.*?) \|", modules, re.M):
        for name in re.findall(r"`(\w+)`", row):
            assert (places / f"{name}.py").is_file() or (places / name / "__init__.py").is_file(), name
