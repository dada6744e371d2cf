import dataclasses

import numpy as np
import pytest

from vlm_eval.comparing.changes import GroupBootstrap
from vlm_eval.report.wording import collapse_warning, headline, interval, percent, points, verdict
from vlm_eval.score_table import Column, Line, Score, ScoreTable
from vlm_eval.training_curve import Collapse


def resampled(accuracy, ece, spread=0.01):
    noise = spread * np.random.default_rng(0).standard_normal(1000)
    own = noise * (1 + accuracy)  # differs between models, so that differences have a spread
    return GroupBootstrap(accuracy + own, ece + own, {"accuracy": accuracy, "ece": ece})


SUMMARY = ScoreTable(
    (Column("d", "ID", "id"), Column("d/a", "a", "natural"), Column("d/b", "b", "natural")),
    tuple(
        Line(
            name,
            alpha,
            {key: {"accuracy": Score(value)} for key, value in zip(("d", "d/a", "d/b"), values, strict=True)},
        )
        for name, alpha, values in [
            ("zero-shot", 0.0, (0.5, 0.6, 0.4)),
            ("fine-tuned", 1.0, (0.9, 0.5, 0.3)),
            ("interpolated", 0.5, (0.8, 0.7, 0.5)),
        ]
    ),
)
RESAMPLED = {
    ("zero-shot", "id"): resampled(0.5, 0.1),
    ("fine-tuned", "id"): resampled(0.9, 0.04),
    ("interpolated", "id"): resampled(0.8, 0.05),
    ("zero-shot", "natural"): resampled(0.5, 0.1),
    ("fine-tuned", "natural"): resampled(0.4, 0.3),
    ("interpolated", "natural"): resampled(0.6, 0.1),
}


def plain(text):
    return text.replace("\u00a0", " ")


def test_signs_and_rounding():
    assert (percent(0.9286), percent(0), percent(1)) == ("92.9", "0.0", "100.0")
    assert (points(0.1), points(-0.0264)) == ("+10.0", "−2.6")
    assert interval(Score(0.5)) == ""


def test_the_verdict_says_which_way_each_group_went():
    found = verdict(SUMMARY, RESAMPLED, 0.5)
    accuracy, calibration, recovery = found.values()
    assert plain(accuracy[0]).startswith(
        "Fine-tuning raised accuracy on the ID test set: 50.0 % → 90.0 % (+40.0 points"
    )
    assert plain(accuracy[1]).startswith("Fine-tuning lowered accuracy on natural shifts (mean of 2): 50.0 % → 40.0 %")
    assert plain(calibration[0]).startswith("Fine-tuning lowered ECE on the ID test set: 10.0 % → 4.0 %")
    assert "accuracy 60.0 % (+20.0 points" in plain(recovery[1])
    assert any("fixed in advance" in heading for heading in found)


def test_a_difference_within_chance_is_not_called_a_change():
    unsure = {**RESAMPLED, ("fine-tuned", "natural"): resampled(0.505, 0.1, spread=0.5)}
    assert "did not clearly change accuracy on natural shifts" in verdict(SUMMARY, unsure, 0.5)["Accuracy"][1]


def test_corruptions_are_said_to_be_id_images():
    columns = (*SUMMARY.columns, Column("d/noise", "noise", "corruption"))
    summary = dataclasses.replace(SUMMARY, columns=columns)
    with_corruptions = RESAMPLED | {(model, "corruption"): found for (model, group), found in RESAMPLED.items()}
    sentences = verdict(summary, with_corruptions, 0.5)["Accuracy"]
    assert any("corruptions (noise)" in sentence for sentence in sentences)
    assert "applied to the ID test images" in sentences[-1]
    assert not any("applied to" in sentence for sentence in verdict(SUMMARY, RESAMPLED, 0.5)["Accuracy"])


def test_an_alpha_at_an_end_is_no_interpolation():
    assert not any("Interpolation" in heading for heading in verdict(SUMMARY, RESAMPLED, 1.0))
    assert any("chosen on ID validation" in heading for heading in verdict(SUMMARY, RESAMPLED, 0.5, True))


def test_the_headline_compares_both_models_with_zero_shot():
    assert headline(SUMMARY) == (
        "Accuracy against zero-shot, in points: fine-tuned +40.0 on ID, −10.0 on natural shifts; "
        "interpolated +30.0 on ID, +10.0 on natural shifts."
    )
    assert headline(dataclasses.replace(SUMMARY, lines=SUMMARY.lines[:1])) == ""


@pytest.mark.parametrize("known", [True, False])
def test_a_collapse_is_named(known):
    one = Collapse(3.0, "d/a", 0.5, 0.0) if known else Collapse(3.0, "d/a")
    text = plain(collapse_warning([one]))
    assert "d/a" in text and "epoch 3" in text
    assert ("50.0 % before training, 0.0 % after" in text) == known
    assert collapse_warning([]) == ""
