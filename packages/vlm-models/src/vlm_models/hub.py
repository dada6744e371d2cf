"""The Hugging Face hub and its libraries: whether it answers, the local cache if it does not, and quiet."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils import get_session
from transformers.utils import logging

from vlm_data.errors import CallError
from vlm_models.errors import VlmModelsError, reason

_PATIENCE = 5.0
"""Seconds the hub may take to answer before only the local cache is used."""
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "README.md"]
_INDEX, _WEIGHTS = "model.safetensors.index.json", ("model.safetensors", "pytorch_model.bin")


def model_folder(source: str) -> tuple[Path, str]:
    """Return the folder of a model and, if it comes from the hub, which revision it is.

    Args:
        source: a folder, or `organisation/name`; the latter is taken from the cache of the Hugging Face hub, or
            downloaded. Of several formats of the weights only one is.

    Raises:
        CallError: if it can be neither.
        VlmModelsError: if it is neither cached nor to be had.
    """
    if Path(source).is_dir():
        return Path(source), ""
    if not _NAME.fullmatch(source) or Path(source).exists():
        what = "is a file" if Path(source).exists() else "does not exist"
        raise CallError(
            f"{source} {what}. Expected a folder in Hugging Face layout (config.json, weights, tokenizer, "
            "preprocessor_config.json), or a name on the Hugging Face hub, organisation/name."
        )
    try:
        with cache_if_unreachable():
            folder = Path(snapshot_download(source, allow_patterns=_SMALL_FILES))
            _download_weights(source, folder)
    except Exception as error:  # the HTTP library below, and so its errors, differ between versions of the hub
        said = reason(error, 400).split(". ")[0]
        raise VlmModelsError(
            f"cannot get {source}: {said}. It is no folder here, not in the local cache of "
            f"the Hugging Face hub, and could not be downloaded. Where there is a network, `hf download {source} "
            "--local-dir DIR` fetches its files (config.json, model.safetensors, tokenizer, preprocessor_config.json); "
            "copy DIR here and write hf:DIR."
        ) from error
    return folder, folder.name


def _download_weights(name: str, folder: Path) -> None:
    """Download the weights of the revision whose small files lie in a folder: safetensors if there are any."""
    if (folder / _INDEX).is_file():
        shards = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        snapshot_download(name, revision=folder.name, allow_patterns=sorted(shards))
        return
    for file in _WEIGHTS[:-1]:
        with contextlib.suppress(EntryNotFoundError):
            hf_hub_download(name, file, revision=folder.name)
            return
    hf_hub_download(name, _WEIGHTS[-1], revision=folder.name)


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


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers off the network, from remarks on what is checked here anyway, and from progress bars."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with local_files_only():
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # the HTTP library behind the session, and so its errors, differ between versions of the hub
        return False
    return True
