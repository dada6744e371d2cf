"""The Hugging Face hub: whether it answers, and the local cache if it does not."""

import contextlib
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.utils import get_session

_PATIENCE = 5.0
"""Seconds the hub may take to answer before only the local cache is used."""


@contextlib.contextmanager
def cache_if_unreachable() -> Iterator[None]:
    """Let the Hugging Face hub use its local cache alone if it does not answer.

    Without this it tries each of several file names six times, about 25 seconds each, even for what is cached.
    """
    with local_files_only(not _answers()):
        yield


@contextlib.contextmanager
def local_files_only(wanted: bool = True) -> Iterator[None]:
    """Keep the Hugging Face libraries off the network while the block runs, if that is wanted."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # the HTTP library behind the session, and so its errors, differ between versions of the hub
        return False
    return True
