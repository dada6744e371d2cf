"""Models saved by this project, `run:DIR`."""

from vlm_data.errors import CallError
from vlm_models.checkpoint import load_saved
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder, FamilyInfo

INFO = FamilyInfo("The model of a fine-tuning run.", "run:DIR", ())


def load(source: str) -> DualEncoder | Classifier:
    """Load the model saved in directory `source`.

    Raises:
        CallError: if `source` is empty.
        CheckpointError: if it holds no saved model, or a damaged one.
    """
    if not source:
        raise CallError("the model spec run: lacks its directory; write run:DIR.")
    return load_saved(source, f"run:{source}")
