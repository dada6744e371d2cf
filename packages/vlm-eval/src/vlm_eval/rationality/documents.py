"""PT, IR and what belongs to them as plain values: for JSON, where undefined is null, and for CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlm_eval.comparing.changes import Change
from vlm_eval.metrics.rationality import SHARES, RationaleCounts
from vlm_eval.metrics.rationality_curve import ThresholdCurve
from vlm_eval.rationality.comparison import Matched, RationaleTest
from vlm_eval.rationality.scores import RationaleScores


def scores_document(scores: RationaleScores) -> dict[str, Any]:
    """Return the scores of one model on one data set as one flat record; fractions, None where undefined.

    `RR`, `RW`, `WR` and `WW` are numbers of images, `mean_MEASURE` the means of the measures.
    """
    found: dict[str, Any] = {
        "model": scores.meta.get("model", ""),
        "alpha": float(scores.meta["alpha"]) if scores.meta.get("alpha") else None,
        "data": scores.data,
        "split": scores.meta.get("split", ""),
        "group": scores.meta.get("group", ""),
        "severity": scores.severity,
        "n": scores.n,
        "no_evidence": scores.no_evidence,
        "empty": scores.empty,
        "flat": scores.flat,
        **_cells(scores.counts),
    }
    for name in SHARES:
        share = scores.shares[name]
        found |= {
            name: share and share.value,
            f"{name}_low": share and share.low,
            f"{name}_high": share and share.high,
        }
    found |= {f"mean_{name}": value for name, value in sorted(scores.means.items())}
    return found | scores.settings


def class_documents(counts: Mapping[str, RationaleCounts]) -> list[dict[str, Any]]:
    """Return one record per class, see `vlm_eval.rationality.scores.scores_per_class`.

    Example:
        >>> (record,) = class_documents({"cat": RationaleCounts(0, 0, 1, 1)})
        >>> record["WR"], record["pt"], record["ir"]
        (1, None, 0.0)
    """
    return [
        {"class": name, "n": one.n, **_cells(one), **{share: one.shares[share].value for share in SHARES}}
        for name, one in counts.items()
    ]


def curve_documents(curve: ThresholdCurve) -> list[dict[str, Any]]:
    """Return one record per threshold."""
    shares = {name: curve.share(name).tolist() for name in SHARES}
    return [
        {
            "measure": curve.measure,
            "threshold": float(threshold),
            **dict(zip(("RR", "RW", "WR", "WW"), map(int, curve.counts[row]), strict=True)),
            # NaN, the only number that differs from itself, is what JSON cannot hold
            **{name: values[row] if values[row] == values[row] else None for name, values in shares.items()},
        }
        for row, threshold in enumerate(curve.thresholds)
    ]


def comparison_documents(tests: Mapping[str, Sequence[RationaleTest]]) -> list[dict[str, Any]]:
    """Return one record per compared model and data set, see `vlm_eval.rationality.comparison.compare_models`."""
    return [
        {
            "model": name,
            "data": test.data,
            "n": test.n,
            **{share: _change(test.changes[share]) for share in SHARES},
            "mcnemar": {what: _matched(getattr(test, what)) for what in ("validity", "both_right", "both_valid")},
            "differing_settings": list(test.differing),
        }
        for name, found in tests.items()
        for test in found
    ]


def records_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records as a CSV document; a column for every key that occurs, empty where undefined.

    Example:
        >>> print(records_csv([{"model": "a", "pt": 0.5}, {"model": "b", "pt": None, "ir": 1.0}]), end="")
        model,pt,ir
        a,0.5,
        b,,1.0
    """
    lines = list(records)
    text = io.StringIO()
    names = list(dict.fromkeys(key for line in lines for key in line))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _cells(counts: RationaleCounts) -> dict[str, int]:
    return {"RR": counts.rr, "RW": counts.rw, "WR": counts.wr, "WW": counts.ww}


def _change(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    names = ("before", "after", "difference", "low", "high", "direction")
    return {name: getattr(change, name) for name in names}


def _matched(test: Matched | None) -> dict[str, Any] | None:
    if test is None:
        return None
    return {name: getattr(test, name) for name in ("n", "only_first", "only_second", "p_value")}
