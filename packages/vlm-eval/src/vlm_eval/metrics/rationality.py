"""Right for the right reasons: right answers and valid evidence in one 2 x 2 table, and the ratios read off it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.proportions import Proportion

Share = Literal["pt", "ir", "validity", "accuracy"]
SHARES: tuple[Share, ...] = ("pt", "ir", "validity", "accuracy")


@dataclasses.dataclass(frozen=True)
class RationaleCounts:
    """How many images were answered right or wrong, on valid evidence or not.

    The two ratios are those of "Beyond Accuracy: On the Effects of Fine-tuning Towards Vision-Language Model's
    Prediction Rationality" (AAAI 2025): PT, prediction trustworthiness, and IR, inference reliability. They obey
    `PT * accuracy = IR * validity`, both being the share of images that are right on valid evidence.

    Attributes:
        rr: right answer, valid evidence.
        rw: right answer, evidence not valid.
        wr: wrong answer, valid evidence.
        ww: wrong answer, evidence not valid.

    Example:
        >>> counts = RationaleCounts(rr=9, rw=6, wr=13, ww=9)
        >>> counts.pt.value, round(counts.ir.value, 5)
        (0.6, 0.40909)
    """

    rr: int
    rw: int
    wr: int
    ww: int

    @property
    def n(self) -> int:
        """Number of images."""
        return self.rr + self.rw + self.wr + self.ww

    @property
    def accuracy(self) -> Proportion:
        """Right answers among all, `(RR + RW) / n`."""
        return Proportion(self.rr + self.rw, self.n)

    @property
    def validity(self) -> Proportion:
        """Answers on valid evidence among all, `(RR + WR) / n`."""
        return Proportion(self.rr + self.wr, self.n)

    @property
    def pt(self) -> Proportion:
        """Prediction trustworthiness `RR / (RR + RW)`: of the right answers, how many rest on valid evidence."""
        return Proportion(self.rr, self.rr + self.rw)

    @property
    def ir(self) -> Proportion:
        """Inference reliability `RR / (RR + WR)`: of the answers on valid evidence, how many are right."""
        return Proportion(self.rr, self.rr + self.wr)

    @property
    def shares(self) -> Mapping[Share, Proportion]:
        """PT, IR, validity and accuracy by name of the metric."""
        return {"pt": self.pt, "ir": self.ir, "validity": self.validity, "accuracy": self.accuracy}

    def __add__(self, other: "RationaleCounts") -> "RationaleCounts":
        return RationaleCounts(self.rr + other.rr, self.rw + other.rw, self.wr + other.wr, self.ww + other.ww)


def rationale_counts(
    correct: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"], rational: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"]
) -> RationaleCounts:
    """Count images by right answer and valid evidence.

    Args:
        correct: (n,) is the answer right, boolean or 0 and 1.
        rational: (n,) is its evidence valid, likewise. Images whose evidence is unknown do not belong here; an
            undefined relevance map counts as not valid.

    Raises:
        CallError: if the arrays are not equally long, which is never cut to the shorter one.
        VlmDataError: if there are other values than 0 and 1; they would fall into no cell.

    Example:
        >>> rationale_counts(np.array([True, True, False]), np.array([1, 0, 1]))
        RationaleCounts(rr=1, rw=1, wr=1, ww=0)
    """
    cells = np.bincount(rationale_cells(correct, rational), minlength=4)
    return RationaleCounts(*(int(count) for count in cells))


def rationale_cells(
    correct: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"], rational: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Return for each image its cell of the 2 x 2 table: 0 = RR, 1 = RW, 2 = WR, 3 = WW.

    Raises:
        CallError, VlmDataError: see `rationale_counts`.
    """
    if correct.ndim != 1 or correct.shape != rational.shape:
        raise CallError(
            f"answers of shape {correct.shape} and rationales of shape {rational.shape} do not fit together; expected "
            "one of each per image. A list that was cut belongs to other images from some point on: make it again."
        )
    return 2 * (1 - _as_bits(correct, "answers")) + (1 - _as_bits(rational, "rationales"))


def _as_bits(values: Shaped[np.ndarray, " n"], what: str) -> Int[np.ndarray, " n"]:
    bits = np.asarray(values)
    strange = np.flatnonzero((bits != 0) & (bits != 1))
    if strange.size:
        raise VlmDataError(
            f"{strange.size} of {len(bits)} {what} are neither 0 nor 1, first {bits[strange[0]]} at row "
            f"{int(strange[0])}. Expected 1 for yes and 0 for no; give answers as `predictions == labels`."
        )
    return bits.astype(np.int64)


