"""PT and IR against the threshold at which a measure of relevance counts as valid evidence."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vlm_data.errors import CallError
from vlm_eval.metrics.rationality import Share, share_of_counts


@dataclasses.dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """The 2 x 2 tables of one model on one data set for the rules `measure >= threshold`.

    Attributes:
        measure: its name.
        thresholds: (t,).
        counts: (t, 4) RR, RW, WR, WW.
    """

    measure: str
    thresholds: Float64[np.ndarray, " t"]
    counts: Int64[np.ndarray, "t four"]

    def share(self, name: Share) -> Float64[np.ndarray, " t"]:
        """Return PT, IR, validity or accuracy at every threshold, NaN where undefined."""
        return share_of_counts(self.counts, name)


def count_at_thresholds(
    correct: Bool[np.ndarray, " n"],
    values: Float64[np.ndarray, " n"],
    thresholds: Sequence[float],
    measure: str = "mass",
) -> ThresholdCurve:
    """Count right answers and valid evidence for every rule `value >= threshold`; a tie is valid.

    Args:
        correct: (n,) is the answer right.
        values: (n,) the measure; NaN is valid at no threshold.
        thresholds: any order.
        measure: its name.

    Raises:
        CallError: if there is not one value per answer, or a threshold is not finite.

    Example:
        >>> curve = count_at_thresholds(np.array([True, False]), np.array([0.8, 0.5]), [0.5, 0.6, 0.9])
        >>> curve.share("ir").tolist()
        [0.5, 1.0, nan]
    """
    at = np.asarray(thresholds, dtype=np.float64)
    if correct.shape != values.shape or not np.isfinite(at).all():
        raise CallError(
            f"{correct.shape} answers, {values.shape} values and the thresholds {list(thresholds)[:5]} make no curve; "
            "expected one value per answer and finite numbers, such as 0.5."
        )
    known = np.where(np.isnan(values), -np.inf, values)
    right, wrong = np.sort(known[correct]), np.sort(known[~correct])
    valid = [len(group) - np.searchsorted(group, at, side="left") for group in (right, wrong)]
    counts = np.stack([valid[0], len(right) - valid[0], valid[1], len(wrong) - valid[1]], axis=1)
    return ThresholdCurve(measure, at, counts.astype(np.int64))
