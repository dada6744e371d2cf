"""Scores as a table: one line per model, one column per data set and per mean over shifts."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from vlm_data.errors import CallError
from vlm_eval.rows import Row

ID, MEAN = "id", "mean"
ALL_SHIFTS = "all"
GROUP_NAMES = {
    "natural": "natural shifts",
    "corruption": "corruptions",
    "unknown": "shifts of unknown kind",
    ALL_SHIFTS: "all shifts",
}


@dataclasses.dataclass(frozen=True)
class Score:
    """One value of a metric with its interval; fractions. `low` and `high` are None where nothing was resampled."""

    value: float
    low: float | None = None
    high: float | None = None


Cell = Mapping[str, Score]
"""Scores of one model on one data set, by name of metric."""


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column stands for.

    Attributes:
        key: data set (`digits/invert`), or `mean/natural`, `mean/corruption`, `mean/all`.
        label: short heading.
        group: `id`, `natural`, `corruption` (as the rows say), or `mean`.
    """

    key: str
    label: str
    group: str


@dataclasses.dataclass(frozen=True)
class Line:
    """Scores of one model; a data set it was not scored on has no cell."""

    model: str
    alpha: float | None
    cells: Mapping[str, Cell]


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """Lines and columns; `line.cells[column.key]["accuracy"]` is one score."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of shifts, natural ones first."""
        return tuple(dict.fromkeys(c.group for c in self.columns if c.group not in (ID, MEAN)))

    def members(self, group: str) -> tuple[Column, ...]:
        """Return the columns of one group; `all` stands for every shift, `id` for the in-distribution data."""
        shifts = group == ALL_SHIFTS
        return tuple(c for c in self.columns if c.group == group or (shifts and c.group in self.groups))

    def mean(self, line: Line, group: str) -> Cell | None:
        """Return the mean over the data sets of a group (see `members`), each counting once.

        The interval runs from the mean of the lower to the mean of the upper ends. Shifts share images, so their errors
        are neither independent nor equal; this interval is exact if they are equal and too wide otherwise.

        Returns:
            None if the group is empty, or the model was not scored on all of it: means over fewer sets do not compare.
        """
        return _mean_cell([line.cells.get(column.key) for column in self.members(group)])


def score_table(rows: Iterable[Row], split: str = "test") -> ScoreTable:
    """Return all scores of one split: a line per model and alpha, a column per data set, then means over shifts.

    Single severities of a corruption are left out; their mean is the column. A mean column appears where it says
    something the others do not: for a group of at least two shifts, and over all shifts if there are several groups.

    Args:
        rows: as `vlm_eval.scores.score_tables` returns them, of any number of models.
        split: `test` or `val`.

    Raises:
        CallError: if one model has two rows for one data set.

    Example:
        >>> row = {"run": None, "model": "tiny", "alpha": None, "split": "test", "severity": None, "role": "id",
        ...     "group": "", "data": "digits", "metrics": {"accuracy": 0.5}, "intervals": {"accuracy": [0.4, 0.6]}}
        >>> table = score_table([row])
        >>> table.columns[0].label, table.lines[0].cells["digits"]["accuracy"]
        ('ID', Score(value=0.5, low=0.4, high=0.6))
    """
    found: dict[tuple[object, ...], dict[str, Cell]] = {}
    groups: dict[str, str] = {}
    for row in rows:
        if row["split"] != split or row["severity"] is not None:
            continue
        cells = found.setdefault((row["run"], row["model"], row["alpha"]), {})
        if row["data"] in cells:
            raise CallError(
                f"{row['model']} has two {split} rows for {row['data']!r}; expected one. Filter them first."
            )
        cells[row["data"]] = _cell(row)
        groups[row["data"]] = ID if row["role"] == ID else row["group"] or "natural"
    columns = _columns(groups)
    lines = [Line(str(model), alpha, cells) for (_, model, alpha), cells in found.items()]  # type: ignore[arg-type]
    lines.sort(key=lambda line: -1.0 if line.alpha is None else line.alpha)
    return _with_means(ScoreTable(columns, tuple(lines)))


def _cell(row: Row) -> Cell:
    ends = {name: row["intervals"].get(name, (None, None)) for name in row["metrics"]}
    return {name: Score(value, *ends[name]) for name, value in row["metrics"].items()}


def _columns(groups: Mapping[str, str]) -> tuple[Column, ...]:
    order = [ID, "natural", *(group for group in dict.fromkeys(groups.values()) if group not in (ID, "natural"))]
    order.sort(key="corruption".__eq__)  # corruptions last: they are ID images again
    several = list(groups.values()).count(ID) > 1
    short = {data: data.rstrip("/").rsplit("/", 1)[-1] for data in groups}
    labels = {data: "ID" if groups[data] == ID and not several else short[data] for data in groups}
    twice = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    return tuple(
        Column(data, data if labels[data] in twice else labels[data], group)
        for group in order
        for data in groups
        if groups[data] == group
    )


def _with_means(table: ScoreTable) -> ScoreTable:
    groups = [group for group in table.groups if len(table.members(group)) > 1]
    groups += [ALL_SHIFTS] if len(table.groups) > 1 else []
    means = tuple(Column(f"mean/{group}", f"mean of {GROUP_NAMES.get(group, group)}", MEAN) for group in groups)
    lines = []
    for line in table.lines:
        cells = {f"mean/{group}": cell for group in groups if (cell := table.mean(line, group))}
        lines.append(dataclasses.replace(line, cells={**line.cells, **cells}))
    return ScoreTable((*table.columns, *means), tuple(lines))


def _mean_cell(cells: Sequence[Cell | None]) -> Cell | None:
    known = [cell for cell in cells if cell]
    if not known or len(known) < len(cells):
        return None
    names = [name for name in known[0] if all(name in cell for cell in known)]
    return {name: _mean_score([cell[name] for cell in known]) for name in names}


def _mean_score(scores: Sequence[Score]) -> Score:
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if len(known) == len(scores) else None

    middle = math.fsum(score.value for score in scores) / len(scores)
    return Score(middle, mean(score.low for score in scores), mean(score.high for score in scores))
