"""Which alpha: fixed in advance, chosen on held-out ID data, and, apart from both, what an oracle would take."""

import dataclasses
from collections.abc import Sequence

from vlm_data.errors import VlmDataError
from vlm_eval.rows import Row
from vlm_eval.score_table import ScoreTable, score_table
from vlm_eval.summary import oracle_alphas


def choose_alpha(rows: Sequence[Row]) -> float:
    """Return the alpha with the best ID validation accuracy; ties go to the lower NLL, then to the smaller alpha.

    Nothing in ID data rewards robustness, so this tends towards 1; 0.5 is the advice without further knowledge.

    Raises:
        VlmDataError: if no validation image has a label.
    """
    candidates = _held_out(rows)
    if not candidates:
        raise VlmDataError(
            "alpha cannot be chosen: there are no labelled validation images. Give the command again in a new --out "
            "with a fixed weight, such as --alpha 0.5, or label the validation split."
        )
    best = max(candidates, key=lambda row: (row["metrics"]["accuracy"], -row["metrics"]["nll"], -(row["alpha"] or 0)))
    return float(best["alpha"] or 0.0)


@dataclasses.dataclass(frozen=True)
class AlphaChoice:
    """What each way to an alpha gives on one data set or mean; accuracies as fractions.

    Attributes:
        data: key of the column.
        label: its heading.
        fixed: accuracy at the alpha set in advance; None if it was not evaluated.
        held_out: accuracy at the alpha with the best ID validation accuracy; None without labelled validation images.
        oracle_alpha: the alpha with the best accuracy on this very test set. It has seen the test labels: nobody could
            have chosen it.
        oracle: accuracy there, the most that any alpha reaches.
    """

    data: str
    label: str
    fixed: float | None
    held_out: float | None
    oracle_alpha: float
    oracle: float

    @property
    def gap_fixed(self) -> float | None:
        """What the fixed alpha leaves to the oracle, 0 or more."""
        return None if self.fixed is None else self.oracle - self.fixed

    @property
    def gap_held_out(self) -> float | None:
        """What the alpha chosen on held-out ID data leaves to the oracle, 0 or more."""
        return None if self.held_out is None else self.oracle - self.held_out


@dataclasses.dataclass(frozen=True)
class AlphaChoices:
    """All ways to an alpha on all data sets.

    Attributes:
        fixed: the alpha set in advance.
        held_out: the alpha chosen on ID validation; None without labelled validation images.
        columns: ID data, shifts and means.
    """

    fixed: float
    held_out: float | None
    columns: tuple[AlphaChoice, ...]


def alpha_choices(rows: Sequence[Row], fixed: float = 0.5) -> AlphaChoices:
    """Compare an alpha set in advance, the one chosen on ID validation, and the oracle of every test set.

    Args:
        rows: of all alphas between two models, test and validation.
        fixed: the alpha set in advance.

    Example:
        >>> base = {"run": None, "model": "", "severity": None, "role": "id", "group": "", "data": "d", "intervals": {}}
        >>> measured = (("val", 0.5, 0.6), ("val", 1.0, 0.7), ("test", 0.5, 0.8), ("test", 1.0, 0.6))
        >>> rows = [{**base, "split": split, "alpha": alpha, "metrics": {"accuracy": value, "nll": 1.0}}
        ...     for split, alpha, value in measured]
        >>> found = alpha_choices(rows)
        >>> found.held_out, found.columns[0].oracle_alpha, round(found.columns[0].gap_held_out, 3)
        (1.0, 0.5, 0.2)
    """
    table = score_table(row for row in rows if row["alpha"] is not None)
    held_out = choose_alpha(rows) if _held_out(rows) else None
    found = []
    for key, best in oracle_alphas(table).items():
        oracle = _accuracy(table, best, key)
        if oracle is not None:
            label = next(column.label for column in table.columns if column.key == key)
            chosen = None if held_out is None else _accuracy(table, held_out, key)
            found.append(AlphaChoice(key, label, _accuracy(table, fixed, key), chosen, best, oracle))
    return AlphaChoices(fixed, held_out, tuple(found))


def _held_out(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["role"] == "id" and row["split"] == "val" and row["alpha"] is not None]


def _accuracy(table: ScoreTable, alpha: float, key: str) -> float | None:
    for line in table.lines:
        if line.alpha is not None and abs(line.alpha - alpha) < 1e-6 and "accuracy" in line.cells.get(key, {}):
            return line.cells[key]["accuracy"].value
    return None
