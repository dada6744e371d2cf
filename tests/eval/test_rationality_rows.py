import dataclasses

import pytest

from vlm_eval import results
from vlm_eval.rationality.rows import with_rationales
from vlm_eval.rationality.scores import mean_over_severities, score_rationales
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.summary import summary_table

QUICK = Scoring(resamples=0, metrics=("accuracy",))


@pytest.fixture(scope="module")
def predictions(made_tables):
    return made_tables(alphas=(0.0, 0.5, 1.0), natural={}, n=120, data_hash="d" * 16)


@pytest.fixture(scope="module")
def tables(predictions, made_rationales):
    return [made_rationales(one) for one in predictions if one.meta["split"] == "test"]


@pytest.fixture(scope="module")
def rows(predictions, tables):
    return with_rationales(score_tables(predictions, scoring=QUICK), tables, resamples=100)


def test_a_row_gets_what_the_table_of_the_same_model_and_images_says(rows, tables):
    for table in tables:
        (row,) = [r for r in rows if (r["data"], r["alpha"]) == (table.meta["data"], float(table.meta["alpha"]))
                  and r["split"] == "test"]  # fmt: skip
        scores = score_rationales(table)
        for name in ("pt", "ir", "validity"):
            assert row["metrics"][name] == scores.shares[name].value
            assert row["intervals"][name] == [scores.shares[name].low, scores.shares[name].high]
        assert row["metrics"]["evidence_area"] == scores.means["area"]
        assert row["metrics"]["evidence_known"] == pytest.approx(scores.counts.n / 120)
        assert "accuracy" in row["metrics"]
    assert not any("pt" in row["metrics"] for row in rows if row["split"] == "val")


def test_a_corruption_gets_the_mean_over_its_severities(rows, tables):
    severities = [one for one in tables if one.meta["shift"] == "noise" and one.meta["alpha"] == "1.0"]
    (row,) = [r for r in rows if r["data"] == "made/noise" and r["alpha"] == 1.0]
    expected = mean_over_severities(severities, resamples=100).shares["pt"]
    assert row["metrics"]["pt"] == expected.value and row["intervals"]["pt"] == [expected.low, expected.high]


@pytest.mark.parametrize(
    "facts",
    [{"weights_hash": "f" * 16}, {"data_hash": "e" * 16}, {"split": "val"}, {"alpha": "0.7"}],
    ids=["weights", "data", "split", "alpha"],
)
def test_a_table_of_another_model_or_other_images_changes_nothing(predictions, tables, facts):
    plain = score_tables(predictions[:1], scoring=QUICK)
    other = dataclasses.replace(tables[0], meta={**tables[0].meta, **facts})
    assert with_rationales(plain, [other]) == plain
    assert with_rationales(plain, []) == plain
    assert with_rationales(plain, [tables[0]]) != plain


def test_a_part_of_the_images_changes_nothing(made_predictions, made_rationales):
    whole, part = (made_predictions("made", 0.0, (2.2, 3.6), n=n) for n in (120, 60))
    plain = score_tables([whole], scoring=QUICK)
    assert with_rationales(plain, [made_rationales(part)]) == plain


def test_undefined_numbers_are_left_out_and_rows_can_be_stored(predictions, tables, tmp_path):
    wrong = dataclasses.replace(tables[0], predicted=(tables[0].labels + 1) % 10)
    (row,) = with_rationales(score_tables(predictions[:1], scoring=QUICK), [wrong])
    assert "pt" not in row["metrics"] and row["metrics"]["ir"] == 0
    results.append(tmp_path / "results.jsonl", [row])
    (read,), problems = results.read(tmp_path / "results.jsonl")
    assert read["metrics"] == row["metrics"] and not problems


def test_the_table_that_ends_a_run_holds_pt_and_ir(rows):
    table = summary_table(rows, 0.5)
    assert [line.model for line in table.lines] == ["zero-shot", "fine-tuned", "interpolated"]
    for line in table.lines:
        assert {"pt", "ir", "validity"} <= set(line.cells["made"]) & set(line.cells["made/noise"])
        assert line.cells["made"]["pt"].low < line.cells["made"]["pt"].value
        assert {"pt", "ir"} <= set(line.cells["mean/corruption"])
    zero_shot, tuned, _ = table.lines
    assert zero_shot.cells["made"]["pt"].value > tuned.cells["made"]["pt"].value
