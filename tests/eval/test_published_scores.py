"""Published scores: what is in the file, whom it concerns, and a run beside it."""

import dataclasses
import math

import numpy as np
import pytest

from vlm_data.files import write_text
from vlm_data.tables import Predictions
from vlm_eval.metrics.accuracy import accuracy
from vlm_eval.metrics.batch_averaged import batch_averaged_ece
from vlm_eval.metrics.likelihood import softmax
from vlm_eval.published_scores import MEAN, METRICS, beside, published_lines
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.recipe_files import recipe_names, resolve
from vlm_finetune.run import Run

IMAGENET = [name for name in recipe_names() if name.startswith("imagenet-")]
SETS = ("imagenet", "imagenet/v2", "imagenet/r", "imagenet/a", "imagenet/sketch", "imagenet/objectnet")


def write_run(folder, name, sets=SETS, alphas=(0.0, 0.5, 1.0)):
    """A run of a recipe of which only recipe and predictions are there: random answers, other ones in every table."""
    recipe = resolve(name)
    write_text(folder / "recipe.toml", recipe.to_toml())
    (folder / "predictions").mkdir()
    rng = np.random.default_rng(0)
    tables = {}
    for data in sets:
        for alpha in alphas:
            for split in ("test", "val") if data == "imagenet" else ("test",):
                logits = rng.normal(size=(600, 5)).astype(np.float32)
                meta = {"model": "m", "data": data, "alpha": str(alpha), "split": split}
                meta |= {"role": "id", "group": ""} if data == "imagenet" else {"role": "shift", "group": "natural"}
                table = Predictions(tuple(map(str, range(600))), rng.integers(5, size=600), logits, meta)
                table.save(folder / "predictions" / f"{data.replace('/', '-')}-{alpha}-{split}.parquet")
                tables[data, alpha, split] = table
    return Run(folder, recipe), tables


def test_values_are_probabilities_and_printed_means_are_near_those_of_the_columns():
    lines = [line for name in IMAGENET for line in published_lines(resolve(name))]
    assert len(set(map(id, lines))) > 40
    for line in lines:
        assert all(0 < value < 1 for value in line.values.values()) and 0 < line.mean < 1
        assert line.metric in METRICS and line.secured and next(iter(line.values)) == "imagenet"
        assert line.printed_mean is None or abs(line.mean - line.printed_mean) < 0.002
        assert (line.alpha is None) == bool(line.rule)
        assert line.method is not None or line.alpha == 0.0


def test_a_printed_mean_that_its_columns_do_not_give_is_told():
    told = {
        (line.method, line.metric): line.remarks
        for line in published_lines(resolve("imagenet-flyp"))
        if "which the columns do not give" in " ".join(line.remarks)
    }
    assert told["flyp", "accuracy"] == ["the mean is printed as 59.40, which the columns do not give"]
    assert told["flyp", "batch_averaged_ece"] == ["the mean is printed as 0.1836, which the columns do not give"]
    assert not any(line.remarks for line in published_lines(resolve("imagenet-carot")) if line.method)


@pytest.mark.parametrize(
    ("name", "scored"),
    [
        ("imagenet-carot", True),
        ("imagenet-lp-ft-rn50", True),
        ("imagenet-full-l14", True),
        ("imagenet-wise-ft-l14-336", True),
        ("imagenet-carot-b32", False),  # nobody reports it; a zero-shot line alone would not be about it
        ("fmow-flyp", False),
        ("carot", False),
        ("digits-full", False),
    ],
)
def test_lines_are_those_of_model_data_and_method(name, scored):
    recipe = resolve(name)
    methods = {line.method for line in published_lines(recipe)}
    assert (recipe.method in methods) is scored
    assert methods <= {None, recipe.method}


def test_a_run_stands_beside_with_the_published_estimator(tmp_path):
    run, tables = write_run(tmp_path, "imagenet-carot")
    for pair in beside(run.recipe, run):
        line = pair.published
        for data in SETS:
            table = tables[data, line.alpha, "test"]
            if line.metric == "accuracy":
                expected = accuracy(table.logits, table.labels)
            else:  # 600 samples: one batch of 512 and a short one
                expected = batch_averaged_ece(softmax(table.logits), table.labels, 512)
            assert pair.own[data] == pytest.approx(expected, abs=1e-12)
            assert pair.differences[data] == pytest.approx(expected - line.values[data], abs=1e-12)
        assert pair.own[MEAN] == pytest.approx(math.fsum(pair.own[data] for data in SETS[1:]) / 5)
        assert pair.differences[MEAN] == pytest.approx(pair.own[MEAN] - line.mean)


def test_without_all_shifts_there_is_no_mean_and_without_their_alpha_no_score(tmp_path):
    run, _ = write_run(tmp_path, "imagenet-wise-ft", SETS[:3], alphas=(0.0, 0.5, 1.0))
    pairs = beside(run.recipe, run)
    assert all(set(pair.own) <= set(SETS[:3]) for pair in pairs)
    scored = {pair.published.alpha for pair in pairs if pair.own}
    assert scored == {0.0, 0.5, 1.0}
    assert {pair.published.alpha for pair in pairs} > {0.1, None}  # an alpha that has another rule has no counterpart


def test_without_a_run_there_are_no_scores_and_a_run_without_predictions_is_refused(tmp_path):
    recipe = resolve("imagenet-flyp")
    assert all(pair.own == {} and pair.differences == {} for pair in beside(recipe))
    with pytest.raises(VlmFinetuneError, match="has no predictions to put beside published scores"):
        beside(recipe, Run(tmp_path, recipe))


def test_another_seed_is_the_same_published_run():
    recipe = resolve("imagenet-carot")
    other = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=7))
    assert published_lines(other) == published_lines(recipe)
