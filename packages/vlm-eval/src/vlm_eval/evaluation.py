"""The verdict on a run: every interpolated model on ID and shifts, from predictions to rows."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vlm_data.benchmark import Benchmark, EvaluationSet
from vlm_data.dataset import UNLABELLED
from vlm_data.progress import Progress, silent
from vlm_data.table_facts import file_stem
from vlm_data.tables import Predictions
from vlm_eval.alpha_choice import choose_alpha as choose_alpha
from vlm_eval.interpolation.mixtures import PLAIN, Mixture
from vlm_eval.prediction import predict_sets
from vlm_eval.rationality.rows import with_rationales
from vlm_eval.rescaling import ModelKey, fitted_temperatures
from vlm_eval.rows import Row
from vlm_eval.run_files import RATIONALES, read_rationales, read_run
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.sweep import evaluate_interpolations
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.run import Run, require_trained
from vlm_models import load_model
from vlm_models.classifier import Classifier

PREDICTIONS = "predictions"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The scores of a run.

    Attributes:
        rows: of every alpha, data set, split and severity.
        alpha: the chosen weight of the fine-tuned model.
    """

    rows: list[Row]
    alpha: float

    def compared(self) -> list[Row]:
        """Return the rows of the zero-shot, the fine-tuned and the interpolated model on the test sets.

        A corruption is one row, the mean over its severities. If the chosen alpha is 0 or 1, the rows of that end
        appear a second time, as those of the interpolated model.
        """
        ends = {"zero-shot": 0.0, "fine-tuned": 1.0, "interpolated": self.alpha}
        return [
            {**row, "model": name}
            for name, alpha in ends.items()
            for row in self.rows
            if row["alpha"] == alpha and row["split"] == "test" and row["severity"] is None
        ]


def predict_run(
    run: Run, benchmark: Benchmark, zero_shot: Classifier, *, batch_size: int = 256, progress: Progress = silent
) -> None:
    """Write the predictions of all interpolations between the zero-shot and the fine-tuned model of a run.

    Tables that are already there, from the same models and data, are not computed again.

    Args:
        run: a trained run.
        benchmark: its data.
        zero_shot: the model the run started from, on the device to use.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        VlmFinetuneError: if the run is not trained yet.
    """
    require_trained(run)
    settings = run.recipe.evaluation
    device = next(zero_shot.parameters()).device
    fine_tuned = load_model(run.spec, device)
    if not isinstance(fine_tuned, Classifier):
        raise TypeError(f"{run.spec} was saved without a head")
    alphas = sorted({0.0, 1.0, settings.alpha, *settings.alphas})
    folder = run.path / PREDICTIONS
    tables = evaluate_interpolations(
        zero_shot, fine_tuned, evaluation_sets(benchmark), alphas, out=folder, batch_size=batch_size, progress=progress
    )
    for _ in tables:  # every table is written before the next data set is read
        pass


def read_verdict(run: Run) -> Verdict:
    """Compute the scores of a run from its predictions, and PT and IR where it has rationales; no model is needed.

    Raises:
        VlmFinetuneError: if the run has no predictions yet.
    """
    paths = sorted((run.path / PREDICTIONS).glob("*.parquet"))
    if not paths:
        raise VlmFinetuneError(
            f"{run.path} has no predictions. Give the `vlm finetune` command again; it goes on where it was stopped."
        )
    tables = sorted((Predictions.load(path) for path in paths), key=_table_order)
    scoring = Scoring(temperatures=fitted_temperatures(tables))
    rows = score_tables(tables, run=run.path, method=run.recipe.method, scoring=scoring)
    rows = with_rationales(rows, read_rationales(run.path / RATIONALES))
    settings = run.recipe.evaluation
    return Verdict(rows, choose_alpha(rows) if settings.choose_alpha else settings.alpha)


def chosen_alpha(run: Run) -> float:
    """Return the weight of the fine-tuned model in the interpolated one, from the predictions of a run.

    Raises:
        VlmDataError: if it is to be chosen and no validation image has a label.
    """
    settings = run.recipe.evaluation
    if not settings.choose_alpha:
        return settings.alpha
    return choose_alpha(score_tables(read_run(run.path).validation(), scoring=Scoring(resamples=0)))


