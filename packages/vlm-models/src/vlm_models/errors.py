"""Errors of the model room."""

from vlm_data.errors import VlmError


class VlmModelsError(VlmError):
    """A model cannot be found, read or used as asked."""


class CheckpointError(VlmModelsError):
    """Weights on disk do not fit the model they should go into."""


def reason(error: Exception, most: int = 160) -> str:
    r"""Return what an error of a library says, on one line: its type and the beginning of its message.

    Example:
        >>> reason(ValueError("the size is\n  wrong."))
        'ValueError: the size is wrong'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}".rstrip(". :")
