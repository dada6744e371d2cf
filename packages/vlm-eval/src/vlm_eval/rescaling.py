"""Calibration after temperature scaling: one temperature per model, fitted on ID validation, applied everywhere."""

import dataclasses
from collections.abc import Iterable, Mapping

from vlm_data.tables import Predictions
from vlm_eval.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from vlm_eval.metrics.likelihood import softmax

ModelKey = tuple[str, str, str]
"""What tells one model from another in tables of predictions, see `model_key`."""


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Calibration of one model on one data set before and after its logits were divided by a temperature.

    Attributes:
        ece_before, ece_after: fractions.
        nll_before, nll_after: nats.
    """

    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float

    @classmethod
    def mean(cls, parts: "list[Rescaled]") -> "Rescaled":
        """Return the mean over data sets, each counting once."""
        columns = zip(*(dataclasses.astuple(part) for part in parts), strict=True)
        return cls(*(sum(column) / len(parts) for column in columns))


def fitted_temperature(validation: Predictions) -> float | None:
    """Return the temperature fitted on the labelled samples of a validation table, or None if there are none."""
    labelled = validation.labelled
    return fit_temperature(validation.logits[labelled], validation.labels[labelled]) if labelled.any() else None


def model_key(meta: Mapping[str, str]) -> ModelKey:
    """Return what tells the model of a table from others: its name, its alpha and the hash of its weights.

    Example:
        >>> model_key({"model": "interpolated", "alpha": "0.5", "weights_hash": "ab", "data": "digits"})
        ('interpolated', '0.5', 'ab')
    """
    return meta.get("model", ""), meta.get("alpha", ""), meta.get("weights_hash", "")


def fitted_temperatures(tables: Iterable[Predictions]) -> dict[ModelKey, float]:
    """Return one temperature per model, fitted on its ID validation table; other tables are passed over.

    Args:
        tables: of any number of models, data sets and splits.
    """
    found = {}
    for table in tables:
        if table.meta.get("split") == "val" and table.meta.get("role", "id") == "id":
            temperature = fitted_temperature(table)
            if temperature is not None:
                found[model_key(table.meta)] = temperature
    return found


def rescaled(predictions: Predictions, temperature: float) -> Rescaled:
    """Return calibration before and after dividing the logits of the labelled samples by a temperature.

    Accuracy does not change. ECE has 15 bins closed on the right.

    Raises:
        CallError: if the temperature is not positive.
        VlmDataError: if there is no labelled sample.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2, 0], [2, 0], [2, 0], [2, 0]], dtype=np.float32)
        >>> table = Predictions(("a", "b", "c", "d"), np.array([0, 0, 0, 1]), logits)
        >>> result = rescaled(table, fitted_temperature(table))
        >>> round(result.ece_before, 3), round(result.ece_after, 6)
        (0.131, 0.0)
    """
    labelled = predictions.labelled
    labels, before = predictions.labels[labelled], predictions.logits[labelled]
    after = apply_temperature(before, temperature)
    return Rescaled(
        expected_calibration_error(softmax(before), labels),
        expected_calibration_error(softmax(after), labels),
        negative_log_likelihood(before, labels),
        negative_log_likelihood(after, labels),
    )
