"""Whether a benchmark has the labels that a training asks for, before anything is trained."""

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError
from vlm_finetune.method import Phase


def check_labels(phase: Phase, benchmark: Benchmark) -> None:
    """Raise unless every training image has a label.

    Raises:
        CallError: tells how many have none.
    """
    unlabelled = int((benchmark.train.labels == UNLABELLED).sum())
    if unlabelled:
        raise CallError(
            f"method {phase.method} needs class labels, but {unlabelled} of {len(benchmark.train)} training images of "
            f"{benchmark.name} have none. Add a `label` column, or learn from captions alone: "
            "--method flyp --set method.targets=identity."
        )


def check_alpha(phase: Phase, benchmark: Benchmark) -> None:
    """Raise unless alpha can be chosen on validation images: they have labels, and nothing is trained on them.

    Raises:
        CallError: if not.
    """
    if not (benchmark.val.labels != UNLABELLED).any():
        raise CallError(
            f"alpha cannot be chosen on {benchmark.name}: none of its validation images has a label. "
            "Expected some, or a fixed weight, such as --alpha 0.5."
        )
    if getattr(phase.settings, "train_on_validation", False):
        raise CallError(
            "alpha cannot be chosen on validation images that the last head was fitted to; expected one or the "
            "other: leave out method.train_on_validation, or give a fixed weight, such as --alpha 0.5."
        )
