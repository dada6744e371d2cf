"""PT, IR and validity in the rows of scores, beside the accuracy of the same model on the same images."""

from collections.abc import Iterable
from typing import cast

from vlm_data.tables import Rationales
from vlm_eval.metrics.rationality import SHARES, Share
from vlm_eval.rationality.scores import RationaleScores, score_all
from vlm_eval.rows import Row, row_of_table

_OWN: tuple[Share, ...] = tuple(name for name in SHARES if name != "accuracy")
"""Accuracy is that of the predictions, which may be of more images than there is evidence for."""


def rationale_metrics(scores: RationaleScores) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return metrics and intervals for a row; what is undefined is not among them.

    `pt`, `ir` and `validity`, with intervals; `evidence_area`, the mean share of the picture that the evidence takes,
    without which the level of the others means little; `evidence_known`, the share of labelled images that have
    evidence.
    """
    metrics, intervals = {}, {}
    for name in _OWN:
        share = scores.shares[name]
        if share is not None:
            metrics[name] = share.value
            if share.low is not None and share.high is not None:
                intervals[name] = [share.low, share.high]
    if "area" in scores.means:
        metrics["evidence_area"] = scores.means["area"]
    metrics["evidence_known"] = 1 - scores.no_evidence / scores.n
    return metrics, intervals


def with_rationales(rows: Iterable[Row], tables: Iterable[Rationales], *, resamples: int = 1000) -> list[Row]:
    """Return rows of predictions, with PT, IR and validity where there are rationales of the same model and images.

    They are the same if alpha (or else the model), data set, split, number of labelled images and the hashes of
    weights and data agree. A table that fits no row, as one of weights that have changed since, changes nothing.

    Args:
        rows: of predictions, see `vlm_eval.scores.score_tables`.
        tables: of rationales; of several kinds for one model (other layers, another rule) the first counts.
        resamples: of the means over severities.
    """
    found: dict[tuple[object, ...], RationaleScores] = {}
    for scores in score_all(tables, resamples=resamples):
        found.setdefault(_key(_row(scores)), scores)
    merged: list[Row] = []
    for row in rows:
        scores = found.get(_key(row))
        if scores is not None:
            metrics, intervals = rationale_metrics(scores)
            both = {"metrics": row["metrics"] | metrics, "intervals": row["intervals"] | intervals}
            row = cast(Row, {**row, **both})
        merged.append(row)
    return merged


def _row(scores: RationaleScores) -> Row:
    return {**row_of_table(scores.meta, scores.n, {}, {}), "data": scores.data, "severity": scores.severity}


def _key(row: Row) -> tuple[object, ...]:
    """Return what row and rationales of one model on the same images share."""
    alpha = None if row["alpha"] is None else round(row["alpha"], 6)
    # The mean over severities is of several data sets, each with a hash of its own.
    one_set = row["group"] != "corruption" or row["severity"] is not None
    return (
        row["model"] if alpha is None else alpha,
        row["data"],
        row["split"],
        row["severity"],
        row["n"],
        row["hashes"].get("weights"),
        row["hashes"].get("data") if one_set else None,
    )
