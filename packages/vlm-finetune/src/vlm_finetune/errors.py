"""Errors of the fine-tuning room."""

from vlm_data.errors import CallError, VlmError


class VlmFinetuneError(VlmError):
    """A run cannot go on."""


class RecipeError(CallError):
    """A recipe contains something unknown or impossible."""


class DivergedError(VlmFinetuneError):
    """The loss became infinite or NaN."""
