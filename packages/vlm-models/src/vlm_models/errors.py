"""Errors of the model room."""

from vlm_data.errors import VlmError


class VlmModelsError(VlmError):
    """A model cannot be found, read or used as asked."""


class CheckpointError(VlmModelsError):
    """Weights on disk do not fit the model they should go into."""
