"""Showing what a comparison of runs found: tests, robustness, calibration, differing answers."""

from typing import TYPE_CHECKING

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_eval.comparing.changes import Change
    from vlm_eval.comparing.judgement import Judgement
    from vlm_eval.comparing.paired import PairedTest
    from vlm_eval.score_table import Score


def show_tests(first: str, second: str, tests: "list[PairedTest]", console: Console) -> None:
    """Print the paired tests of one group of runs against another."""
    rows = []
    for test in tests:
        p_value = "" if test.p_value is None else f"{test.p_value:.2g}"
        rows.append((test.data, *_cells(test.accuracy), p_value, *_cells(test.ece)))
    columns = ("data set", "accuracy %", "change", "95 %", "p", "ECE %", "change", "95 %")
    sizes = sorted({test.n for test in tests})
    images = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    caption = f"{images} images per set, {_seeds(tests[0])}. * marks differences whose interval does not contain 0; "
    caption += "of many tests at once some do so by chance."
    console.table(f"{second} against {first}", columns, rows, caption)
    worst = [(test.data, *_cells(test.accuracy)[:2], *_cells(test.worst_group)) for test in tests if test.worst_group]
    if worst:
        caption = "worst group: the lowest accuracy of a class among the images that share a value of an attribute; "
        caption += "each side has its own. A gain there can cost accuracy overall, so both are told."
        heads = ("data set", "accuracy %", "change", "worst group %", "change", "95 %")
        console.table(f"worst group, {second} against {first}", heads, worst, caption)


def show_robustness(judgement: "Judgement", console: Console) -> None:
    """Print where every group stands on the means over shifts, or on every shift if there are no means."""
    lines: dict[tuple[str, float], list[str]] = {}
    columns: dict[str, str] = {}
    for one in judgement.short_standings():
        columns[one.data] = one.label
        cells = lines.setdefault((one.name, one.alpha), [percent_cell(one.reference)])
        cells += [percent_cell(one.shifted), _points(one.relative)]
        cells += [_points(one.effective)] if judgement.fits else []
    heads = ["ID acc"]
    for label in columns.values():
        heads += [f"{label} acc", "relative"] + (["effective"] if judgement.fits else [])
    rows = [[_model(name, alpha), *cells] for (name, alpha), cells in lines.items()]
    caption = "relative: accuracy in points above zero-shot; 95 % intervals below."
    if judgement.fits:
        caption += " effective: points above what baselines of that ID accuracy reach."
    if rows:
        together = [1, *[len(heads[1:]) // len(columns)] * len(columns)]
        console.table("robustness, accuracy in %", ["", *heads], rows, caption, together)


def show_calibration(judgement: "Judgement", console: Console) -> None:
    """Print ECE before and after temperature scaling on ID data and on the means over shifts."""
    lines: dict[tuple[str, float], list[str]] = {}
    columns: dict[str, str] = {}
    for one in judgement.short_calibrations():
        columns[one.data] = "ID" if one.data == "id" else judgement.label(one.data)
        cells = lines.setdefault((one.name, one.alpha), ["-" if one.temperature is None else f"{one.temperature:.2f}"])
        after = "" if one.ece_rescaled is None else f" > {100 * one.ece_rescaled:.1f}"
        cells.append("-" if one.ece is None else f"{100 * one.ece:.1f}{after}")
        if one.data != "id":
            cells.append("-" if one.gap is None else f"{100 * one.gap:+.1f}")
        cells.append("-" if one.overconfidence is None else f"{100 * one.overconfidence:+.1f}")
    heads, together = ["T"], [1]
    for key, label in columns.items():
        group = [f"{label} ECE", *(["gap"] if key != "id" else []), "over-conf."]
        heads, together = [*heads, *group], [*together, len(group)]
    rows = [[_model(name, alpha), *cells] for (name, alpha), cells in lines.items()]
    caption = "ECE before > after one temperature T fitted on ID validation; gap: ECE minus that on ID data; "
    if rows:
        caption += "over-conf.: mean confidence minus accuracy."
        console.table("calibration in %", ["", *heads], rows, caption, together)


def show_differences(judgement: "Judgement", console: Console) -> None:
    """Print how differently the zero-shot and the fine-tuned model answer, and whom the interpolated one follows."""
    rows = []
    for name, found in judgement.short_differences().items():
        for one in found:
            shares = (one.diversity, one.follows_zero_shot, one.follows_fine_tuned, one.corrected, one.broken)
            first, *others = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
            kappa, divergence = (f"{v:.2f}" if v is not None else "-" for v in (one.kappa_complement, one.divergence))
            rows.append((f"{name}, {one.data}", first, kappa, divergence, *others))
    heads = ("", "one right", "1 - kappa", "KL, nats", "follows zero-shot", "follows tuned", "corrected", "broken")
    alphas = " or ".join(f"{alpha:g}" for alpha in sorted(judgement.mixed_alphas()))
    caption = (
        f"follows, corrected, broken: the interpolated model (alpha {alphas}) where the two disagree, and against "
    )
    caption += "the fine-tuned one in % of all images."
    if rows:
        console.table("answers of zero-shot and fine-tuned model, in %", heads, rows, caption)


def _cells(change: "Change") -> tuple[str, str, str]:
    mark = "" if change.direction == "unclear" else " *"
    return (
        f"{100 * change.before:.1f} > {100 * change.after:.1f}",
        f"{100 * change.difference:+.1f}{mark}",
        f"{100 * change.low:+.1f}..{100 * change.high:+.1f}",
    )


def _seeds(test: "PairedTest") -> str:
    before, after = test.seeds
    return f"{before} and {after} seeds" if before != after else f"{before} seed{'s' * (before > 1)} each"


def _model(name: str, alpha: float) -> str:
    return f"{name}, alpha {alpha:g}"


def percent_cell(score: "Score | None") -> str:
    """Return a fraction in per cent, its interval on a line below; a dash where it is undefined."""
    if score is None:
        return "-"
    ends = "" if score.low is None or score.high is None else f"\n{100 * score.low:.0f}-{100 * score.high:.0f}"
    return f"{100 * score.value:.1f}{ends}"


def _points(score: "Score | None") -> str:
    if score is None:
        return "-"
    ends = "" if score.low is None or score.high is None else f"\n{100 * score.low:+.0f}..{100 * score.high:+.0f}"
    return f"{100 * score.value:+.1f}{ends}"
