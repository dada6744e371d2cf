"""What a report needs of a table beside its scores, small enough to keep for all tables of a run at once."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_data.tables import Predictions
from vlm_eval.comparing.changes import outcomes
from vlm_eval.intervals import Outcomes
from vlm_eval.metrics.likelihood import softmax
from vlm_eval.metrics.reliability import ReliabilityTable, reliability_table
from vlm_eval.rescaling import Rescaled, rescaled


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnostics:
    """One model on one data set.

    Attributes:
        outcomes: for paired differences.
        reliability: 15 bins closed on the right.
        rescaled: calibration after temperature scaling, None without a fitted temperature.
    """

    outcomes: Outcomes
    reliability: ReliabilityTable
    rescaled: Rescaled | None


def diagnose(predictions: Predictions, temperature: float | None) -> Diagnostics:
    """Reduce the labelled samples of a table to what a report needs.

    Args:
        predictions: with at least one labelled sample.
        temperature: of the model, None if none was fitted.

    Raises:
        VlmDataError: if there is no labelled sample.
    """
    labelled = predictions.labelled
    probabilities = softmax(predictions.logits[labelled])
    return Diagnostics(
        outcomes(predictions),
        reliability_table(probabilities, predictions.labels[labelled]),
        None if temperature is None else rescaled(predictions, temperature),
    )


def pooled_reliability(tables: Sequence[ReliabilityTable]) -> ReliabilityTable:
    """Return the table of all samples of several data sets together, such as the severities of a corruption.

    Args:
        tables: one or more, with the same bins.

    Example:
        >>> edges = np.array([0.0, 0.5, 1.0])
        >>> one = ReliabilityTable(edges, np.array([0.0, 1.0]), np.array([0.0, 0.75]), np.array([0, 3]))
        >>> two = ReliabilityTable(edges, np.array([0.0, 0.0]), np.array([0.0, 0.75]), np.array([0, 1]))
        >>> pooled_reliability([one, two]).accuracy.tolist()
        [0.0, 0.75]
    """
    counts = np.stack([table.count for table in tables])
    filled = np.maximum(counts.sum(axis=0), 1)
    accuracy = (np.stack([table.accuracy for table in tables]) * counts).sum(axis=0) / filled
    confidence = (np.stack([table.confidence for table in tables]) * counts).sum(axis=0) / filled
    return ReliabilityTable(tables[0].edges, accuracy, confidence, counts.sum(axis=0))


def expected_error(table: ReliabilityTable) -> float:
    """Return the ECE that a reliability table shows, a fraction.

    Example:
        >>> edges = np.array([0.0, 0.5, 1.0])
        >>> expected_error(ReliabilityTable(edges, np.array([0.0, 1.0]), np.array([0.0, 0.75]), np.array([0, 3])))
        0.25
    """
    return float((np.abs(table.accuracy - table.confidence) * table.count).sum() / table.count.sum())
