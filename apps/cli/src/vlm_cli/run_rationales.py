"""The reasons of a run: rationales of its zero-shot, fine-tuned and interpolated model, and a gallery of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark, EvaluationSet
    from vlm_data.tables import Rationales
    from vlm_explain.rationale import Subject
    from vlm_finetune import Run
    from vlm_models.classifier import Classifier


def explain_run(run: "Run", benchmark: "Benchmark", zero_shot: "Classifier", console: Console) -> None:
    """Write what the answers of a run rest on into `RUN/rationales/`, where its data has evidence.

    Which data sets: `[evaluation] rationales` of the recipe. Tables that are already there, from the same models and
    data, are not computed again. A tower that no method can explain is no error: the run is told without.
    """
    from vlm_explain.rationale import rationales_of_all
    from vlm_models.capabilities import CapabilityError

    sets = _judged(run, benchmark)
    if not sets:
        return
    console.say(f"explaining the answers on {len(sets)} test set{'s' * (len(sets) > 1)}")
    subjects = _subjects(run, zero_shot)
    try:
        tables = list(rationales_of_all(subjects, sets, progress=console.progress))
    except CapabilityError as error:
        console.say(f"note: no rationales: {error}")
        return
    if console.is_main and sets[0].role == "id":
        _draw_gallery(sets[0], subjects, tables[: len(subjects)], run, console)


def _draw_gallery(
    evaluation: "EvaluationSet",
    subjects: "Sequence[Subject]",
    tables: "Sequence[Rationales]",
    run: "Run",
    console: Console,
) -> None:
    """Draw examples of the kinds of rationales of the fine-tuned model, each beside the zero-shot one."""
    from vlm_data.errors import CallError
    from vlm_eval.report.rationality import GALLERY
    from vlm_eval.run_files import RATIONALES
    from vlm_explain.pictures import Shown, gallery, write_picture

    ends = list(zip(subjects, tables, strict=True))[:2]
    shown = [Shown(table.meta["model"], one.model, table, one.options) for one, table in ends]
    try:
        picture = gallery(evaluation.dataset, shown)
    except CallError as error:  # a few images may hold no example
        console.say(f"note: no gallery: {error}")
        return
    write_picture(picture, run.path / RATIONALES / GALLERY)


def _judged(run: "Run", benchmark: "Benchmark") -> "list[EvaluationSet]":
    """Return the test sets to explain; none where nothing has evidence, which is the usual case for one's own data."""
    from vlm_explain.rationale.sets import sets_with_evidence

    wanted = run.recipe.evaluation.rationales
    return [] if wanted == "none" else sets_with_evidence(benchmark, wanted)


def _subjects(run: "Run", zero_shot: "Classifier") -> "list[Subject]":
    from vlm_eval.evaluation import chosen_alpha
    from vlm_eval.run_files import RATIONALES
    from vlm_eval.sweep import Interpolation, mixture_facts
    from vlm_explain.rationale import Subject
    from vlm_explain.relevance import RelevanceOptions
    from vlm_explain.relevance.suitable import suitable_method
    from vlm_models.zero_shot import load_classifier

    device = str(next(zero_shot.parameters()).device)
    fine_tuned = load_classifier(run.spec, zero_shot.class_names, zero_shot.templates, device)
    models = {0.0: zero_shot, 1.0: fine_tuned}
    alpha = chosen_alpha(run)
    if alpha not in models:
        models[alpha] = Interpolation(zero_shot, fine_tuned, [alpha]).model(alpha).to(device)
    options = RelevanceOptions(method=suitable_method(zero_shot.encoder))
    facts = mixture_facts(zero_shot, fine_tuned, list(models))
    folder = run.path / RATIONALES
    return [Subject(model, options, fact, folder) for model, fact in zip(models.values(), facts, strict=True)]
