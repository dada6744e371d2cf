import dataclasses

import numpy as np
import pytest

from vlm_data.tables import Predictions
from vlm_eval.rescaling import Rescaled, fitted_temperature, rescaled


@pytest.fixture(scope="module")
def too_sharp():
    """Logits that are calibrated, times four."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 5))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    return Predictions(tuple(map(str, range(4000))), labels, (4 * logits).astype(np.float32))


def test_the_factor_is_found_and_undone(too_sharp):
    temperature = fitted_temperature(too_sharp)
    assert temperature == pytest.approx(4, rel=0.08)
    result = rescaled(too_sharp, temperature)
    assert result.ece_before > 0.3 and result.ece_after < 0.04
    assert result.nll_after < result.nll_before


def test_samples_without_label_do_not_count(too_sharp):
    labels = too_sharp.labels.copy()
    labels[2000:] = -1
    half = Predictions(too_sharp.ids[:2000], too_sharp.labels[:2000], too_sharp.logits[:2000])
    partly = dataclasses.replace(too_sharp, labels=labels)
    assert fitted_temperature(partly) == fitted_temperature(half)
    assert rescaled(partly, 2.0) == rescaled(half, 2.0)


def test_without_labels_there_is_no_temperature(too_sharp):
    assert fitted_temperature(dataclasses.replace(too_sharp, labels=np.full(4000, -1))) is None


def test_means_are_per_field():
    parts = [Rescaled(0.0, 0.5, 1.0, 2.0), Rescaled(0.5, 0.5, 3.0, 4.0)]
    assert Rescaled.mean(parts) == Rescaled(0.25, 0.5, 2.0, 3.0)
