"""PT and IR against the threshold of a measure, from the stored measures: no model has to run again."""

from collections.abc import Sequence

import numpy as np

from vlm_data.errors import unknown_name
from vlm_data.tables import Rationales
from vlm_eval.metrics.rationality_curve import ThresholdCurve, count_at_thresholds
from vlm_eval.rationality.samples import judged_samples

THRESHOLDS = tuple(step / 100 for step in range(101))


def threshold_curve(
    table: Rationales, measure: str = "mass", thresholds: Sequence[float] = THRESHOLDS
) -> ThresholdCurve:
    """Count valid evidence for every threshold.

    Evidence is valid where the measure is at least the threshold, a tie included; undefined maps and empty evidence
    are valid at no threshold, as with every rule.

    Args:
        table: of one model on one data set.
        measure: one of those in the table.
        thresholds: any order.

    Raises:
        CallError: if the table has no such measure or a threshold is not a number.

    Example:
        >>> table = Rationales(("a", "b"), np.array([0, 1]), np.array([0, 0]), {"mass": np.array([0.8, 0.5])},
        ...                    ("ok", "ok"), np.array([True, True]))
        >>> threshold_curve(table, thresholds=[0.5, 0.6, 0.9]).counts.tolist()
        [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]]
    """
    if measure not in table.measures:
        raise unknown_name("measure", measure, table.measures)
    samples = judged_samples(table)
    values = np.where(samples.defined, samples.measures[measure], np.nan)
    return count_at_thresholds(samples.correct, values, thresholds, measure)
