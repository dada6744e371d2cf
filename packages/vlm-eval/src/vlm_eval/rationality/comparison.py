"""Whether two models differ in PT, IR and validity by more than chance, on the same images."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from vlm_data.errors import CallError
from vlm_data.tables import Rationales
from vlm_eval.comparing.changes import Change, basic_change
from vlm_eval.comparing.paired import RESAMPLES, mcnemar
from vlm_eval.metrics.rationality import SHARES, Share
from vlm_eval.rationality.resampling import interval, resampled_counts
from vlm_eval.rationality.samples import JudgedSamples, judged_samples, require_same_samples, settings
from vlm_eval.run_files import column_key


@dataclasses.dataclass(frozen=True)
class Matched:
    """McNemar's exact test on images where nothing but the two models differs.

    Attributes:
        n: images.
        only_first, only_second: on how many only one of the two models has the property.
        p_value: two-sided.
    """

    n: int
    only_first: int
    only_second: int
    p_value: float


@dataclasses.dataclass(frozen=True)
class RationaleTest:
    """The second model against the first on one data set; fractions.

    PT of two models is about different images: those that each of them gets right. A model that answers more hard
    images right can have a lower PT without resting on worse evidence anywhere. `both_right` takes that out: it asks
    for valid evidence on the images that both get right; `both_valid` does the same for IR.

    Attributes:
        data: data set, or the corruption.
        n: images with label and evidence, of one severity.
        changes: of `pt`, `ir`, `validity` and `accuracy`, with the interval of the difference over images, the same in
            every resample for both models; None where a side is undefined.
        validity, both_right, both_valid: tests of valid evidence on all images, of valid evidence where both are
            right, and of right answers where both have valid evidence; None for a mean over severities, whose images
            are not independent.
        differing: settings that are not the same for both, which may explain a difference as well as the models do.
    """

    data: str
    n: int
    changes: Mapping[Share, Change | None]
    validity: Matched | None
    both_right: Matched | None
    both_valid: Matched | None
    differing: tuple[str, ...]


def compare_rationales(
    first: Sequence[Rationales], second: Sequence[Rationales], *, resamples: int = RESAMPLES, seed: int = 0
) -> RationaleTest:
    """Compare two models on one data set, or on the mean over the severities of a corruption.

    The interval of a difference d is the basic bootstrap one, `[2 d - q_high, 2 d - q_low]` with q the quantiles of
    the resampled differences; resamples in which a side is undefined are left out.

    Args:
        first: one table, or one for each severity.
        second: as many, of the same images in the same order.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        CallError: if there is no table, or the images differ; the first differing sample id is named.
        VlmDataError: if no labelled sample has evidence.

    Example:
        >>> def table(rational: list[bool]) -> Rationales:
        ...     ids, labels = tuple("abcdef"), np.zeros(6, dtype=np.int64)
        ...     return Rationales(ids, labels, labels, {}, ("ok",) * 6, np.array(rational))
        >>> found = compare_rationales([table([True] * 6)], [table([False] * 6)])
        >>> found.changes["pt"], found.both_right
        (Change(before=1.0, after=0.0, low=-1.0, high=-1.0), Matched(n=6, only_first=6, only_second=0, p_value=0.03125))
    """
    if not first or len(first) != len(second):
        raise CallError(
            f"{len(first)} and {len(second)} tables of rationales cannot be paired; expected one for each model, or as "
            "many severities of both."
        )
    for one, other in zip(first, second, strict=True):
        require_same_samples(one, other)
    before, after = ([judged_samples(table) for table in side] for side in (first, second))
    drawn = resampled_counts([*before, *after], resamples=resamples, seed=seed)
    sides = slice(0, len(first)), slice(len(first), None)
    changes: dict[Share, Change | None] = {}
    for name in SHARES:
        (start, starts), (end, ends) = (drawn.mean(name, side) for side in sides)
        changes[name] = None if start is None or end is None else _change(start, end, ends - starts)
    tests = _matched_tests(before[0], after[0]) if len(first) == 1 else (None, None, None)
    return RationaleTest(column_key(first[0]), len(before[0].ids), changes, *tests, differing_settings(first, second))


def _change(start: float, end: float, resampled: np.ndarray) -> Change | None:
    ends = interval(resampled)
    return basic_change(start, end, *ends) if ends else None


def _matched_tests(first: JudgedSamples, second: JudgedSamples) -> tuple[Matched, Matched, Matched]:
    right, valid = first.correct & second.correct, first.rational & second.rational
    return (
        _matched(first.rational, second.rational),
        _matched(first.rational[right], second.rational[right]),
        _matched(first.correct[valid], second.correct[valid]),
    )


def _matched(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Matched:
    return Matched(len(first), *mcnemar(first, second))


def differing_settings(first: Iterable[Rationales], second: Iterable[Rationales]) -> tuple[str, ...]:
    """Return the settings in which two sides differ, as `name: first, second`.

    Example:
        >>> none = np.zeros(0, dtype=np.int64)
        >>> def table(layers: str) -> Rationales:
        ...     return Rationales((), none, none, {}, (), none.astype(bool), {"layers": layers})
        >>> differing_settings([table("last")], [table("all")])
        ('layers: last, all',)
    """
    sides = [dict(found for table in side for found in settings(table.meta).items()) for side in (first, second)]
    return tuple(
        f"{key}: {sides[0].get(key, 'not told')}, {sides[1].get(key, 'not told')}"
        for key in sorted(sides[0].keys() | sides[1].keys())
        if sides[0].get(key) != sides[1].get(key)
    )


def compare_models(
    models: Mapping[str, Iterable[Rationales]], *, resamples: int = RESAMPLES
) -> dict[str, list[RationaleTest]]:
    """Test every model against the first on each data set that both have, a corruption as the mean over severities.

    Args:
        models: tables of each, by name, of one split; the severities of a corruption count as their mean.
        resamples: of the bootstrap.

    Returns:
        Tests by name of the other model, in the order of the first one's tables.

    Raises:
        CallError: if there are less than two models, two share no data set, or the images differ.
    """
    if len(models) < 2:
        raise CallError(f"{len(models)} model cannot be compared; expected at least two on one data set.")
    sides = {name: _by_column(tables) for name, tables in models.items()}
    reference, *others = sides
    found = {}
    for name in others:
        shared = [column for column in sides[reference] if column in sides[name]]
        if not shared:
            raise CallError(
                f"{reference} and {name} have rationales on different data: {', '.join(sides[reference])} and "
                f"{', '.join(sides[name])}. PT and IR depend on how large the evidence is, so they compare on the same "
                "images only; expected one data set for both."
            )
        found[name] = [
            compare_rationales(sides[reference][column], sides[name][column], resamples=resamples) for column in shared
        ]
    return found


def _by_column(tables: Iterable[Rationales]) -> dict[str, list[Rationales]]:
    found: dict[str, list[Rationales]] = {}
    for table in tables:
        found.setdefault(column_key(table), []).append(table)
    return {
        column: sorted(parts, key=lambda one: int(one.meta.get("severity") or 0)) for column, parts in found.items()
    }
