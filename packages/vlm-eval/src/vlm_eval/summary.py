"""The table that ends a run: what fine-tuning did, and what interpolation gives back."""

import dataclasses
import math
from collections.abc import Iterable

from vlm_eval.catalog import load_metric
from vlm_eval.rows import Row
from vlm_eval.score_table import ScoreTable, score_table

ZERO_SHOT, FINE_TUNED, INTERPOLATED = "zero-shot", "fine-tuned", "interpolated"


def summary_table(rows: Iterable[Row], alpha: float = 0.5) -> ScoreTable:
    """Return the table that ends a run: zero-shot, fine-tuned and interpolated model, as far as they were scored.

    Args:
        rows: of one run.
        alpha: weight of the fine-tuned model in the interpolated one.

    Raises:
        CallError: see `score_table`.
    """
    table = score_table(row for row in rows if row["alpha"] is not None)
    lines = []
    for name, value in {ZERO_SHOT: 0.0, FINE_TUNED: 1.0, INTERPOLATED: alpha}.items():
        # Rows may tell the chosen end twice, under both names; the numbers are the same.
        same = [line for line in table.lines if math.isclose(line.alpha or 0.0, value, abs_tol=1e-6)]
        lines += [dataclasses.replace(line, model=name) for line in same[:1]]
    return dataclasses.replace(table, lines=tuple(lines))


def oracle_alphas(table: ScoreTable, metric: str = "accuracy") -> dict[str, float]:
    """Return for each column the alpha with the best score ON THAT TEST SET; the smallest alpha wins a tie.

    This is an oracle: it looks at the answers. It tells what could be reached, never which alpha to use.

    Raises:
        CallError: if there is no such metric.
    """
    sign = 1 if load_metric(metric)["better"] == "higher" else -1
    best: dict[str, float] = {}
    for column in table.columns:
        scored = [
            (sign * cell[metric].value, -line.alpha)
            for line in table.lines
            if line.alpha is not None and metric in (cell := line.cells.get(column.key, {}))
        ]
        if scored:
            best[column.key] = -max(scored)[1]
    return best
