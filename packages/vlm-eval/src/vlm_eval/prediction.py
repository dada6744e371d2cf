"""From a model and a data set to a table of predictions; from here on no metric needs a model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from vlm_data.benchmark import ClassSources, EvaluationSet
from vlm_data.dataset import ImageDataset
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_data.table_facts import load_matching, set_facts, table_name
from vlm_data.tables import Predictions
from vlm_eval.projection import project
from vlm_models.checkpoint import model_facts
from vlm_models.classifier import Classifier, require_head
from vlm_models.inference import EVALUATION_BATCH, map_images, process_place
from vlm_models.interface import evaluating


def predict(
    model: Classifier,
    dataset: ImageDataset,
    *,
    batch_size: int = EVALUATION_BATCH,
    classes: ClassSources = (),
    meta: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> Predictions:
    """Run a classifier over a data set: one row of logits per sample, in data-set order.

    Under several processes each computes a part and all return the whole table.

    Args:
        model: the classifier, on the device where it shall run.
        dataset: images with labels; unlabelled samples keep the label -1.
        batch_size: of each process; it does not change the result beyond rounding.
        classes: of the data set where they are made of the model's classes, see `vlm_data.benchmark.Shift`.
        meta: facts to keep with the table; names and hashes of model and data set by default.
        progress: told about batches.

    Raises:
        CallError: if the model has no head, or the data set no images.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> from vlm_models.zero_shot import zero_shot_classifier
        >>> digits = load_benchmark("digits", limit=100)
        >>> model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
        >>> predict(model, digits.test).accuracy > 0.4
        True
    """
    require_head(model)
    device = next(model.parameters()).device
    with evaluating(model):
        logits = map_images(
            model, dataset, model.encoder.preprocess, device=device, batch_size=batch_size, progress=progress
        )
    known = meta or {"data": dataset.name, "split": dataset.split, **model_facts(model)}
    return Predictions(dataset.ids, dataset.labels, project(logits, classes), known, dataset.groups)


def predict_sets(
    model: Classifier,
    sets: Iterable[EvaluationSet],
    out: Path | None = None,
    *,
    name: str | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> list[Predictions]:
    """Return the predictions of one model on several data sets, one table each.

    Args:
        model: the classifier, on the device where it shall run.
        sets: what to evaluate on.
        out: folder for the tables; what is there from the same model and data is not computed again.
        name: what the tables call the model; its spec by default.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        CallError: if the model has no head.
    """
    require_head(model)
    facts = model_facts(model) | ({"model": name} if name else {})
    tables = []
    for evaluation in sets:
        meta = {**facts, **set_facts(evaluation)}
        path = out / table_name(meta) if out else None
        table = load_matching(Predictions, path, meta)
        if table is None:
            table = predict(
                model,
                evaluation.dataset,
                batch_size=batch_size,
                classes=evaluation.classes,
                meta=meta,
                progress=progress,
            )
            if path and process_place()[0] == 0:
                table.save(path)
        tables.append(table)
    return tables


def mixture_hash(
    hash_zero_shot: str, hash_fine_tuned: str, alpha: float, key: str = "", keeps_ends: bool = True
) -> str:
    """Return the hash that stands for a mixture of two models without computing its weights.

    Args:
        hash_zero_shot: of the model at alpha 0.
        hash_fine_tuned: of the model at alpha 1.
        alpha: weight of the latter.
        key: what else the mixture depends on, see `vlm_eval.interpolation.mixtures.Mixture`.
        keeps_ends: whether alpha 0 and 1 are the models themselves.

    Example:
        >>> mixture_hash("a", "b", 1.0)
        'b'
    """
    ends = {0.0: hash_zero_shot, 1.0: hash_fine_tuned} if keeps_ends else {}
    return ends.get(alpha) or text_hash(hash_zero_shot, hash_fine_tuned, repr(alpha), *([key] if key else []))
