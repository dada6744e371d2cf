"""`vlm recipes`: look at the shipped settings, take one home, use it."""

import tomllib

import numpy as np
import pytest

from specimens.published import PUBLISHED
from vlm_data.files import write_text
from vlm_data.tables import Predictions
from vlm_finetune.recipe_files import recipe_names, recipe_text, resolve


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


def write_imagenet_run(folder):
    """A finished run of imagenet-carot with another batch size, as far as `recipes show` reads it."""
    write_text(
        folder / "recipe.toml", resolve("imagenet-carot", ["training.batch_size=256", "data.root=/data"]).to_toml()
    )
    (folder / "predictions").mkdir()
    labels = np.arange(20) % 4
    for data in ("imagenet", "imagenet/v2"):
        logits = np.eye(4, dtype=np.float32)[labels] * 9
        logits[:5] = 0  # three in four of these are wrong
        meta = {"model": "fine-tuned", "data": data, "alpha": "1.0", "split": "test", "role": "id", "group": ""}
        table = Predictions(tuple(map(str, range(20))), labels, logits, meta)
        table.save(folder / "predictions" / f"{data.replace('/', '-')}.parquet")


def test_a_run_is_shown_beside_the_published_scores(vlm, tmp_path):
    write_imagenet_run(tmp_path)
    out = vlm("recipes", "show", "imagenet-carot", "--run", ".").out
    published, own, difference = (
        next(line.split()[1:3] for line in out.splitlines() if line.split()[:1] == [word])
        for word in ("carot", "yours", "difference")
    )
    assert (published, own, difference) == (["83.13", "74.11"], ["85.00", "85.00"], ["+1.87", "+10.89"])
    assert ". has other settings than imagenet-carot: training.batch_size (512 there, 256 now)\n" in out
    document = vlm("recipes", "show", "imagenet-carot", "--run", ".", "--json").document
    scores = next(one for one in document["published"] if one["method"] == "carot" and one["metric"] == "accuracy")
    assert scores["own"] == {"imagenet": 0.85, "imagenet/v2": 0.85}
    assert scores["difference"]["imagenet"] == pytest.approx(0.0187)


def test_show_says_where_no_scores_are_known(vlm, tmp_path):
    assert "no published scores of this run are known" in vlm("recipes", "show", "fmow-flyp").out
    assert "published" not in vlm("recipes", "show", "digits-full").out
    answer = vlm("recipes", "show", "imagenet-carot", "--run", "nowhere")
    assert answer.code == 2 and "nowhere is not a run directory" in answer.paragraph


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("data", sorted(PUBLISHED))
def test_recipes_run_on_the_layout_that_authors_hand_out(vlm, tmp_path, data):
    """With the small model, one epoch, and a few images of everything: settings, splits and shifts fit together."""
    PUBLISHED[data](tmp_path / "data")
    name = next(name for name in (f"{data}-flyp", *recipe_names()) if name.startswith(data) and name in recipe_names())
    few_shot = ["--set", "data.shots=2"] if resolve(name).data.shots else []
    short = ["--epochs", "1", "--set", "evaluation.alphas=[0,1]", "--model", "tiny", *few_shot]
    answer = vlm(
        *(
            "finetune",
            "--recipe",
            name,
            "--data-root",
            tmp_path / "data",
            "--out",
            tmp_path / "run",
            "--json",
        ),
        *short,
    )
    assert answer.code == 0, answer.err
    assert {row["model"] for row in answer.document["rows"]} == {"zero-shot", "fine-tuned", "interpolated"}
    pairs = vlm("recipes", "show", name, "--run", tmp_path / "run", "--json").document["published"]
    assert all(pair["own"] for pair in pairs) and bool(pairs) is (data == "imagenet")
