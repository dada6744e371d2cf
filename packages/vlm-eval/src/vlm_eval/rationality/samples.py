"""The samples of a table of rationales that PT and IR are about, and whether two tables hold the same ones."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vlm_data.errors import CallError
from vlm_data.tables import Rationales
from vlm_data.tables.rationales import OK
from vlm_eval.metrics.rationality import RationaleCounts, rationale_cells

_OF_MODEL_AND_DATA = (
    *("model", "alpha", "method", "run", "class_names_hash", "templates_hash", "preprocess_hash", "weights_hash"),
    *("data", "split", "role", "shift", "group", "severity", "data_hash", "classes_hash", "metrics"),
)
"""What tables of predictions say, too; everything else in a table of rationales is how relevance was judged."""


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedSamples:
    """The labelled samples of a table whose evidence is known.

    Attributes:
        ids: sample ids.
        labels: (n,) true class.
        correct: (n,) is the answer right.
        rational: (n,) is its evidence valid; False for empty evidence and flat maps.
        defined: (n,) is there evidence in the picture and a map that says something.
        measures: values by name of measure, NaN where undefined.
    """

    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"]
    rational: Bool[np.ndarray, " n"]
    defined: Bool[np.ndarray, " n"]
    measures: Mapping[str, Float64[np.ndarray, " n"]]

    @cached_property
    def cells(self) -> Int64[np.ndarray, " n"]:
        """Cell of each sample, see `vlm_eval.metrics.rationality.rationale_cells`."""
        return rationale_cells(self.correct, self.rational)

    @property
    def counts(self) -> RationaleCounts:
        """The 2 x 2 table."""
        return RationaleCounts(*(int(count) for count in np.bincount(self.cells, minlength=4)))


def judged_samples(table: Rationales) -> JudgedSamples:
    """Return the samples that have a label and evidence.

    Example:
        >>> table = Rationales(("a", "b", "c"), np.array([0, 1, -1]), np.array([0, 0, 0]), {},
        ...                    ("ok", "no-evidence", "ok"), np.array([True, False, True]))
        >>> judged_samples(table).ids
        ('a',)
    """
    rows = np.flatnonzero(table.known & table.labelled)
    return JudgedSamples(
        tuple(table.ids[row] for row in rows),
        table.labels[rows],
        table.correct[rows],
        table.rational[rows],
        np.array([table.status[row] == OK for row in rows], dtype=bool),
        {name: values[rows] for name, values in table.measures.items()},
    )


def require_same_samples(first: Rationales, second: Rationales) -> None:
    """Raise unless two tables are about the same images in the same order, with the same labels and known evidence.

    Raises:
        CallError: names the first sample in which they differ; nothing is cut or sorted.

    Example:
        >>> one = Rationales(("a", "b"), np.array([0, 1]), np.array([0, 0]), {}, ("ok", "ok"), np.array([True, False]))
        >>> require_same_samples(one, one)
    """
    data = first.meta.get("data", "?")
    for row, (one, other) in enumerate(zip(first.ids, second.ids, strict=False)):
        if one != other:
            raise _different(data, f"row {row} is {one!r} in one and {other!r} in the other")
    if len(first) != len(second):
        longer = max(first, second, key=len)
        shared = min(len(first), len(second))
        raise _different(
            data,
            f"one has {len(first)} samples and the other {len(second)}; {longer.ids[shared]!r} is in one of them only",
        )
    for what, apart in (
        ("label", first.labels != second.labels),
        ("known evidence", first.known != second.known),
    ):
        if apart.any():
            raise _different(data, f"the {what} of {first.ids[int(np.flatnonzero(apart)[0])]!r} differs")


def _different(data: str, how: str) -> CallError:
    return CallError(
        f"the rationales on {data} are not of the same images: {how}. Expected the same images in the same order; make "
        "both tables from the same data with the same --limit."
    )


def settings(meta: Mapping[str, str]) -> dict[str, str]:
    """Return how relevance was computed and judged: method, layers, target, rule, whatever the table tells.

    Example:
        >>> settings({"model": "tiny", "data": "digits", "layers": "last"})
        {'layers': 'last'}
    """
    return {key: value for key, value in sorted(meta.items()) if key not in _OF_MODEL_AND_DATA}
