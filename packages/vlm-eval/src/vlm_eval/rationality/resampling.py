"""Bootstrap of PT, IR and their like over images, for one model or several on the same ones."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.rationality import Share, share_of_counts
from vlm_eval.rationality.samples import JudgedSamples

_ABSENT = 4
# Cells drawn at a time: bounds the memory at about 100 MB.
_BLOCK = 10_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class ResampledCounts:
    """The 2 x 2 tables of resampled images, for every member at once.

    Attributes:
        drawn: (resamples, members, 4) counts of RR, RW, WR, WW.
        observed: (members, 4) those of the data itself.
    """

    drawn: Int64[np.ndarray, "resamples members four"]
    observed: Int64[np.ndarray, "members four"]

    def mean(
        self, share: Share, members: slice = slice(None)
    ) -> tuple[float | None, Float64[np.ndarray, " resamples"]]:
        """Return a share as the mean over members: of the data, and of each resample.

        Args:
            share: `pt`, `ir`, `validity` or `accuracy`.
            members: which, for example the severities of one model.

        Returns:
            None and NaN where the share is undefined for one of the members.
        """
        value = float(share_of_counts(self.observed[members], share).mean())
        return None if np.isnan(value) else value, share_of_counts(self.drawn[:, members], share).mean(axis=1)


def resampled_counts(members: Sequence[JudgedSamples], *, resamples: int = 1000, seed: int = 0) -> ResampledCounts:
    """Draw images with replacement and count, for every member, the same images.

    Members are what is seen of the same images: two models, the severities of a corruption, or both. What a resample
    needs to know is how often each combination of cells occurs in it. That is one multinomial draw over the
    combinations that occur (for two models at most 16), the same distribution as drawing image by image.

    Args:
        members: of any length; an image that a member lacks counts for the others only.
        resamples: number of resampled data sets.
        seed: of the generator that belongs to this call.

    Raises:
        CallError: if `resamples` is less than 1.
        VlmDataError: if a member has no sample.

    Example:
        >>> samples = JudgedSamples(("a", "b"), np.array([0, 1]), np.array([True, True]), np.array([True, True]),
        ...                         np.array([True, True]), {})
        >>> resampled_counts([samples], resamples=3).drawn.tolist()
        [[[2, 0, 0, 0]], [[2, 0, 0, 0]], [[2, 0, 0, 0]]]
    """
    if resamples < 1:
        raise CallError(f"the number of bootstrap resamples is {resamples}; expected 1 or more (1000 is usual).")
    if not members or not all(len(member.ids) for member in members):
        raise VlmDataError("there is no sample with label and evidence to resample; expected at least one.")
    patterns, counts = _patterns(members)
    images = int(counts.sum())
    # float64 multiplies matrices twenty times as fast as int64, and counts of images are exact in it
    one_hot = (patterns[:, :, None] == np.arange(_ABSENT)).reshape(len(patterns), -1).astype(np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(patterns))
    blocks = [
        (rng.multinomial(images, counts / images, size=min(step, resamples - first)) @ one_hot).astype(np.int64)
        for first in range(0, resamples, step)
    ]
    shape = (len(members), _ABSENT)
    return ResampledCounts(
        np.concatenate(blocks).reshape(resamples, *shape), (counts @ one_hot).astype(np.int64).reshape(shape)
    )


def _patterns(
    members: Sequence[JudgedSamples],
) -> tuple[Int64[np.ndarray, "patterns members"], Int64[np.ndarray, " patterns"]]:
    """Return the combinations of cells that images have over the members, and how many images have each."""
    places = {name: row for row, name in enumerate(dict.fromkeys(name for member in members for name in member.ids))}
    cells = np.full((len(places), len(members)), _ABSENT, dtype=np.int64)
    for column, member in enumerate(members):
        rows = np.fromiter((places[name] for name in member.ids), dtype=np.int64, count=len(member.ids))
        cells[rows, column] = member.cells
    return np.unique(cells, axis=0, return_counts=True)


def interval(resampled: Float64[np.ndarray, " resamples"], level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of the resamples in which a number is defined; None if there is none.

    Example:
        >>> interval(np.array([0.25, np.nan, 0.25]))
        (0.25, 0.25)
    """
    known = resampled[np.isfinite(resampled)]
    tail = (1 - level) / 2
    return (float(np.quantile(known, tail)), float(np.quantile(known, 1 - tail))) if known.size else None
