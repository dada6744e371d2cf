"""What the main job shows on the shipped checkpoint: signs with a margin, as measured over three seeds."""

import pytest


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    from .conftest import call

    folder = tmp_path_factory.mktemp("main")
    answer = call("finetune", "--json", "--out", folder / "run")
    assert answer.code == 0, answer.err
    table = {}
    for row in answer.document["rows"]:
        table.setdefault(row["model"], {})[row["data"]] = row
    return answer.document, table


def _mean(rows, metric, names=None):
    chosen = [row for row in rows.values() if row["role"] == "shift" and (names is None or row["data"] in names)]
    return sum(row["metrics"][metric] for row in chosen) / len(chosen)


FAR = {"digits/invert", "digits/canvas", "digits/render"}


def test_the_document_has_the_agreed_shape(scores):
    document, table = scores
    assert document["alpha"] == 0.5 and set(table) == {"zero-shot", "fine-tuned", "interpolated"}
    for model, alpha in {"zero-shot": 0.0, "fine-tuned": 1.0, "interpolated": 0.5}.items():
        rows = table[model]
        assert len(rows) == 10 and {row["role"] for row in rows.values()} == {"id", "shift"}
        assert {row["group"] for row in rows.values()} == {"", "natural", "corruption"}
        assert all(row["alpha"] == alpha and row["split"] == "test" for row in rows.values())
        assert rows["digits/noise"]["n"] == 5 * 600 and rows["digits"]["n"] == 600
    assert {row["alpha"] for row in document["curve"]} == {round(0.1 * step, 1) for step in range(11)}


def test_fine_tuning_raises_id_accuracy_by_twenty_points(scores):
    _, table = scores
    gain = table["fine-tuned"]["digits"]["metrics"]["accuracy"] - table["zero-shot"]["digits"]["metrics"]["accuracy"]
    assert gain > 0.20


def test_fine_tuning_loses_on_far_shifts(scores):
    _, table = scores
    assert _mean(table["fine-tuned"], "accuracy", FAR) < _mean(table["zero-shot"], "accuracy", FAR) - 0.10
    assert _mean(table["fine-tuned"], "ece", FAR) > _mean(table["zero-shot"], "ece", FAR) + 0.10


def test_the_interpolated_model_beats_the_fine_tuned_one_on_the_mean_over_shifts(scores):
    _, table = scores
    assert _mean(table["interpolated"], "accuracy") > _mean(table["fine-tuned"], "accuracy") + 0.03
    assert _mean(table["interpolated"], "ece") < _mean(table["fine-tuned"], "ece") - 0.03
