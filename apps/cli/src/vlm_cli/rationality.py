"""Showing whether answers rest on the evidence: PT, IR and the 2 x 2 table, tests, classes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vlm_cli.comparison import percent_cell
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.tables import Rationales
    from vlm_eval.comparing.changes import Change
    from vlm_eval.metrics.rationality import RationaleCounts
    from vlm_eval.rationality.comparison import Matched, RationaleTest
    from vlm_eval.rationality.of_models import RationalityOfModels
    from vlm_eval.rationality.scores import RationaleScores

_HEADS = ("images", "RR", "RW", "WR", "WW", "accuracy", "PT", "IR", "valid", "mass", "area")
_CAPTION = (
    "RR, RW: right answers whose relevance falls on the evidence, or not; WR, WW: wrong ones. PT = RR / (RR + RW), "
    "IR = RR / (RR + WR). area: share of the picture that is evidence, the mass of a map that says nothing; levels "
    "compare on the same images only."
)


def show_scores_of_models(found: "RationalityOfModels", single: "Iterable[Rationales]", console: Console) -> None:
    """Print one line per model and data set.

    Args:
        found: the models; a corruption is the mean over its severities.
        single: tables of single severities that are shown, too.
        console: where to.
    """
    from vlm_eval.rationality.scores import score_rationales

    lines = [(model, scores[column]) for column in found.columns for model, scores in found.scores.items()]
    shown = {
        table.meta["model"]: name for name, sets in found.tables.items() for parts in sets.values() for table in parts
    }
    lines += [(shown[table.meta["model"]], score_rationales(table)) for table in single]
    several = len(found.tables) > 1
    rows = [[f"{one.meta['data'] if one.severity else one.data}{', ' + model if several else ''}", *_cells(one)]
            for model, one in lines]  # fmt: skip
    how = ", ".join(f"{name.removeprefix('relevance_')} {value}" for name, value in found.shared.items()
                    if name == "rule" or name.startswith("relevance_"))  # fmt: skip
    title = "; ".join(filter(None, ["right for the right reasons?", how, "" if several else next(iter(found.tables))]))
    console.table(f"{title}; in %, 95 % intervals below", ["", *_HEADS], rows, _CAPTION, (1, 4, 1, 1, 1, 1, 2))
    for text in dict.fromkeys(_left_out(one) for _, one in lines):
        if text:
            console.text(text)
    if found.differing:
        console.text(f"caution: the models were not explained alike, so differences may be those of: "
                     f"{'; '.join(found.differing)}")  # fmt: skip


def show_tests_of_models(found: "RationalityOfModels", console: Console) -> None:
    """Print the paired tests of every model against the first."""
    first = next(iter(found.tables))
    for model, tests in found.tests.items():
        rows = [_test(test) for test in tests.values()]
        heads = ("", "PT change", "IR change", "valid change", "accuracy change", "p: both right", "p: both valid")
        caption = (
            "in points, 95 % intervals of the same images below. p: McNemar's exact test of valid evidence on the "
        )
        caption += "images that both get right, and of right answers where both have valid evidence."
        console.table(f"{model} against {first}", heads, rows, caption)


def show_classes(counts: "dict[str, RationaleCounts]", title: str, console: Console) -> None:
    """Print PT and IR of every class."""
    rows = [
        [name, *map(str, (one.n, one.rr, one.rw, one.wr, one.ww)), *[_percent(one.shares[share].value)
         for share in ("accuracy", "pt", "ir", "validity")]]
        for name, one in counts.items()
    ]  # fmt: skip
    console.table(title, ["", *_HEADS[:9]], rows)


def _cells(one: "RationaleScores") -> list[str]:
    counts = (one.counts.n, one.counts.rr, one.counts.rw, one.counts.wr, one.counts.ww)
    shares = [percent_cell(one.shares[name]) for name in ("accuracy", "pt", "ir", "validity")]
    return [*map(str, counts), *shares, *[_percent(one.means.get(name)) for name in ("mass", "area")]]


def _left_out(one: "RationaleScores") -> str:
    told = {
        "without evidence, in none of the numbers": one.no_evidence,
        "with the object outside of what the model sees, counted as not valid": one.empty,
        "with a map that is the same everywhere, counted as not valid": one.flat,
    }
    parts = [f"{number} {what}" for what, number in told.items() if number]
    return f"of {one.n} images of {one.data}: {'; '.join(parts)}" if parts else ""


def _test(test: "RationaleTest") -> Sequence[str]:
    changes = [_change(test.changes[name]) for name in ("pt", "ir", "validity", "accuracy")]
    return [test.data, *changes, _p_value(test.both_right), _p_value(test.both_valid)]


def _p_value(test: "Matched | None") -> str:
    return "-" if test is None or not test.n else f"{test.p_value:.2g}\n{test.only_first}:{test.only_second}"


def _change(change: "Change | None") -> str:
    if change is None:
        return "-"
    mark = "" if change.direction == "unclear" else " *"
    return f"{100 * change.difference:+.1f}{mark}\n{100 * change.low:+.1f}..{100 * change.high:+.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
