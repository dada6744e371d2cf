"""Means over many settings: does discovery find what was planted, and does mitigation repair it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vlm_data.errors import CallError, unknown_name
from vlm_eval.comparing.changes import Change, basic_change
from vlm_eval.score_table import Score

RESAMPLES = 2000
ACCURACIES = ("image_overall", "image_worst_group", "region_overall", "region_worst_group")


@dataclasses.dataclass(frozen=True)
class SettingRecord:
    """What one seed of one setting gave.

    Attributes:
        setting: name of the fine-tuning set; seeds of one share it.
        seed: of the training.
        strength: the smaller of both gaps of standard fine-tuning, None where undefined.
        precision: Precision@K of the discovery.
        random: expected precision of a random order.
        found: was anything found.
        class_found: was it tied to the planted class.
        methods: accuracies by method; those of `ACCURACIES` that are known.
    """

    setting: str
    seed: int
    strength: float | None
    precision: float
    random: float
    found: bool
    class_found: bool
    methods: Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class DiscoverySummary:
    """Discovery over the settings that are valid at a threshold; None where there are none.

    Attributes:
        threshold: fraction; None for all settings, valid or not.
        sets, records: fine-tuning sets, and their seeds, that are valid.
        share: of the fine-tuning sets.
        precision: mean Precision@K with an interval.
        random: mean expected precision of a random order.
        found, class_found: shares of the records.
    """

    threshold: float | None
    sets: int
    records: int
    share: float
    precision: Score | None
    random: float | None
    found: float | None
    class_found: float | None


@dataclasses.dataclass(frozen=True)
class MethodSummary:
    """One method over some settings.

    Attributes:
        method: its name.
        records: that have it and the reference.
        means: by name of the accuracy, with intervals.
        differences: from the reference on the same settings; empty for the reference itself.
    """

    method: str
    records: int
    means: Mapping[str, Score]
    differences: Mapping[str, Change]


def valid_records(records: Sequence[SettingRecord], threshold: float | None) -> list[SettingRecord]:
    """Return the records of fine-tuning sets of which ALL seeds exceed a threshold, equality excluded.

    Args:
        records: all seeds of all settings.
        threshold: fraction; None returns all.

    Example:
        >>> def one(seed: int, strength: float) -> SettingRecord:
        ...     return SettingRecord("nine, V 0.9", seed, strength, 1.0, 0.125, True, True, {})
        >>> len(valid_records([one(0, 0.5), one(1, 0.15)], 0.1)), len(valid_records([one(0, 0.5), one(1, 0.15)], 0.2))
        (2, 0)
    """
    if threshold is None:
        return list(records)
    weak = {one.setting for one in records if one.strength is None or not one.strength > threshold}
    return [one for one in records if one.setting not in weak]


def discovery_summaries(
    records: Sequence[SettingRecord], thresholds: Sequence[float | None], *, resamples: int = RESAMPLES
) -> list[DiscoverySummary]:
    """Return what discovery reached on all settings valid at each threshold.

    Intervals are percentile bootstrap ones of the mean over fine-tuning sets, whose seeds are drawn together because
    they share their data.

    Args:
        records: all seeds of all settings.
        thresholds: fractions; None stands for all settings.
        resamples: of the bootstrap.

    Raises:
        CallError: if there is no record.
    """
    if not records:
        raise CallError("there is no setting to average over; expected one at least.")
    total = len({one.setting for one in records})
    found = []
    for threshold in thresholds:
        valid = valid_records(records, threshold)
        sets = len({one.setting for one in valid})
        found.append(
            DiscoverySummary(
                threshold,
                sets,
                len(valid),
                sets / total,
                _mean(valid, lambda one: one.precision, resamples) if valid else None,
                _plain_mean(valid, lambda one: one.random),
                _plain_mean(valid, lambda one: float(one.found)),
                _plain_mean(valid, lambda one: float(one.class_found)),
            )
        )
    return found


def method_summaries(
    records: Sequence[SettingRecord],
    reference: str,
    *,
    threshold: float | None = None,
    precision: float | None = None,
    resamples: int = RESAMPLES,
) -> list[MethodSummary]:
    """Return the accuracies of every method and how they differ from those of one, on the same settings.

    Args:
        records: all seeds of all settings.
        reference: method that the others are compared with, usually standard fine-tuning.
        threshold: keep settings valid at this fraction.
        precision: keep records whose Precision@K is above; the paper tells mitigation above 0.6 and 0.8 only.
        resamples: of the bootstrap over fine-tuning sets, the same for both sides of a difference.

    Returns:
        A summary per method that any record has, the reference first; none where no record is left.

    Raises:
        CallError: if no record has the reference.
    """
    names = dict.fromkeys(name for one in records for name in one.methods)
    if reference not in names:
        raise unknown_name("method", reference, list(names))
    kept = [one for one in valid_records(records, threshold) if precision is None or one.precision > precision]
    found = []
    for name in (reference, *[name for name in names if name != reference]):
        both = [one for one in kept if name in one.methods and reference in one.methods]
        if both:
            found.append(_summary(name, reference, both, resamples))
    return found


def _summary(name: str, reference: str, records: Sequence[SettingRecord], resamples: int) -> MethodSummary:
    means: dict[str, Score] = {}
    differences: dict[str, Change] = {}
    for accuracy in ACCURACIES:
        if not all(accuracy in one.methods[name] for one in records):
            continue
        means[accuracy] = _mean(records, lambda one, key=accuracy: one.methods[name][key], resamples)
        if name != reference and all(accuracy in one.methods[reference] for one in records):
            before = [one.methods[reference][accuracy] for one in records]
            after = [one.methods[name][accuracy] for one in records]
            drawn = _resampled(records, np.subtract(after, before), resamples)
            low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
            differences[accuracy] = basic_change(float(np.mean(before)), float(np.mean(after)), low, high)
    return MethodSummary(name, len(records), means, differences)


def _mean(records: Sequence[SettingRecord], value: Callable[[SettingRecord], float], resamples: int) -> Score:
    values = np.array([value(one) for one in records], dtype=float)
    low, high = np.quantile(_resampled(records, values, resamples), [0.025, 0.975])
    return Score(float(values.mean()), float(low), float(high))


def _plain_mean(records: Sequence[SettingRecord], value: Callable[[SettingRecord], float]) -> float | None:
    return float(np.mean([value(one) for one in records])) if records else None


def _resampled(records: Sequence[SettingRecord], values: np.ndarray, resamples: int) -> np.ndarray:
    """Return means of resampled fine-tuning sets; equal sets draw alike, so that differences are paired."""
    _, cluster = np.unique([one.setting for one in records], return_inverse=True)
    sums, sizes = np.bincount(cluster, weights=values), np.bincount(cluster)
    drawn = np.random.default_rng(0).integers(0, len(sizes), (resamples, len(sizes)))
    return sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
