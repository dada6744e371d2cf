"""Reading result lines of the WiSE-FT program and its descendants: one JSON object per evaluation call."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from vlm_eval.foreign_names import WISE_FT, group_of, ours
from vlm_eval.rows import Row

# What that program calls in-distribution when it was not told what it trained on.
_DEFAULT_REFERENCE = "ImageNet"
_ENDS = {0.0: "zero-shot", 1.0: "fine-tuned"}


def is_wise_line(record: Mapping[str, Any]) -> bool:
    """Return whether a JSON object looks like a line of that program: an alpha and at least one `<Dataset>:top1`.

    Example:
        >>> is_wise_line({"alpha": 0.5, "ImageNet:top1": 0.7}), is_wise_line({"alpha": 0.5})
        (True, False)
    """
    return "alpha" in record and any(key.endswith(":top1") for key in record)


def wise_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return one row per data set of a line.

    `<Dataset>:top1` becomes accuracy, other numeric `<Dataset>:<metric>` keep their name. Lines written during training
    carry the whole list of alphas instead of one; they are rows of the fine-tuned model without alpha. The training
    data set, ImageNet if none is named, is in-distribution and everything else a natural shift. The program writes no
    number of samples, so n is None and there are no intervals.

    Example:
        >>> rows = wise_rows({"alpha": 0.5, "ImageNet:top1": 0.7, "ImageNetA:top1": 0.4})
        >>> [(row["model"], row["data"], row["role"], row["metrics"]["accuracy"]) for row in rows]
        [('interpolated', 'ImageNet', 'id', 0.7), ('interpolated', 'ImageNetA', 'shift', 0.4)]
    """
    alpha = record["alpha"]
    single = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    reference = record.get("train_dataset") or _DEFAULT_REFERENCE
    metrics: dict[str, dict[str, float]] = {}
    for key, value in record.items():
        data, colon, metric = key.partition(":")
        if colon and isinstance(value, int | float) and not isinstance(value, bool):
            metrics.setdefault(data, {})["accuracy" if metric == "top1" else metric] = float(value)
    # Two sweeps in one file differ in nothing but these; without them one would pass for a repetition of the other.
    run = record.get("exp_name") or record.get("save") or record.get("model")
    return [
        {
            "model": _ENDS.get(float(alpha), "interpolated") if single else "fine-tuned",
            "run": str(PurePosixPath(run)) if run else None,
            "method": "wise-ft-fisher" if record.get("fisher") else "wise-ft",
            "alpha": float(alpha) if single else None,
            "data": data,
            "split": "test",
            "role": "id" if data == reference else "shift",
            "group": "" if data == reference else group_of(ours(data, WISE_FT)[0], "shift"),
            "severity": None,
            "n": None,
            "metrics": values,
            "intervals": {},
            "hashes": {},
        }
        for data, values in metrics.items()
    ]
