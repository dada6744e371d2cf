"""Where models stand under shift: effective and relative robustness of every run, with intervals."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vlm_eval.comparing.baselines import Baselines
from vlm_eval.comparing.scored_groups import ScoredGroup, halfway_inside
from vlm_eval.metrics.robustness import BaselineFit, logit, sigmoid
from vlm_eval.score_table import ID, Score


@dataclasses.dataclass(frozen=True)
class Standing:
    """One group of runs at one alpha on one shift or mean of shifts; fractions, means over seeds.

    Attributes:
        name: of the group.
        alpha: weight of the fine-tuned model.
        data: key of the column (`digits/invert`, `mean/natural`).
        label: its heading.
        runs: how many.
        reference: ID accuracy.
        shifted: accuracy under shift.
        effective: shifted accuracy minus what the baselines promise at that ID accuracy; None without baselines, or at
            an ID accuracy of 0 or 1, where they promise nothing. The interval covers images, seeds and the line.
        residual: the same distance in logit units; None also at a shifted accuracy of 0 or 1.
        relative: shifted accuracy minus that of the zero-shot model (alpha 0).
    """

    name: str
    alpha: float
    data: str
    label: str
    runs: int
    reference: Score
    shifted: Score
    effective: Score | None
    residual: float | None
    relative: Score | None


def baseline_fits(group: ScoredGroup, baselines: Baselines | None) -> dict[str, BaselineFit]:
    """Fit the baselines for every shift and mean of shifts that has all its columns in them.

    Raises:
        CallError: if a column is no data set of the group, the ID column is missing, or a line cannot be fitted.
    """
    if baselines is None:
        return {}
    reference = group.members(ID)
    baselines.check_names([column.key for column in group.columns])
    baselines.check_reference(reference)
    fits = {key: baselines.fit(reference, group.members(key)) for key in shift_columns(group)}
    return {key: fit for key, fit in fits.items() if fit is not None}


def shift_columns(group: ScoredGroup) -> dict[str, str]:
    """Return the label of every shift and mean of shifts, by key; means last."""
    return {column.key: column.label for column in group.columns if column.group != ID}


def standings(group: ScoredGroup, fits: Mapping[str, BaselineFit]) -> list[Standing]:
    """Return one standing for every alpha of a group and every shift; intervals at the marked alphas.

    Args:
        group: scored runs.
        fits: see `baseline_fits`; empty without baselines.
    """
    found = []
    for alpha in group.alphas:
        reference = group.score(alpha, ID, "accuracy")
        for key, label in shift_columns(group).items():
            shifted = group.score(alpha, key, "accuracy")
            if reference is None or shifted is None:
                continue
            fit = fits.get(key)
            found.append(
                Standing(
                    group.name,
                    alpha,
                    key,
                    label,
                    len(group.tables),
                    reference,
                    shifted,
                    _effective(group, alpha, key, fit) if fit else None,
                    _residual(group, alpha, key, fit) if fit else None,
                    _relative(group, alpha, key),
                )
            )
    return found


def _pairs(group: ScoredGroup, alpha: float, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    """ID and shifted accuracy of every run, or None if one has an ID accuracy of 0 or 1."""
    x, y = (np.array(group.values(alpha, one, "accuracy")) for one in (ID, key))
    return (x, y) if ((x > 0) & (x < 1)).all() else None


def _effective(group: ScoredGroup, alpha: float, key: str, fit: BaselineFit) -> Score | None:
    """Mean over runs of rho; resamples hold the same images and seeds for both accuracies, and move the line."""
    pairs = _pairs(group, alpha, key)
    if pairs is None:
        return None
    value = float(fit.effective_robustness(*pairs).mean())
    before, after = group.resampled(alpha, ID), group.resampled(alpha, key)
    if before is None or after is None:
        return Score(value)
    kept = min(len(before.accuracy), len(after.accuracy))
    x = halfway_inside(before.accuracy[:kept], max(1, group.samples(ID)))
    t = np.random.default_rng(fit.count).standard_t(fit.count - 2, size=kept)
    line = fit.slope * logit(x) + fit.intercept + t * fit.uncertainty(x)
    low, high = np.quantile(after.accuracy[:kept] - sigmoid(line), [0.025, 0.975])
    return Score(value, float(low), float(high))


def _residual(group: ScoredGroup, alpha: float, key: str, fit: BaselineFit) -> float | None:
    pairs = _pairs(group, alpha, key)
    if pairs is None or not ((pairs[1] > 0) & (pairs[1] < 1)).all():
        return None
    return float(fit.residual(*pairs).mean())


def _relative(group: ScoredGroup, alpha: float, key: str) -> Score | None:
    start, end = group.values(0.0, key, "accuracy"), group.values(alpha, key, "accuracy")
    if start is None or end is None:
        return None
    value = float(np.mean(end) - np.mean(start))
    if alpha == 0:
        return Score(0.0)
    before, after = group.resampled(0.0, key), group.resampled(alpha, key)
    if before is None or after is None:
        return Score(value)
    kept = min(len(before.accuracy), len(after.accuracy))
    low, high = np.quantile(after.accuracy[:kept] - before.accuracy[:kept], [0.025, 0.975])
    return Score(value, float(low), float(high))


_SCORES = ("reference", "shifted", "effective", "relative")


def standings_csv(found: Iterable[Standing], more: Sequence[Mapping[str, object]] = ()) -> str:
    """Return standings as a CSV document: every score with its interval, in three columns.

    Args:
        found: standings.
        more: further cells of every line, in the same order.

    Example:
        >>> one = Standing("full", 1.0, "d/x", "x", 1, Score(0.9), Score(0.5, 0.4, 0.6), None, None, None)
        >>> standings_csv([one]).splitlines()[1]
        'full,1.0,d/x,x,1,0.9,,,0.5,0.4,0.6,,,,,,,'
    """
    lines = []
    for place, standing in enumerate(found):
        cells: dict[str, object] = {
            name: getattr(standing, name) for name in ("name", "alpha", "data", "label", "runs")
        }
        for name in _SCORES:
            score: Score | None = getattr(standing, name)
            cells |= {
                name: score and score.value,
                f"{name}_low": score and score.low,
                f"{name}_high": score and score.high,
            }
        cells["residual"] = standing.residual
        lines.append(cells | dict(more[place] if place < len(more) else {}))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
