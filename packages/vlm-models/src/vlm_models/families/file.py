"""Models saved by this project, `file:DIR`."""

from vlm_data.errors import CallError
from vlm_models.checkpoint import load_saved
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder, FamilyInfo

INFO = FamilyInfo("A saved model: model.safetensors and model.json.", "file:DIR", ())


def load(source: str) -> DualEncoder | Classifier:
    """Load the model saved in directory `source`.

    Raises:
        CallError: if `source` is empty.
        CheckpointError: if it holds no saved model, or a damaged one.
    """
    if not source:
        raise CallError("the model spec file: lacks its directory; write file:DIR.")
    return load_saved(source, f"file:{source}")
