"""`vlm rationale`: prediction, relevance and decision for every image, and PT and IR of models."""

from pathlib import Path

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console
from vlm_cli.data_choice import DataChoice, data_choice_options
from vlm_cli.judging import Judged, Judging, judge_models
from vlm_cli.published_rationales import read_lists, write_lists
from vlm_cli.rationality import show_classes, show_scores_of_models, show_tests_of_models
from vlm_cli.relevance_choice import RelevanceChoice, relevance_choice_options

EPILOG = options.examples(
    "vlm rationale tiny --sets id",
    "vlm rationale tiny run:runs/digits-tiny-full-seed0 --sets id,natural --figures figures",
    "vlm rationale run:runs/digits-tiny-full-seed0 --sets noise --per-class --json",
    "vlm rationale tiny --sets id --export lists",
)


@click.command(cls=rich_click.RichCommand, epilog=EPILOG)
@click.argument("specs", metavar="SPEC...", nargs=-1)
@data_choice_options
@click.option(
    "--sets", default="all", show_default=True, help="id, natural, corruption, all, or names of shifts, with commas."
)
@click.option(
    "--rule", default="mass>=0.5", show_default=True, help="When relevance counts as falling on the evidence."
)
@relevance_choice_options
@click.option(
    "--level",
    type=click.IntRange(1, 255),
    default=128,
    show_default=True,
    help="Grey level from which a pixel of a resized mask is evidence; 255 is the published choice for CUB.",
)
@click.option("--per-class", is_flag=True, help="Show every class, too.")
@click.option("--per-severity", is_flag=True, help="Show every severity of a corruption, not their mean alone.")
@click.option("--figures", type=click.Path(path_type=Path), help="Draw PT and IR into this folder.")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Write flat JSON lists, as published, into this folder."
)
@click.option(
    "--import",
    "imported",
    nargs=2,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PREDICTIONS RATIONALES",
    help="Read flat JSON lists about one test set in place of a model. May be repeated.",
)
@click.option(
    "--annotations", type=click.Path(path_type=Path), help="ANNO_*.json to check the order of imported lists."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images at a time.")
@options.device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/rationales"),
    show_default=True,
    help="Folder for the tables: one line per image.",
)
@options.output_options
def command(
    specs: tuple[str, ...],
    data: DataChoice,
    sets: str,
    rule: str,
    relevance: RelevanceChoice,
    level: int,
    per_class: bool,
    per_severity: bool,
    figures: Path | None,
    export: Path | None,
    imported: tuple[tuple[Path, Path], ...],
    annotations: Path | None,
    batch_size: int,
    device: str | None,
    out: Path,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Tell whether right answers rest on the evidence: prediction, relevance, decision, PT and IR.

    PT: of the right answers, the share whose relevance falls on the evidence. IR: of the images whose relevance falls
    on the evidence, the share that is answered right. Needs data with masks, outlines or boxes. Tables are written set
    by set; the same command again goes on where it was stopped. Several models are tested against the first.
    """
    console = Console(as_json, verbose)
    if bool(specs) == bool(imported):
        raise click.UsageError("give models, SPEC..., or lists of a published program, --import; one of the two.")
    if annotations and not imported:
        raise click.UsageError("--annotations checks the order of imported lists; give --import, too.")
    console.say("vlm rationale: loading libraries (PyTorch, open_clip), this takes some seconds")
    from vlm_explain.rationale import Rule
    from vlm_finetune.devices import processes

    relevance.check()
    judging = Judging(sets, relevance, Rule.parse(rule), level, batch_size, out)
    with processes(device) as state:
        benchmark = data.load(specs, console)
        if imported:
            judged = read_lists(imported, annotations, benchmark, sets)
        else:
            judged = judge_models(tuple(dict.fromkeys(specs)), benchmark, judging, str(state.device), console)
        if not state.is_main_process:
            return
    written = _write(judged, figures, export)
    if as_json:
        console.document(judged.document(per_class) | {"files": [str(path) for path in written]})
        return
    show_scores_of_models(judged.rationality, judged.severities() if per_severity else (), console)
    show_tests_of_models(judged.rationality, console)
    for title, counts in judged.classes().items() if per_class else ():
        show_classes(counts, title, console)
    console.text("\n".join([*(f"written  {path}" for path in written), *([f"tables   {out}"] if specs else [])]))


def _write(judged: Judged, figures: Path | None, export: Path | None) -> list[Path]:
    from vlm_eval.rationality.figures import write_rationality_figures

    drawn = write_rationality_figures(figures, judged.rationality) if figures else []
    return [*drawn, *(write_lists(export, judged) if export else [])]