def counts_of_answers(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    rational: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
) -> RationaleCounts:
    """Count images by right answer and valid evidence, from three lists in the same order.

    Args:
        labels: (n,) true class.
        predicted: (n,) answered class.
        rational: (n,) see `rationale_counts`.

    Raises:
        CallError, VlmDataError: see `rationale_counts`.

    Example:
        >>> counts_of_answers(np.array([0, 1, 2, 2]), np.array([0, 1, 0, 2]), np.zeros(4, dtype=int)).ir.value is None
        True
    """
    if labels.shape != predicted.shape:
        raise CallError(
            f"labels of shape {labels.shape} and predictions of shape {predicted.shape} do not fit together; expected "
            "one of each per image."
        )
    return rationale_counts(predicted == labels, rational)


def counts_per_class(
    labels: Int[np.ndarray, " n"],
    correct: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    rational: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
) -> dict[int, RationaleCounts]:
    """Return the counts of the images of each class that occurs, by class index, ascending.

    Args:
        labels: (n,) index of the true class.
        correct: (n,) see `rationale_counts`.
        rational: (n,) see `rationale_counts`.

    Raises:
        CallError, VlmDataError: see `rationale_counts`; also if a label is negative.

    Example:
        >>> counts_per_class(np.array([3, 3, 7]), np.array([1, 0, 1]), np.array([1, 0, 0]))
        {3: RationaleCounts(rr=1, rw=0, wr=0, ww=1), 7: RationaleCounts(rr=0, rw=1, wr=0, ww=0)}
    """
    cells = rationale_cells(correct, rational)
    if labels.shape != cells.shape or (labels < 0).any():
        raise CallError(
            f"labels of shape {labels.shape} for {len(cells)} images, smallest {labels.min(initial=0)}; expected one "
            "class index from 0 for each. Leave images without label out first."
        )
    counts = np.bincount(4 * labels + cells, minlength=4 * (int(labels.max(initial=-1)) + 1)).reshape(-1, 4)
    present = np.flatnonzero(counts.sum(axis=1))
    return {int(label): RationaleCounts(*(int(count) for count in counts[label])) for label in present}


def share_of_counts(counts: Int[np.ndarray, "*any four"], share: Share) -> Float64[np.ndarray, "*any"]:
    """Return a share of many 2 x 2 tables, NaN where it is undefined.

    Example:
        >>> share_of_counts(np.array([[9, 6, 13, 9], [0, 0, 1, 1]]), "pt").tolist()
        [0.6, nan]
    """
    rr, rw, wr, ww = np.moveaxis(counts.astype(np.float64), -1, 0)
    top, bottom = {
        "pt": (rr, rr + rw),
        "ir": (rr, rr + wr),
        "validity": (rr + wr, rr + rw + wr + ww),
        "accuracy": (rr + rw, rr + rw + wr + ww),
    }[share]
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that says undefined
        return top / bottom


def prediction_trustworthiness(correct: Bool[np.ndarray, " n"], rational: Bool[np.ndarray, " n"]) -> float:
    """Return PT, the share of right answers that rest on valid evidence; NaN if no answer is right.

    Example:
        >>> prediction_trustworthiness(np.array([True, True, False]), np.array([True, False, True]))
        0.5
    """
    return _number(rationale_counts(correct, rational).pt)


def inference_reliability(correct: Bool[np.ndarray, " n"], rational: Bool[np.ndarray, " n"]) -> float:
    """Return IR, the share of answers on valid evidence that are right; NaN if no evidence is valid.

    Example:
        >>> inference_reliability(np.array([True, True, False]), np.array([True, False, True]))
        0.5
    """
    return _number(rationale_counts(correct, rational).ir)


def evidence_validity(correct: Bool[np.ndarray, " n"], rational: Bool[np.ndarray, " n"]) -> float:
    """Return the share of images whose evidence is valid, whatever was answered; NaN without an image.

    Example:
        >>> evidence_validity(np.array([True, True, False]), np.array([True, False, False])) * 3
        1.0
    """
    return _number(rationale_counts(correct, rational).validity)


def _number(share: Proportion) -> float:
    return math.nan if share.value is None else share.value


SUMMARY = {
    "pt": {
        "compute": prediction_trustworthiness,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of right answers",
    },
    "ir": {
        "compute": inference_reliability,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of answers on valid evidence",
    },
    "validity": {
        "compute": evidence_validity,
        "better": "higher",
        "range": (0.0, 1.0),
        "unit": "share of images with evidence",
    },
}
