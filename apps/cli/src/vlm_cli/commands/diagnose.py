"""`vlm diagnose`: the geometry of image features, and whether it ranks runs as their errors do."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options

if TYPE_CHECKING:
    from vlm_eval.diagnostics.runs import Diagnosed, RankCorrelation
    from vlm_eval.metrics.correlation import Correlation

EPILOG = options.examples(
    "vlm diagnose runs/digits-tiny-full-seed0",
    "vlm diagnose tiny runs/digits-tiny-full-seed0 --raw --out runs/raw-features",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("specs", metavar="SPEC|RUN...", nargs=-1, required=True)
@data_choice_options
@click.option("--raw", is_flag=True, help="Features as they are, instead of each at unit length.")
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Images at a time.")
@options.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/diagnostics"),
    show_default=True,
    help="Folder for the table, the figure, and what is found about models that are no runs.",
)
@options.output_options
def command(
    specs: tuple[str, ...],
    data: DataChoice,
    raw: bool,
    batch_size: int,
    device: str | None,
    out: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Measure the geometry of image features on the ID test images.

    The spectrum of the correlation matrix of features, and of the projections behind them (the diagnostics of CaRot).
    Every run keeps its own in spectrum.json, from which `vlm report` shows it. Of five runs or more the table tells how
    inverse sigma_min and ID calibration go together with their errors and calibration on shifts.
    """
    console = Console(as_json, verbose)
    console.say("vlm diagnose: loading libraries, this takes some seconds")
    from vlm_data.files import write_text
    from vlm_eval.diagnostics.runs import (
        CAUTION,
        as_csv,
        diagnose_models,
        model_specs,
        rank_correlations,
        read_quantities,
        why_no_ranking,
    )
    from vlm_eval.diagnostics.spectrum_figure import write_spectrum_figure
    from vlm_finetune.devices import processes
    from vlm_models.spec import parse_spec

    wanted = model_specs(specs)
    with processes(device) as state:
        benchmark = data.load(wanted, console)
        diagnosing = diagnose_models(
            wanted, benchmark, out, raw=raw, device=str(state.device), batch_size=batch_size, progress=console.progress
        )
        found = []
        for one in diagnosing:
            console.say(f"{one.spec}: {one.path}")
            found.append(one)
        if not state.is_main_process:
            return
    runs = [parts.source for spec in wanted if (parts := parse_spec(spec)).family == "run"]
    measured = [quantities for run in runs if (quantities := read_quantities(run, raw))]
    correlations = rank_correlations(measured) if runs else []
    document = {
        "models": [{"spec": one.spec, **dataclasses.asdict(model)} for one in found for model in one.models],
        "rank_correlations": [dataclasses.asdict(one) for one in correlations],
        "caution": CAUTION,
    }
    write_text(out / "diagnostics.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
    write_text(out / "spectrum.csv", as_csv(found))
    figures = write_spectrum_figure(found, out)
    console.document(document)
    _show_models(found, console)
    if runs:
        _show_correlations(correlations, why_no_ranking(len(measured)), CAUTION, console)
    console.text("\n".join(["", f"table   {out / 'spectrum.csv'}", *(f"figure  {path}" for path in figures)]))


def _show_models(found: "list[Diagnosed]", console: Console) -> None:
    from vlm_eval.summary import ZERO_SHOT

    models = {}
    for one in found:
        for model in one.models:
            if model.model != ZERO_SHOT or model not in models.values():  # one line for all its runs
                models[one.spec if model.model == one.spec else f"{one.spec}, {model.model}"] = model
    first = next(iter(models.values()))
    columns = {
        "sigma min": "feature_sigma_min",
        "sigma max": "feature_sigma_max",
        "condition": "condition",
        "effective rank": "effective_rank",
        "1/sigma min": "inv_sigma_min",
        "1/mean of 20 smallest": "inv_tail_mean",
        "||W'W-I||": "proj_ortho_residual",
        "cross norm": "cross_fnorm",
    }
    rows = [(name, *(_number(getattr(m, field)) for field in columns.values())) for name, m in models.items()]
    title = f"features ({first.features}) of {first.n} ID images of {first.data}, d = {first.d}"
    console.table(title, ["", *columns], rows)
    for text in dict.fromkeys(f"undefined for {name}: {why}" for name, m in models.items() for why in m.undefined):
        console.text(text)


def _show_correlations(found: "list[RankCorrelation]", lacking: str, caution: str, console: Console) -> None:
    if lacking:
        console.text(lacking)
        return
    rows: dict[tuple[str, str], list[str]] = {}
    for one in found:
        cells = rows.setdefault((one.group, one.quantity), [])
        cells += [_with_interval(one.found, kind) for kind in ("pearson", "spearman")]
    heads = [f"{outcome} {kind}" for outcome in ("error", "ECE") for kind in ("Pearson", "Spearman")]
    title = f"correlation over {found[0].found.runs} runs with error and ECE on shifts, 95 % intervals below"
    console.table(title, ["", *heads], [[f"{group}: {name}", *cells] for (group, name), cells in rows.items()])
    for reason in dict.fromkeys(f"{one.quantity}: {one.found.undefined}" for one in found if one.found.undefined):
        console.text(f"undefined for {reason}")
    console.text(caution)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _with_interval(found: "Correlation", kind: str) -> str:
    value: Any = getattr(found, kind)
    ends: Any = getattr(found, f"{kind}_interval")
    if value is None:
        return "-"
    return f"{value:+.2f}" + (f"\n{ends[0]:+.2f}..{ends[1]:+.2f}" if ends else "")
