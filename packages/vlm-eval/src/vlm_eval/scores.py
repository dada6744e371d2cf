"""From tables of predictions to rows of scores: one per data set, and one per corruption over its severities."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_eval.catalog import measure
from vlm_eval.intervals import Outcomes, clopper_pearson, joint_bootstrap
from vlm_eval.metrics.groups import accuracies_by_group
from vlm_eval.metrics.likelihood import softmax
from vlm_eval.metrics.samples import check_samples
from vlm_eval.metrics.subgroups import worst_group_scores
from vlm_eval.rescaling import ModelKey, model_key, rescaled
from vlm_eval.rows import Row, row_of_table

DEFAULT_METRICS = (
    "accuracy",
    "ece",
    "nll",
    "brier",
    "mce",
    "adaptive_ece",
    "classwise_ece",
    "overconfidence",
    "brier_calibration",
    "brier_refinement",
    "brier_remainder",
)


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What to compute of every table.

    Attributes:
        metrics: names, see `vlm_eval.catalog.metric_names`.
        resamples: bootstrap resamples of the intervals; 0 leaves intervals out, which is much faster.
        level: probability the intervals are made for, a fraction.
        seed: seed of the resamples; equal seeds make rows of the same images comparable resample by resample.
        temperatures: of the models whose rows shall tell calibration after temperature scaling, too, see
            `vlm_eval.rescaling.fitted_temperatures`; they get `temperature`, `ece_rescaled` and `nll_rescaled`.
    """

    metrics: Sequence[str] = DEFAULT_METRICS
    resamples: int = 1000
    level: float = 0.95
    seed: int = 0
    temperatures: Mapping[ModelKey, float] = dataclasses.field(default_factory=dict)


_DEFAULT = Scoring()


def score(
    predictions: Predictions, *, run: str | Path | None = None, method: str | None = None, scoring: Scoring = _DEFAULT
) -> Row:
    """Return the scores of one table.

    Samples with unknown label (-1) are left out. Accuracy gets the exact Clopper-Pearson interval, ECE (15 bins closed
    on the right) the basic bootstrap, which takes out that resampled ECE is too high. Metrics the data set asks for
    (`Benchmark.metrics`) are added, `accuracy_ATTRIBUTE:GROUP` for every group of images it tells, and the worst of
    their subgroups, see `vlm_eval.metrics.subgroups.worst_group_scores`.

    Args:
        predictions: `meta` says which model and data set these are, see `Predictions`.
        run: run directory the row belongs to.
        method: how the model was fine-tuned.
        scoring: which metrics and intervals.

    Raises:
        VlmDataError: if no sample has a label, or logits are not finite; the message names the data set.
        CallError: if a metric does not exist.

    Example:
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
        >>> table = Predictions(("a", "b", "c"), np.array([0, 1, -1]), logits, {"model": "tiny", "data": "digits"})
        >>> row = score(table)
        >>> row["data"], row["n"], row["metrics"]["accuracy"], round(row["metrics"]["ece"], 3)
        ('digits', 2, 1.0, 0.194)
    """
    row, _ = _score(predictions, run, method, scoring)
    return row


def score_group(
    severities: Sequence[Predictions],
    *,
    run: str | Path | None = None,
    method: str | None = None,
    scoring: Scoring = _DEFAULT,
) -> Row:
    """Return the scores of one corruption: every metric is the mean over its severities, n their sum.

    Intervals come from a bootstrap over images: each resample takes the same images at every severity.

    Args:
        severities: tables of one model on the severities of one corruption.
        run: run directory the rows belong to.
        method: how the model was fine-tuned.
        scoring: which metrics and intervals.

    Raises:
        CallError: if there is no table, or the tables do not belong to one model and one corruption.
        VlmDataError: see `score`.

    Example:
        >>> def severity(level: int, logits: list[list[float]]) -> Predictions:
        ...     facts = {"model": "tiny", "data": f"digits/noise-{level}", "severity": str(level), "shift": "noise"}
        ...     return Predictions(("a", "b"), np.array([0, 1]), np.array(logits, dtype=np.float32), facts)
        >>> row = score_group([severity(1, [[2, 0], [0, 2]]), severity(2, [[2, 0], [2, 0]])])
        >>> row["data"], row["severity"], row["n"], row["metrics"]["accuracy"]
        ('digits/noise', None, 4, 0.75)
    """
    if not severities:
        raise CallError("there is no table to average over; expected one per severity of the corruption.")
    scored = [_score(table, run, method, dataclasses.replace(scoring, resamples=0)) for table in severities]
    return _mean_row([row for row, _ in scored], [outcomes for _, outcomes in scored], scoring)


