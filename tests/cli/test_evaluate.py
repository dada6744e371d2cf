"""`vlm evaluate` and `vlm interpolate`: the same numbers whichever way they are asked for."""

import pytest

from vlm_data.tables import Predictions

RUN = "run:runs/digits-tiny-full-seed0"
LIMIT = ("--limit", "16")


@pytest.fixture
def elsewhere(tmp_path):
    """Flags that keep what is written out of the shared workplace."""
    return "--out", tmp_path / "evaluations", "--results-db", tmp_path / "results.jsonl"


def _scores(rows, model=None, alpha=None, split="test"):
    chosen = [row for row in rows if (row["model"], row["alpha"], row["split"]) == (model, alpha, split)]
    return {row["data"]: row["metrics"] for row in chosen}


def test_every_model_gets_a_row_on_every_test_set(vlm, workplace, elsewhere):
    answer = vlm("evaluate", "tiny", RUN, *LIMIT, *elsewhere, "--json")
    rows = answer.document["rows"]
    assert {row["model"] for row in rows} == {"tiny", RUN}
    tiny, tuned = _scores(rows, "tiny"), _scores(rows, RUN)
    assert tiny.keys() == tuned.keys() and len(tiny) == 1 + 6 + 3 + 15
    assert tiny != tuned
    for row in rows:
        assert {"temperature", "ece_rescaled", "overconfidence", "brier_refinement"} <= row["metrics"].keys()
    written = vlm("results", elsewhere[3], "--json").document["rows"]
    assert [(row["model"], row["data"], row["metrics"]) for row in written] == [
        (row["model"], row["data"], row["metrics"]) for row in rows
    ]


def test_predictions_are_kept_and_not_computed_again(vlm, workplace, elsewhere, tmp_path):
    first = vlm("evaluate", "tiny", *LIMIT, *elsewhere, "--json")
    tables = {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluations").rglob("*.parquet")}
    assert len(tables) == 1 + 6 + 15 + 1, "with the ID validation set, which gives the temperature"
    again = vlm("evaluate", "tiny", *LIMIT, *elsewhere, "--json")
    assert again.document == first.document
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluations").rglob("*.parquet")} == tables
    table = next(path for path in tables if path.name == "digits.test.parquet")
    row = next(row for row in first.document["rows"] if row["data"] == "digits")
    assert row["metrics"]["accuracy"] == pytest.approx(Predictions.load(table).accuracy)


def test_the_ends_of_an_interpolation_are_the_models_themselves(vlm, workplace, elsewhere, tmp_path):
    save = ("--save", tmp_path / "mixed", "--alpha", "1")
    mixed = vlm("interpolate", "tiny", RUN, *LIMIT, "--alphas", "0,1", *save, *elsewhere, "--json").document
    alone = vlm("evaluate", "tiny", RUN, f"file:{tmp_path / 'mixed'}", *LIMIT, *elsewhere, "--json").document["rows"]
    assert (mixed["alpha"], mixed["saved"]) == (1.0, str(tmp_path / "mixed"))
    assert _scores(mixed["rows"], "zero-shot", 0.0) == _scores(alone, "tiny")
    assert (
        _scores(mixed["rows"], "fine-tuned", 1.0) == _scores(alone, RUN) == _scores(alone, f"file:{tmp_path / 'mixed'}")
    )


def test_mixtures_of_different_models_do_not_pass_for_repetitions(vlm, workplace, elsewhere, tmp_path):
    call = (*LIMIT, "--alphas", "0,0.5,1", *elsewhere, "--json")
    first = vlm("interpolate", "tiny", RUN, "--save", tmp_path / "mixed", *call).document["rows"]
    second = vlm("interpolate", "tiny", f"file:{tmp_path / 'mixed'}", *call).document["rows"]
    kept = vlm("results", elsewhere[3], "--json").document["rows"]
    assert len(kept) == len(first) + len(second)
    again = vlm("interpolate", "tiny", RUN, *call).document["rows"]
    assert again == first
    assert len(vlm("results", elsewhere[3], "--json").document["rows"]) == len(kept)


def test_auto_takes_the_best_alpha_on_validation(vlm, workplace, elsewhere):
    call = ("interpolate", "tiny", RUN, *LIMIT, "--alphas", "0,0.5,1", "--alpha", "auto", *elsewhere)
    answer = vlm(*call, "--json").document
    rows = [row for row in answer["rows"] if row["split"] == "val"]
    assert len(rows) == 3
    accuracy = {row["alpha"]: row["metrics"]["accuracy"] for row in rows}
    assert accuracy[answer["alpha"]] == max(accuracy.values())
    text = vlm(*call).out
    assert f"{answer['alpha']:g} *" in text and f"* chosen: {answer['alpha']:g}" in text


def test_a_mixture_is_never_saved_over_a_run(vlm, workplace, elsewhere, tmp_path):
    answer = vlm("interpolate", "tiny", RUN, *LIMIT, "--save", RUN.removeprefix("run:"), *elsewhere)
    assert answer.code == 2 and "holds a run, whose weights would be lost" in answer.paragraph
    assert not any(tmp_path.rglob("*.parquet"))
