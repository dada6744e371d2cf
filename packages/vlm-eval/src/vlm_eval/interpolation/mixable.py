"""Whether models may be mixed: one architecture, one list of class names, one way to prepare images."""

from vlm_data.errors import CallError
from vlm_models.classifier import ZERO_SHOT, Classifier
from vlm_models.errors import CheckpointError
from vlm_models.weight_space import check_compatible


def check_mixable(first: Classifier, other: Classifier) -> None:
    """Raise unless two models have the same tensors, read the same images and answer the same question.

    Raises:
        CheckpointError: if architectures or heads differ in shape; lists what differs.
        CallError: if class names, preprocessing, or the prompts of two zero-shot heads differ.
    """
    names = f"{first.encoder.spec} and {other.encoder.spec}"
    try:
        check_compatible(first.state_dict(), other.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{names} do not fit together: {error}") from error
    what = ""
    if first.class_names != other.class_names:
        what = "were made for different class names"
    elif first.head_kind == other.head_kind == ZERO_SHOT and first.templates != other.templates:
        what = "have zero-shot heads of different prompt templates"
    elif first.encoder.preprocess != other.encoder.preprocess:
        what = f"want their images differently: {first.encoder.preprocess} and {other.encoder.preprocess}"
    if what:
        raise CallError(
            f"{names} {what}; expected models of one base model, made for one benchmark: the same names in "
            "the same order. Build their heads for it."
        )