def _table_order(table: Predictions) -> tuple[object, ...]:
    """Put ID data first, then natural shifts, then corruptions; alphas in order within a data set."""
    meta = table.meta
    group = {"": 0, "natural": 1, "corruption": 2}.get(meta.get("group", ""), 3)
    return group, meta.get("data", ""), meta.get("split", ""), float(meta.get("alpha") or 0)


def evaluate(
    model: Classifier,
    benchmark: Benchmark,
    out: Path | None = None,
    *,
    batch_size: int = 256,
    progress: Progress = silent,
) -> list[Row]:
    """Evaluate one model on the ID test set and every shift of a benchmark.

    Where validation images have labels, rows also tell calibration after temperature scaling; the temperature is fitted
    on those images and on nothing else.

    Args:
        model: with a head for the class names of the benchmark.
        benchmark: what to evaluate on.
        out: folder for the tables of predictions; what is there from the same model and data is not computed again.
        batch_size: of each process.
        progress: told about batches.
    """
    tables = predict_sets(model, evaluation_sets(benchmark), out, batch_size=batch_size, progress=progress)
    scoring = Scoring(temperatures=fitted_temperatures(tables))
    return score_tables((table for table in tables if table.meta["split"] != "val"), scoring=scoring)


def interpolate_models(
    zero_shot: Classifier,
    fine_tuned: Classifier,
    benchmark: Benchmark,
    alphas: Sequence[float],
    out: Path | None = None,
    *,
    mixture: Mixture = PLAIN,
    batch_size: int = 256,
    progress: Progress = silent,
) -> list[Row]:
    """Evaluate all interpolations of two models on the test sets and the ID validation set of a benchmark.

    Args:
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1.
        benchmark: what to evaluate on.
        alphas: weights of the fine-tuned model.
        out: folder for the tables of predictions; what is there from the same models is not computed again. It is the
            `run` of the rows: without it, mixtures of other models would pass for repetitions of these.
        mixture: the rule that merges the two.
        batch_size: of each process.
        progress: told about batches.
    """
    tables = evaluate_interpolations(
        zero_shot,
        fine_tuned,
        validation_first(benchmark),
        alphas,
        mixture=mixture,
        out=out,
        batch_size=batch_size,
        progress=progress,
    )
    return score_with_temperatures(tables, out)


def validation_first(benchmark: Benchmark) -> list[EvaluationSet]:
    """Return the ID validation set, which gives the temperatures, then every test set, as far as they have labels."""
    return sorted(evaluation_sets(benchmark), key=lambda one: one.dataset.split != "val")


def score_with_temperatures(tables: Iterable[Predictions], run: Path | None) -> list[Row]:
    """Return the rows of tables that come one data set after the other, ID validation first; test sets come first here.

    Args:
        tables: of any number of models.
        run: of the rows.
    """
    temperatures: dict[ModelKey, float] = {}
    scored = _noting_temperatures(tables, temperatures)
    rows = score_tables(scored, run=run, scoring=Scoring(temperatures=temperatures))
    return sorted(rows, key=lambda row: row["split"] == "val")


def _noting_temperatures(tables: Iterable[Predictions], found: dict[ModelKey, float]) -> Iterator[Predictions]:
    """Pass tables on, one data set in memory at a time; what validation tables tell is there for all that follow."""
    for table in tables:
        found |= fitted_temperatures([table])
        yield table


def predictions_folder(out: Path, spec: str, benchmark: Benchmark, precision: str = "fp32") -> Path:
    """Return where the predictions of a model on a benchmark are kept below `out`."""
    parts = [spec, benchmark.name] if precision == "fp32" else [spec, benchmark.name, precision]
    return out / "-on-".join(file_stem(part) for part in parts)


def evaluation_sets(benchmark: Benchmark) -> list[EvaluationSet]:
    """Return every test set, then the ID validation set, as far as they have labels."""
    val = EvaluationSet(benchmark.name, "id", benchmark.val, metrics=benchmark.metrics)
    return _labelled([*benchmark.evaluation_sets(), val])


def _labelled(sets: Iterable[EvaluationSet]) -> list[EvaluationSet]:
    return [found for found in sets if (found.dataset.labels != UNLABELLED).any()]
