"""From a model and a data set to a table of predictions; from here on no metric needs a model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from vlm_data.benchmark import ClassSources, EvaluationSet
from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError, VlmDataError
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_data.tables import Predictions
from vlm_data.text import list_hash
from vlm_eval.projection import class_facts, project
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import Classifier
from vlm_models.inference import EVALUATION_BATCH, map_images, process_place
from vlm_models.interface import DualEncoder, evaluating


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
        path = out / f"{file_stem(evaluation.data)}.{evaluation.dataset.split}.parquet" if out else None
        table = load_matching(path, meta)
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


def require_head(model: object) -> None:
    """Raise unless a model says which class an image shows: towers alone, as `load_model` gives them, do not.

    Raises:
        CallError: tells how to make a classifier of them.
    """
    if isinstance(model, DualEncoder):
        raise CallError(
            f"{model.spec} has no head, so it knows no classes; expected a classifier. Write "
            "vlm_models.zero_shot.zero_shot_classifier(model, benchmark.class_names, benchmark.templates)."
        )


def load_matching(path: Path | None, facts: Mapping[str, str]) -> Predictions | None:
    """Return the table at `path` if it is whole and says that the same model saw the same data, else None."""
    if path is None or not path.exists():
        return None
    try:
        table = Predictions.load(path)
    except VlmDataError:
        return None  # damaged: it is computed and written again
    return table if dict(table.meta) == dict(facts) else None


def file_stem(data: str) -> str:
    """Return the name of a data set as part of a file name.

    Example:
        >>> file_stem("digits/noise-3"), file_stem("folder:my pets")
        ('digits-noise-3', 'folder-my-pets')
    """
    return "".join(c if c.isalnum() or c in "._" else "-" for c in data).strip("-")


def model_facts(model: Classifier) -> dict[str, str]:
    """Return the hashes that identify a classifier: class names, prompts, preprocessing and weights."""
    return {
        "model": model.encoder.spec,
        "class_names_hash": list_hash(model.class_names),
        "templates_hash": list_hash(model.templates),
        "preprocess_hash": model.encoder.preprocess.hash,
        "weights_hash": weights_hash(model.state_dict()),
    }


def set_facts(evaluation: EvaluationSet) -> dict[str, str]:
    """Return what a table keeps about the data set it was computed on."""
    quoted = {"metrics": " ".join(evaluation.metrics)} if evaluation.metrics else {}
    return {
        "data": evaluation.data,
        "split": evaluation.dataset.split,
        "role": evaluation.role,
        "shift": evaluation.shift,
        "group": evaluation.group,
        "severity": str(evaluation.severity),
        "data_hash": evaluation.dataset.fingerprint,
        **class_facts(evaluation.classes),
        **quoted,
    }


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
