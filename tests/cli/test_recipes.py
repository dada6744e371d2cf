"""`vlm recipes`: look at the shipped settings, take one home, use it."""

import tomllib

import pytest

from vlm_finetune.recipe_files import recipe_names, recipe_text


def test_ls_names_every_recipe_with_method_and_source(vlm):
    listed = vlm("recipes", "ls", "--json").document["recipes"]
    assert [found["name"] for found in listed] == recipe_names()
    assert all(found["method"] and found["source"] for found in listed)
    assert "Oh et al. 2024" in vlm("recipes", "ls").out


@pytest.mark.parametrize("name", recipe_names())
def test_show_prints_the_file_itself(vlm, name):
    assert vlm("recipes", "show", name).out == recipe_text(name)
    assert vlm("recipes", "show", name, "--json").document["recipe"] == tomllib.loads(recipe_text(name))


def test_a_copy_is_equal_and_usable(vlm, tmp_path):
    answer = vlm("recipes", "copy", "carot", "own.toml", "--json")
    assert answer.document == {"name": "carot", "file": "own.toml"}
    assert (tmp_path / "own.toml").read_text() == recipe_text("carot")
    plan = vlm("finetune", "--recipe", "own.toml", "--limit", "8", "--dry-run", "--json").document
    assert plan["recipe"]["method"]["name"] == "carot"


def test_a_file_that_is_there_is_replaced_only_on_request(vlm, tmp_path):
    (tmp_path / "own.toml").write_text("mine")
    answer = vlm("recipes", "copy", "carot", "own.toml")
    assert answer.code == 2 and "own.toml is there already and was not changed" in answer.paragraph
    assert (tmp_path / "own.toml").read_text() == "mine"
    assert vlm("recipes", "copy", "carot", "own.toml", "--overwrite").code == 0
    assert (tmp_path / "own.toml").read_text() == recipe_text("carot")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "caro"], 2, "unknown recipe 'caro'. Did you mean 'carot'?"),
        (["copy", "flipp", "own.toml"], 2, "unknown recipe 'flipp'. Did you mean 'flyp'?"),
        (["copy", "flyp", "."], 2, "is a folder; expected the name of a file"),
        (["copy", "flyp", "in-the-way/own.toml"], 1, "cannot write in-the-way/own.toml"),
    ],
)
def test_a_wrong_name_is_told(vlm, tmp_path, arguments, code, said):
    (tmp_path / "in-the-way").write_text("a file")
    answer = vlm("recipes", *arguments)
    assert answer.code == code and said in answer.paragraph and answer.out == ""
    assert not (tmp_path / "own.toml").exists()
