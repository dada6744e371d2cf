"""`vlm data`: what benchmarks and readers there are, what a data set consists of, and whether it is whole."""

from collections import Counter
from pathlib import Path
from typing import Any

import click
import rich_click

from vlm_cli import options
from vlm_cli.console import Console

EPILOG = options.examples(
    "vlm data ls",
    "vlm data show digits --out digits.png",
    "vlm data check folder:photos",
)
LS_EPILOG = options.examples(
    "vlm data ls",
    "vlm data ls --json",
)
SHOW_EPILOG = options.examples(
    "vlm data show digits",
    "vlm data show folder",
    "vlm data show imagenet --layout",
    "vlm data show folder:photos --out photos.png",
    "vlm data show csv:table.csv --data-root photos --json",
)
CHECK_EPILOG = options.examples(
    "vlm data check digits",
    "vlm data check folder:photos --json",
)
_SPEC = click.argument("spec")


@click.group(cls=rich_click.RichGroup, epilog=EPILOG)
def command() -> None:
    """List, show and check data sets."""


@command.command(cls=rich_click.RichCommand, epilog=LS_EPILOG)
@options.output_options
def ls(as_json: bool, verbose: bool, debug: bool) -> None:
    """List the embedded and published benchmarks and the readers for your own data."""
    from vlm_data import benchmark_info, benchmark_names

    console = Console(as_json, verbose)
    infos = [benchmark_info(name) for name in benchmark_names()]
    console.document({"data": [{"spec": i.spec, "summary": i.summary, "licence": i.licence} for i in infos]})
    console.listing(("--data", "is", "licence"), [(i.spec, i.summary, i.licence) for i in infos])
    console.text("`vlm data show folder --layout` (or csv, imagenet, ...) tells how the files have to lie.")


@command.command(cls=rich_click.RichCommand, epilog=SHOW_EPILOG)
@_SPEC
@options.data_root_option
@options.data_seed_option
@options.limit_option
@options.skip_unreadable_option
@click.option("--out", type=click.Path(path_type=Path), help="Write a contact sheet, images of every set, to this PNG.")
@click.option("--layout", "layout_only", is_flag=True, help="Only show how the files have to lie; read nothing.")
@click.option("--columns", type=click.IntRange(min=1), default=10, show_default=True, help="Images per row of it.")
@options.output_options
def show(
    spec: str,
    data_root: Path | None,
    data_seed: int,
    limit: int | None,
    skip_unreadable: bool,
    out: Path | None,
    layout_only: bool,
    columns: int,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Show class names, templates, splits, shifts, sizes and hashes of a data set.

    For a reader without a path, such as `folder`, or with --layout, show how the files have to lie.
    """
    from vlm_data import benchmark_info, benchmark_names, load_benchmark
    from vlm_data.contact_sheet import write_contact_sheet
    from vlm_data.description import describe

    console = Console(as_json, verbose)
    if layout_only or (spec in benchmark_names() and ":" in benchmark_info(spec).spec):  # a reader without a path
        info = benchmark_info(spec)
        console.document({"spec": info.spec, "summary": info.summary, "layout": info.layout})
        console.text(f"{info.spec}: {info.summary}\n\n{info.layout or 'It is embedded: no files are needed.'}")
        return
    benchmark = load_benchmark(spec, data_root, seed=data_seed, limit=limit, skip_unreadable=skip_unreadable)
    console.skipped(benchmark.skipped)
    console.notes(benchmark.notes)
    sheet = write_contact_sheet(benchmark, out, columns) if out else None
    facts = describe(benchmark)
    console.document(
        {"summary": benchmark_info(spec).summary, **facts, "contact_sheet": None if sheet is None else str(sheet)}
    )
    _show_description(facts, console)
    if sheet:
        console.text(f"contact sheet  {sheet}")


def _show_description(facts: dict[str, Any], console: Console) -> None:
    """Print what `vlm_data.description.describe` returns."""
    console.text(f"{facts['name']}\n\n{len(facts['class_names'])} class names (hash {facts['class_names_hash']})")
    console.text(f"  {', '.join(facts['class_names'])}\n")
    console.text(f"{len(facts['templates'])} templates (hash {facts['templates_hash']})")
    console.text("\n".join(f"  {template}" for template in facts["templates"]))
    keys = ["data", "split", "group", "images", "labelled", "classes", "captions", "evidence", "hash"]
    shown = [key for key in keys if any(found[key] for found in facts["sets"])]  # no column of nothing
    console.listing(shown, [[str(found[key]) for key in shown] for found in facts["sets"]])


@command.command(cls=rich_click.RichCommand, epilog=CHECK_EPILOG)
@_SPEC
@options.data_root_option
@options.data_seed_option
@options.limit_option
@options.output_options
@click.pass_context
def check(
    ctx: click.Context,
    spec: str,
    data_root: Path | None,
    data_seed: int,
    limit: int | None,
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Read every image of a data set and tell what would stop a run or make its numbers mislead.

    Errors: files that cannot be decoded, empty sets, classes with the same name. Warnings: images that occur twice or
    in two splits, classes with few images. The exit code is 1 if there is an error.
    """
    from vlm_data import load_benchmark
    from vlm_data.checking import check as check_benchmark

    console = Console(as_json, verbose)
    benchmark = load_benchmark(spec, data_root, seed=data_seed, limit=limit)
    findings = check_benchmark(benchmark, console.progress)
    listed = [{"severity": f.severity, "where": f.where, "message": f.message} for f in findings]
    counts = Counter(f"{finding.severity}s" for finding in findings)
    console.document({"data": benchmark.name, "errors": counts["errors"], "findings": listed})
    console.listing(("", "where", "found"), [(f.severity, f.where, f.message) for f in findings])
    console.say(f"{benchmark.name}: {counts['errors']} errors, {counts['warnings']} warnings")
    if counts["errors"]:
        ctx.exit(1)
