"""The page that tells what a run did: one self-contained HTML file, computed from the run directory alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from vlm_data.files import write_bytes, write_text
from vlm_eval.plots.panel import figure_bytes, panel_svg
from vlm_eval.report.content import report_content
from vlm_eval.report.figures import panels
from vlm_eval.report.findings import Findings
from vlm_eval.rows import Row
from vlm_eval.run_files import read_run

REPORT, FIGURES = "report.html", "figures"


def write_report(
    run_dir: str | os.PathLike[str],
    rows: Sequence[Row] | None = None,
    *,
    against: str | os.PathLike[str] | None = None,
) -> Path:
    """Write `report.html` into a run directory.

    What is not there is left out: a run without log has no training section, one without shifts no alpha path, an
    unfinished one has hardly more than its recipe. The page needs no network and no JavaScript, follows light and dark
    mode, and has equal bytes for equal files.

    Args:
        run_dir: of `vlm finetune`.
        rows: scores of this run, all alphas and splits, if the caller has them; else they are computed from the tables.
        against: the run before mitigation; None takes the one whose discovery this run was fine-tuned with, if any.

    Returns:
        Path of the page.

    Raises:
        CallError: if it is no run directory, or the other run does not compare with it.
        VlmError: if a file in it is damaged or the page cannot be written.
    """
    findings = Findings(read_run(run_dir), rows, None if against is None else Path(against))
    environment = Environment(
        loader=PackageLoader("vlm_eval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    figures = _figures(findings)
    page = template.render(report_content(findings), figure=lambda name: figures.get(name, ""))
    path = findings.files.path / REPORT
    write_text(path, page)
    return path


def write_figures(run_dir: str | os.PathLike[str], rows: Sequence[Row] | None = None) -> list[Path]:
    """Write the figures of a run into `figures/`, on white: each as SVG, the overview as PNG too.

    Args:
        run_dir: of `vlm finetune`.
        rows: see `write_report`.

    Returns:
        Paths of what was written.

    Raises:
        CallError, VlmError: see `write_report`.
    """
    findings = Findings(read_run(run_dir), rows)
    folder = findings.files.path / FIGURES
    written = []
    for name, drawn in panels(findings).items():
        kinds = ("svg", "png") if name == "overview" else ("svg",)
        for kind in kinds:
            path = folder / f"{name}.{kind}"
            write_bytes(path, figure_bytes(drawn, kind))
            written.append(path)
    return written


def _figures(findings: Findings) -> dict[str, str]:
    """Return the figures of the page by name, each in its box; the template shows nothing for one that is not there."""
    found = {}
    for name, drawn in panels(findings).items():
        if name != "overview":  # its panels are in other figures
            box = "figure small" if name == "reliability" else "figure"
            pictures = "\n".join(panel_svg(panel) for panel in drawn)
            found[name] = f'<div class="{box}">\n{pictures}\n</div>'
    return found
