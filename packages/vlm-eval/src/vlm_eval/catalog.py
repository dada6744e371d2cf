"""The metrics users choose by name: what `vlm_eval.metrics` and third-party packages define."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, TypedDict

from vlm_data.errors import CallError, VlmError, unknown_name
from vlm_data.registry import Registry

FAMILIES = Registry("vlm_eval.metrics", "family of metrics")


class Metric(TypedDict):
    """One entry of the `SUMMARY` dict of a metrics file.

    Attributes:
        compute: pure function of arrays; arguments without default are the arrays it needs, by name, for example
            `logits`, `probabilities`, `labels`.
        better: whether a higher or a lower value is better.
        range: smallest and largest possible value.
        unit: what the number counts, for tables and axis labels.
    """

    compute: Callable[..., float]
    better: Literal["higher", "lower"]
    range: tuple[float, float]
    unit: str


@cache
def _metrics() -> Mapping[str, Metric]:
    found: dict[str, Metric] = {}
    for family in FAMILIES.names():
        for name, metric in getattr(FAMILIES.load(family), "SUMMARY", {}).items():
            if name in found:
                raise VlmError(
                    f"the metric {name!r} is defined twice, the second time in {family!r}. "
                    "Expected one definition per name; rename one of them or uninstall the package that adds it."
                )
            found[name] = metric
    return found


def metric_names() -> list[str]:
    """Return the names of all metrics, sorted; files of `vlm_eval.metrics` and entry points of that group count.

    Example:
        >>> "ece" in metric_names()
        True
    """
    return sorted(_metrics())


def load_metric(name: str) -> Metric:
    """Return one metric.

    Raises:
        CallError: if there is no such metric; the nearest one is offered.

    Example:
        >>> load_metric("brier")["range"]
        (0.0, 2.0)
    """
    if name not in _metrics():
        raise unknown_name("metric", name, metric_names())
    return _metrics()[name]


def array_names(metric: Metric) -> list[str]:
    """Return which arrays a metric needs: the names of its arguments without default.

    Example:
        >>> array_names(load_metric("nll"))
        ['logits', 'labels']
    """
    parameters = inspect.signature(metric["compute"]).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def measure(name: str, arrays: Mapping[str, object]) -> float:
    """Return the value of one metric.

    Args:
        name: see `metric_names`.
        arrays: what there is to measure on, by name; more than needed is allowed.

    Raises:
        CallError: if the metric does not exist or needs an array that is not there.

    Example:
        >>> import numpy as np
        >>> measure("accuracy", {"logits": np.array([[1.0, 0.0]]), "labels": np.array([0])})
        1.0
    """
    metric = load_metric(name)
    missing = [array for array in array_names(metric) if array not in arrays]
    if missing:
        raise CallError(
            f"the metric {name!r} needs {', '.join(missing)}, which is not there. "
            f"Available: {', '.join(sorted(arrays))}. Choose a metric of these."
        )
    return metric["compute"](**{array: arrays[array] for array in array_names(metric)})
