"""`vlm recipes`: look at the shipped settings, take one home, use it."""

import tomllib

import pytest

from vlm_finetune.recipe_files import recipe_names, recipe_text


def test_ls_names_every_recipe_with_method_and_source(vlm):
    listed = vlm("recipes", "ls", "--json").document["recipes"]
    assert sorted(found["name"] for found in listed) == recipe_names()
    assert all(found["method"] and found["data"] and found["model"] and found["source"] for found in listed)
    assert "Oh et al. 2024" in vlm("recipes", "ls").out


def test_ls_shows_only_what_was_asked_for(vlm):
    out = vlm("recipes", "ls", "--method", "carot", "--data", "imagenet").out
    assert "imagenet-carot-l14" in out and "flyp" not in out and "digits" not in out
    answer = vlm("recipes", "ls", "--data", "imagenett")
    assert answer.code == 2 and "Did you mean 'imagenet'?" in answer.paragraph


@pytest.mark.parametrize("name", recipe_names())
def test_show_prints_the_file_itself(vlm, name):
    assert vlm("recipes", "show", name).out.startswith(recipe_text(name))
    written = tomllib.loads(recipe_text(name))
    shown = vlm("recipes", "show", name, "--json").document["recipe"]
    assert {table: {**shown[table], **own} for table, own in written.items() if isinstance(own, dict)}.items() <= (
        shown.items()
    )


def test_show_prints_what_a_recipe_extends(vlm):
    out = vlm("recipes", "show", "imagenet-wise-ft-b32").out
    assert "# imagenet-full, which it extends" in out and "lr = 3e-5 # appendix D.2" in out


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
