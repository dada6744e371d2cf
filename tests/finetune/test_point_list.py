import pytest

from vlm_data.errors import CallError, VlmError
from vlm_finetune.grid import grid, resolve_points
from vlm_finetune.point_list import read_points

TOML = """
[[point]]
name = "first"
method.name = "flyp"
training.lr = 1e-3
evaluation = {alphas = [0.0, 1.0], choose_alpha = true}

[[point]]
data.name = "true"
training = {epochs = 2}
"""
CSV = """method.name,training.lr,evaluation.alphas
flyp,1e-3,"[0.0,1.0]"
full,,

"""


def written(tmp_path, text, name):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_keep_numbers_as_they_are_written(tmp_path):
    first, second = read_points(written(tmp_path, TOML, "points.toml"))
    assert first == (
        ("name", "first"), ("method.name", "flyp"), ("training.lr", "1e-3"),
        ("evaluation.alphas", "[0.0,1.0]"), ("evaluation.choose_alpha", "true"),
    )  # fmt: skip
    assert second == (("data.name", '"true"'), ("training.epochs", "2"))


def test_an_empty_cell_leaves_a_setting_to_the_recipe(tmp_path):
    rows = read_points(written(tmp_path, "\ufeff" + CSV, "points.csv"))
    assert rows == [
        (("method.name", "flyp"), ("training.lr", "1e-3"), ("evaluation.alphas", "[0.0,1.0]")),
        (("method.name", "full"),),
    ]


def test_both_kinds_say_the_same_and_become_recipes(tmp_path):
    toml = '[[point]]\nmethod.name = "flyp"\ntraining.lr = 1e-3\nevaluation.alphas = [0.0, 1.0]\n[[point]]\n'
    rows = read_points(written(tmp_path, toml + 'method.name = "full"', "points.toml"))
    assert rows == read_points(written(tmp_path, CSV, "points.csv"))
    recipes = resolve_points(grid([], [0, 1], rows))
    assert list(recipes)[2:] == ["full-seed0", "full-seed1"]
    assert recipes["flyp-lr=1e-3-alphas=_0.0_1.0-seed1"].evaluation.alphas == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("points.txt", "a", "ends in .toml or .csv"),
        ("points.toml", "", r"lists no run; expected tables \[\[point\]\]"),
        ("points.toml", "[[point", r"cannot read .*points.toml: .*Expected tables \[\[point\]\]"),
        ("points.toml", "[training]\nlr = 1", r"holds 'training'. Expected nothing but tables"),
        ("points.toml", "[point]\nlr = 1", r"holds 'point'. Expected nothing but tables"),
        ("points.toml", "[[point]]\nlr = 1", "point 1: 'lr' is no setting"),
        ("points.toml", 'point = ["a"]', "point 1: 'a' is no setting"),
        ("points.toml", "[[point]]\nname = 'a'", "point 1, sets nothing"),
        ("points.toml", "[[point]]\na.b = 1\n[[point]]\nname = 'c'\na.b = 1", "one point twice, as number 1 and 2"),
        ("points.csv", "", "lists no run; expected a header"),
        ("points.csv", "training.lr\n", "lists no run"),
        ("points.csv", "lr\n1\n", "columns that are no settings: 'lr'"),
        ("points.csv", "training.lr;training.epochs\n1;2\n", "no settings: 'training.lr;training.epochs'"),
        ("points.csv", "a.b,a.b\n1,2\n", "columns twice: 'a.b'"),
        ("points.csv", "a.b,a.c\n1,2,3\n", "line 2, has 3 cells for 2 columns"),
        ("points.csv", 'a.b\n"x"y\n', "cannot read .*points.csv"),
        ("points.csv", "a.b,a.c\n1,\n1,\n", "one point twice"),
    ],
)
def test_what_is_no_list(tmp_path, name, text, message):
    with pytest.raises(VlmError, match=message):
        read_points(written(tmp_path, text, name))


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(VlmError, match=r"cannot read .*missing.csv"):
        read_points(tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes(b"a.b\n\xff\n")
    with pytest.raises(VlmError, match="Save it as UTF-8"):
        read_points(tmp_path / "latin.csv")


def test_an_empty_list_is_a_wrong_call(tmp_path):
    with pytest.raises(CallError):
        read_points(written(tmp_path, "", "points.csv"))
