"""The feature geometry of many models, and whether it ranks runs as their errors on shifted data do."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm_data.benchmark import Benchmark
from vlm_data.errors import CallError
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_eval.diagnostics.features import kept_or_diagnosed
from vlm_eval.diagnostics.spectrum_file import (
    RAW,
    SPECTRA,
    UNIT,
    FeatureDiagnostics,
    read_diagnostics,
    write_diagnostics,
)
from vlm_eval.evaluation import predictions_folder
from vlm_eval.metrics.correlation import FEWEST_RUNS, Correlation, correlation
from vlm_eval.run_files import RECIPE, read_run
from vlm_eval.score_table import ID, score_table
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.summary import FINE_TUNED, ZERO_SHOT
from vlm_finetune.run import open_run, require_trained
from vlm_models import load_encoder
from vlm_models.inference import process_place
from vlm_models.spec import parse_spec

_QUICK = Scoring(metrics=("accuracy", "ece"), resamples=0)
CAUTION = (
    "Correlation is no causation. inv_sigma_min ranks runs and bounds no error; it depends on the number of images and "
    "of columns, so it compares only where both and the images are the same."
)


@dataclasses.dataclass(frozen=True)
class Diagnosed:
    """What was found about one model spec.

    Attributes:
        spec: of the model.
        path: of the file that keeps it.
        models: the fine-tuned and the zero-shot model of a run; the one model of any other spec.
    """

    spec: str
    path: Path
    models: tuple[FeatureDiagnostics, ...]


def model_specs(arguments: Iterable[str]) -> list[str]:
    """Return model specs, each once; the directory of a run stands for `run:DIR`, as shells expand it.

    Example:
        >>> model_specs(["tiny", "tiny"])
        ['tiny']
    """
    found = (f"run:{text}" if (Path(text) / RECIPE).is_file() else text for text in arguments)
    return list(dict.fromkeys(found))


def diagnose_models(
    specs: Sequence[str],
    benchmark: Benchmark,
    out: Path,
    *,
    raw: bool = False,
    device: str = "cpu",
    batch_size: int = 256,
    progress: Progress = silent,
) -> Iterator[Diagnosed]:
    """Diagnose models on the ID test images of a benchmark, and keep what was found beside each.

    What is there of the same weights and images is not computed again. A run keeps it in its own directory, together
    with the zero-shot model it started from.

    Args:
        specs: model specs.
        benchmark: its test split is read; labels are not.
        out: folder for what is found about models that are no runs.
        raw: take features as they are, instead of scaling each to unit length.
        device: to run on.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        CallError: for as many columns as images or more.
        VlmError: if a model cannot be loaded, or a kept file is damaged.
    """
    zero_shots: dict[str, FeatureDiagnostics] = {}
    for spec in specs:
        parts = parse_spec(spec)
        if parts.family == "run":
            run = open_run(parts.source)
            require_trained(run)
            folder, names = run.path, {FINE_TUNED: spec, ZERO_SHOT: run.recipe.model.spec}
        else:
            folder, names = predictions_folder(out, spec, benchmark), {spec: spec}
        path = folder / SPECTRA[RAW if raw else UNIT]
        known, found = read_diagnostics(path), []
        for name, source in names.items():
            if name == ZERO_SHOT and source in zero_shots:
                found.append(zero_shots[source])
                continue
            encoder = load_encoder(source, device)
            options = {"raw": raw, "batch_size": batch_size, "progress": progress}
            found.append(kept_or_diagnosed(encoder, benchmark.test, name, known, **options))
            if name == ZERO_SHOT:
                zero_shots[source] = found[-1]
        if found != known and process_place()[0] == 0:
            write_diagnostics(path, found)
        yield Diagnosed(spec, path, tuple(found))


@dataclasses.dataclass(frozen=True)
class RunQuantities:
    """What is correlated over runs: fine-tuned models only.

    Attributes:
        run: directory.
        inv_sigma_min, inv_tail_mean: of the features on ID images; None where it is undefined.
        ece_id: ECE on ID data.
        errors, eces: `1 - accuracy` and ECE by group of shifts, mean over the group, and of `all`.
        evaluated_on: hash of what all this was measured on.
    """

    run: Path
    inv_sigma_min: float | None
    inv_tail_mean: float | None
    ece_id: float
    errors: Mapping[str, float]
    eces: Mapping[str, float]
    evaluated_on: str


def read_quantities(run: str | os.PathLike[str], raw: bool = False) -> RunQuantities | None:
    """Read the quantities of a run from its files; None without diagnostics, predictions, ID data or shifts.

    Raises:
        VlmError: if it is no run, or files of it are damaged.
    """
    files = read_run(run)
    spectra = read_diagnostics(files.path / SPECTRA[RAW if raw else UNIT])
    spectrum = next((found for found in spectra if found.model == FINE_TUNED), None)
    tables = [table for table in files.tables(1.0) if table.labelled.any()]
    table = score_table(score_tables(tables, run=files.path, scoring=_QUICK))
    if spectrum is None or not table.lines or not table.groups:
        return None
    line = table.lines[0]
    known = table.mean(line, ID)
    groups = [*table.groups, *(["all"] if len(table.groups) > 1 else [])]
    cells = {group: cell for group in groups if (cell := table.mean(line, group))}
    if known is None or not cells:
        return None
    ids = [(one.meta["data"], text_hash(*one.ids)) for one in tables]
    return RunQuantities(
        files.path,
        spectrum.inv_sigma_min,
        spectrum.inv_tail_mean,
        known["ece"].value,
        {group: 1 - cell["accuracy"].value for group, cell in cells.items()},
        {group: cell["ece"].value for group, cell in cells.items()},
        text_hash(repr(spectrum.images), repr(ids)),
    )


@dataclasses.dataclass(frozen=True)
class RankCorrelation:
    """Whether a quantity of ID data goes together with an outcome on shifts.

    Attributes:
        quantity: `inv_sigma_min`, `inv_tail_mean`, `ece_id`, or the mean of z-scores of one of the first with the last.
        outcome: `error` or `ece`.
        group: of shifts, `natural`, `corruption` or `all`.
        found: the correlation over runs.
    """

    quantity: str
    outcome: str
    group: str
    found: Correlation


def rank_correlations(runs: Sequence[RunQuantities], seed: int = 0) -> list[RankCorrelation]:
    """Return the correlations over runs between what ID data tells and what happens on shifts.

    Oh et al. (2024, figure 2) report them for the mean of `1 / sigma_min` and ID ECE over 111 models.

    Args:
        runs: at least 5; every correlation of fewer is undefined.
        seed: of the bootstrap over runs.

    Raises:
        CallError: if runs were measured on different images, or their features have different numbers of columns.
    """
    apart = [str(run.run) for run in runs if run.evaluated_on != runs[0].evaluated_on]
    if apart:
        raise CallError(
            f"{apart[0]} and {runs[0].run} were measured on different images, or have features of different width; "
            "inv_sigma_min compares only where both are the same. Expected runs of one model size, evaluated with the "
            "same --limit and data.seed. Leave the others out."
        )
    if not runs:
        return []
    known = np.array([run.ece_id for run in runs])
    quantities = {"ece_id": known}
    for name in ("inv_sigma_min", "inv_tail_mean"):
        found = [getattr(run, name) for run in runs]
        inverse = np.array([np.inf if value is None else value for value in found])
        quantities |= {name: inverse, f"{name} and ece_id": np.stack([inverse, known])}
    return [
        RankCorrelation(name, outcome, group, correlation(values, np.array(results), seed=seed))
        for group in runs[0].errors
        for outcome, results in (
            ("error", [run.errors[group] for run in runs]),
            ("ece", [run.eces[group] for run in runs]),
        )
        for name, values in quantities.items()
    ]


def why_no_ranking(runs: int) -> str:
    """Return why so few runs have no rank correlation, empty if there are enough.

    Example:
        >>> why_no_ranking(2)
        'rank correlation: undefined for 2 runs with predictions on shifts; expected at least 5'
    """
    if runs >= FEWEST_RUNS:
        return ""
    return (
        f"rank correlation: undefined for {runs} run{'s' * (runs != 1)} with predictions on shifts; "
        f"expected at least {FEWEST_RUNS}"
    )


def as_csv(found: Iterable[Diagnosed]) -> str:
    """Return one line for each model, without its tail and hashes."""
    left_out = {"hashes", "feature_spectrum_tail", "undefined"}
    fields = ["spec", *(f.name for f in dataclasses.fields(FeatureDiagnostics) if f.name not in left_out)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for one in found:
        writer.writerows({"spec": one.spec, **dataclasses.asdict(model)} for model in one.models)
    return text.getvalue()
