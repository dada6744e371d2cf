import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval.evaluation import interpolate_models
from vlm_eval.merging.ensembles import OUTPUTS, PROBABILITIES, ensemble, evaluate_ensembles, random_choice
from vlm_models.classifier import LINEAR
from vlm_models.zero_shot import load_classifier


def pair(n=50, classes=4, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    ids = tuple(f"image-{row}" for row in range(n))
    return [
        Predictions(
            ids,
            labels,
            (scale * rng.standard_normal((n, classes))).astype(np.float32),
            {"model": name, "alpha": alpha, "data": "made", "weights_hash": name},
        )
        for name, alpha in (("zero-shot", "0.0"), ("fine-tuned", "1.0"))
    ]


@given(st.floats(0.01, 0.99), st.integers(0, 5))
def test_definitions(alpha, seed):
    start, end = pair(seed=seed)
    outputs, probabilities = (ensemble(start, end, alpha, space).logits for space in (OUTPUTS, PROBABILITIES))
    np.testing.assert_allclose(outputs, (1 - alpha) * start.logits + alpha * end.logits, rtol=0, atol=1e-5)
    expected = (1 - alpha) * softmax(start.logits, axis=1) + alpha * softmax(end.logits, axis=1)
    np.testing.assert_allclose(softmax(probabilities, axis=1), expected, rtol=0, atol=1e-6)


def test_logits_of_any_size_stay_finite():
    start, end = pair(scale=1e4)
    assert np.isfinite(ensemble(start, end, 1e-9, PROBABILITIES).logits).all()


@pytest.mark.parametrize("space", [OUTPUTS, PROBABILITIES])
def test_the_ends_are_the_models_and_the_rest_says_what_it_is(space):
    start, end = pair()
    assert ensemble(start, end, 0.0, space) is start and ensemble(start, end, 1.0, space) is end
    found = {alpha: ensemble(start, end, alpha, space).meta for alpha in (0.25, 0.5)}
    name = {OUTPUTS: "output-ensemble", PROBABILITIES: "probability-ensemble"}[space]
    assert {meta["model"] for meta in found.values()} == {name}
    assert [meta["alpha"] for meta in found.values()] == ["0.25", "0.5"]
    assert len({meta["weights_hash"] for meta in found.values()} | {"zero-shot", "fine-tuned"}) == 4


def test_a_random_choice_is_as_accurate_as_the_two_are_on_average():
    start, end = pair(n=4000)
    share = 0.3
    found = random_choice(start, end, share, seed=1)
    taken = (found.logits == end.logits).all(1)
    assert taken.mean() == pytest.approx(share, abs=0.03)
    assert (found.logits[~taken] == start.logits[~taken]).all()
    assert found.accuracy == pytest.approx((1 - share) * start.accuracy + share * end.accuracy, abs=0.03)
    assert found.meta["model"] == "random-choice"
    again, other = (random_choice(start, end, share, seed=seed).logits for seed in (1, 2))
    assert np.array_equal(again, found.logits) and not np.array_equal(other, found.logits)


def test_tables_of_other_samples_are_refused():
    start, end = pair()
    with pytest.raises(CallError, match="tables of other samples or classes cannot be combined: made and made"):
        ensemble(start, pair(n=40)[1], 0.5)
    with pytest.raises(CallError, match=r"unknown space of an ensemble 'output'\. Did you mean 'outputs'"):
        ensemble(start, end, 0.5, "output")


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=12)


@pytest.fixture(scope="module")
def probe(digits):
    """Two models that differ in their head only."""
    start, end = (load_classifier("tiny", digits.class_names, digits.templates) for _ in range(2))
    with torch.no_grad():
        end.head.weight += torch.randn(end.head.weight.shape, generator=torch.Generator().manual_seed(0))
    end.head_kind = LINEAR
    return start, end


def scores(rows):
    return [
        (row["data"], row["split"], row["alpha"], row["metrics"]["accuracy"], row["metrics"]["nll"]) for row in rows
    ]


def test_where_only_heads_differ_mixing_logits_is_mixing_weights(probe, digits):
    alphas = (0.0, 0.25, 0.5, 1.0)
    weights = interpolate_models(*probe, digits, alphas)
    outputs = evaluate_ensembles(*probe, digits, alphas, OUTPUTS)
    for one, other in zip(scores(weights), scores(outputs), strict=True):
        assert one[:3] == other[:3] and one[3:] == pytest.approx(other[3:], abs=1e-4)
    assert {row["model"] for row in outputs} == {"zero-shot", "output-ensemble", "fine-tuned"}


def test_only_the_two_models_are_run_and_kept(probe, digits, tmp_path):
    reports = []
    evaluate_ensembles(
        *probe, digits, (0.0, 0.5, 0.9), PROBABILITIES, tmp_path, progress=lambda *told: reports.append(told)
    )
    files = {path.name for path in tmp_path.iterdir()}
    assert files and all("alpha-0.00" in name or "alpha-1.00" in name for name in files)
    count = len(reports)
    rows = evaluate_ensembles(*probe, digits, (0.3,), OUTPUTS, tmp_path, progress=lambda *told: reports.append(told))
    assert len(reports) == count  # every table was there
    assert {(row["model"], row["alpha"]) for row in rows} == {("output-ensemble", 0.3)}
