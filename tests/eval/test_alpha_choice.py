import dataclasses

import pytest

from vlm_eval.alpha_choice import alpha_choices
from vlm_eval.scores import Scoring, score_tables


@pytest.fixture(scope="module")
def rows(made_tables):
    return score_tables(made_tables(), scoring=Scoring(resamples=0))


def test_the_oracle_is_never_worse_than_a_choice(rows):
    found = alpha_choices(rows, 0.5)
    assert {one.label for one in found.columns} >= {"ID", "invert", "noise", "mean of natural shifts"}
    for one in found.columns:
        assert one.gap_fixed >= 0 and one.gap_held_out >= 0
        scored = {
            r["alpha"]: r["metrics"]["accuracy"]
            for r in rows
            if r["data"] == one.data and r["split"] == "test" and r["severity"] is None
        }
        if scored:
            assert one.oracle == max(scored.values()) == scored[one.oracle_alpha]
            assert one.fixed == scored[0.5] and one.held_out == scored[found.held_out]


def test_the_choice_sees_validation_images_only(rows):
    best = max((r for r in rows if r["split"] == "val"), key=lambda r: (r["metrics"]["accuracy"], -r["metrics"]["nll"]))
    assert alpha_choices(rows).held_out == best["alpha"]
    spoilt = [r if r["split"] == "val" else {**r, "metrics": {**r["metrics"], "accuracy": 0.0}} for r in rows]
    assert alpha_choices(spoilt).held_out == best["alpha"]


def test_without_validation_images_there_is_no_such_choice(rows):
    found = alpha_choices([r for r in rows if r["split"] == "test"])
    assert found.held_out is None and all(one.held_out is one.gap_held_out is None for one in found.columns)


def test_a_fixed_alpha_that_was_not_evaluated(rows):
    found = alpha_choices(rows, 0.3)
    assert all(one.fixed is None and one.gap_fixed is None for one in found.columns)
    assert dataclasses.asdict(found.columns[0])["oracle"] > 0