def score_tables(
    tables: Iterable[Predictions],
    *,
    run: str | Path | None = None,
    method: str | None = None,
    scoring: Scoring = _DEFAULT,
) -> list[Row]:
    """Return one row per table, and after the last severity of each corruption one row for the corruption.

    Tables are read one by one, so a generator that loads them keeps one in memory at a time. Tables of different models
    and alphas may be mixed in any order.

    Args:
        tables: `meta["severity"]` tells members of a corruption, see `score_group`.
        run: run directory the rows belong to.
        method: how the model was fine-tuned.
        scoring: which metrics and intervals.

    Raises:
        CallError, VlmDataError: see `score`.
    """
    rows: list[Row] = []
    members: dict[tuple[object, ...], list[tuple[int, Row, Outcomes]]] = {}
    for table in tables:
        row, outcomes = _score(table, run, method, scoring)
        rows.append(row)
        if row["severity"] is not None:
            corruption = (row["model"], row["alpha"], row["split"], _corruption(row))
            members.setdefault(corruption, []).append((len(rows) - 1, row, outcomes))
    means = {
        parts[-1][0]: _mean_row([row for _, row, _ in parts], [outcomes for _, _, outcomes in parts], scoring)
        for parts in members.values()
    }
    return [row for place, own in enumerate(rows) for row in ([own, means[place]] if place in means else [own])]


def mean_over_shifts(rows: Iterable[Row], metric: str = "accuracy", group: str | None = None) -> float | None:
    """Return the mean of a metric over the shifts of one model; every shift weighs the same, severities do not.

    Args:
        rows: rows of one model at one alpha, as `score_tables` returns them; ID rows and single severities are skipped.
        metric: name of the metric.
        group: `natural` or `corruption`; None takes all shifts.

    Returns:
        The mean, or None where there is no such shift.

    Raises:
        CallError: if a shift occurs twice, as it does when rows of several models are mixed, or lacks the metric.

    Example:
        >>> base = {"model": "tiny", "alpha": None, "split": "test", "role": "shift", "severity": None}
        >>> rows = [{**base, "data": "d/a", "group": "natural", "metrics": {"accuracy": 0.5}},
        ...         {**base, "data": "d/b", "group": "corruption", "metrics": {"accuracy": 1.0}}]
        >>> mean_over_shifts(rows), mean_over_shifts(rows, group="natural")
        (0.75, 0.5)
        >>> mean_over_shifts(rows[:1], group="corruption") is None
        True
    """
    values: dict[str, float] = {}
    for row in rows:
        if row["role"] != "shift" or row["severity"] is not None or group not in (None, row["group"]):
            continue
        if row["data"] in values:
            raise CallError(
                f"two rows for {row['data']!r} among the rows to average. "
                "Expected rows of one model at one alpha on one split; filter them first."
            )
        if metric not in row["metrics"]:
            raise CallError(f"the row for {row['data']!r} has no {metric!r}; it has {', '.join(row['metrics'])}.")
        values[row["data"]] = row["metrics"][metric]
    return math.fsum(values.values()) / len(values) if values else None


def _score(
    predictions: Predictions, run: str | Path | None, method: str | None, scoring: Scoring
) -> tuple[Row, Outcomes]:
    name = predictions.meta.get("data", "") or "the table"
    labelled = predictions.labelled
    if not labelled.any():
        raise VlmDataError(
            f"no sample of {name} has a label ({len(predictions)} samples). Expected at least one labelled sample to "
            "score; predictions without labels can be looked at, not scored."
        )
    whole = bool(labelled.all())
    logits = predictions.logits if whole else predictions.logits[labelled]
    labels = predictions.labels if whole else predictions.labels[labelled]
    ids = predictions.ids if whole else tuple(predictions.ids[row] for row in np.flatnonzero(labelled))
    try:
        check_samples(logits, labels)
        probabilities = softmax(logits)  # not predictions.probabilities, which would stay in memory with the table
        outcomes = Outcomes(ids, probabilities.max(axis=1), logits.argmax(axis=1) == labels)
        arrays = {"logits": logits, "probabilities": probabilities, "labels": labels}
        arrays |= {"confidences": outcomes.confidences, "correct": outcomes.correct}
        groups = _labelled_groups(predictions)
        arrays |= {"groups": groups} if groups else {}
        metrics = {metric: measure(metric, arrays | groups) for metric in scoring.metrics}
        metrics |= _asked_for(predictions, arrays | groups)
        metrics |= worst_group_scores(outcomes.correct, labels, groups)
        metrics |= accuracies_by_group(outcomes.correct, groups)
        temperature = scoring.temperatures.get(model_key(predictions.meta))
        if temperature is not None:
            after = rescaled(predictions, temperature)
            metrics |= {"temperature": temperature, "ece_rescaled": after.ece_after, "nll_rescaled": after.nll_after}
    except VlmDataError as error:
        raise VlmDataError(f"cannot score {name}: {error}") from error
    intervals: dict[str, list[float]] = {}
    if scoring.resamples:
        exact = clopper_pearson(int(outcomes.correct.sum()), len(ids), scoring.level)
        resampled = joint_bootstrap([outcomes], resamples=scoring.resamples, seed=scoring.seed)
        intervals = {"accuracy": list(exact), "ece": list(resampled.interval("ece", scoring.level, "basic"))}
    row = row_of_table(predictions.meta, len(ids), metrics, intervals)
    return {**row, "run": None if run is None else str(run), "method": method}, outcomes


def _asked_for(predictions: Predictions, arrays: Mapping[str, object]) -> dict[str, float]:
    """Return what the data set asks for besides the usual metrics, as far as these images can tell it."""
    found: dict[str, float] = {}
    for metric in predictions.meta.get("metrics", "").split():
        with contextlib.suppress(VlmDataError):  # no worst region where all are unknown, as few images may happen to be
            found[metric] = measure(metric, arrays)
    return found


def _labelled_groups(predictions: Predictions) -> dict[str, Sequence[str]]:
    """Return the groups of the labelled samples, by attribute."""
    rows = np.flatnonzero(predictions.labelled)
    return {attribute: [values[row] for row in rows] for attribute, values in predictions.groups.items()}


def _corruption(row: Row) -> str:
    return row["data"].removesuffix(f"-{row['severity']}")


def _mean_row(rows: Sequence[Row], members: Sequence[Outcomes], scoring: Scoring) -> Row:
    sources = sorted({(row["model"], str(row["alpha"]), row["split"], _corruption(row)) for row in rows})
    if len(sources) > 1:
        raise CallError(
            f"tables of {len(sources)} different models or corruptions are to be averaged: "
            f"{'; '.join(', '.join(source) for source in sources[:3])}. Expected the severities of one corruption."
        )
    if len({row["severity"] for row in rows}) < len(rows):
        raise CallError(f"a severity of {sources[0][-1]} is there twice; expected each severity once.")
    intervals: dict[str, list[float]] = {}
    if scoring.resamples:
        resampled = joint_bootstrap(members, resamples=scoring.resamples, seed=scoring.seed)
        intervals = {
            "accuracy": list(resampled.interval("accuracy", scoring.level)),
            "ece": list(resampled.interval("ece", scoring.level, "basic")),
        }
    shared = {
        key: value for key, value in rows[0]["hashes"].items() if all(r["hashes"].get(key) == value for r in rows)
    }
    return {
        **rows[0],
        "data": _corruption(rows[0]),
        "severity": None,
        "n": sum(row["n"] or 0 for row in rows),
        "metrics": {name: math.fsum(row["metrics"][name] for row in rows) / len(rows) for name in rows[0]["metrics"]},
        "intervals": intervals,
        "hashes": shared,
    }
