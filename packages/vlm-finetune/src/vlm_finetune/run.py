"""A run: the directory with everything one fine-tuning produced."""

import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

from vlm_data.errors import CallError, listing
from vlm_data.files import write_text
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.recipe import Recipe, load_recipe, parse
from vlm_models.checkpoint import MANIFEST
from vlm_models.spec import saved_folder

RECIPE, ENVIRONMENT, LOG, DONE, RESUME = "recipe.toml", "environment.json", "log.jsonl", "DONE", "resume"
_RESULTS = ("predictions", "rationales", "regions", "spurious", "figures", "tracking", "results.jsonl", "report.html")
_SPECTRA = ("spectrum.json", "spectrum-raw.json")
_OWN = frozenset((RECIPE, ENVIRONMENT, LOG, DONE, RESUME, MANIFEST, *_RESULTS, *_SPECTRA))
"""What is written into a run directory, beside weights: `--overwrite` removes nothing else."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory and the recipe it was started with.

    Attributes:
        path: the directory.
        recipe: as resolved when the run was started.
    """

    path: Path
    recipe: Recipe

    @property
    def has_begun(self) -> bool:
        """Whether training has left anything; until then another recipe may take the directory."""
        return (self.path / LOG).exists() or self.is_trained

    @property
    def is_trained(self) -> bool:
        """Whether the fine-tuned model is there; it is written when training has ended."""
        return (self.path / MANIFEST).exists()

    @property
    def is_done(self) -> bool:
        """Whether training, evaluation and report have ended."""
        return (self.path / DONE).exists()

    @property
    def spec(self) -> str:
        """The model spec of the fine-tuned model."""
        return f"run:{self.path}"

    def mark_done(self) -> None:
        """Note that nothing is left to do."""
        write_text(self.path / DONE, "")


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open an existing run directory.

    Raises:
        CallError: if it is not one.
    """
    folder = Path(path)
    if not (folder / RECIPE).is_file():
        raise CallError(f"{folder} is not a run directory: it has no {RECIPE}. Expected the --out of a `vlm finetune`.")
    return Run(folder, parse(load_recipe(folder / RECIPE), str(folder / RECIPE)))


def find_run(recipe: Recipe, path: str | os.PathLike[str]) -> Run | None:
    """Return the run of this recipe in a directory, or None if a new one can start there; nothing is changed.

    Raises:
        CallError: if the directory belongs to another recipe (the differing keys are listed) or to something else.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise CallError(f"{folder} is a file; expected a folder for the run. Choose another --out.")
    if _is_run(folder):
        run = open_run(folder)
        changed = differing_keys(run.recipe, recipe)
        if changed and run.has_begun:
            raise CallError(
                f"{folder} holds another run; it differs in {', '.join(changed)}. "
                "Choose another --out, repeat its settings to go on with it, or pass --overwrite to remove it."
            )
        return None if changed else run
    if folder.is_dir() and any(not _is_unfinished(entry) for entry in folder.iterdir()):
        raise CallError(f"{folder} is not empty and holds no run. Choose another --out; nothing was changed.")
    return None


def start_run(recipe: Recipe, path: str | os.PathLike[str], overwrite: bool = False) -> Run:
    """Create the run directory, or take up the one that was started with the same recipe.

    Args:
        recipe: what is going to be run.
        path: the directory.
        overwrite: remove an existing run of that name first; what no run writes is never removed.

    Raises:
        CallError: see `find_run`; if a run to be removed has files beside it that are not its own.
    """
    folder = Path(path)
    if overwrite and _is_run(folder):
        _remove_contents(folder)
    run = find_run(recipe, folder)
    if run is None:
        run = Run(folder, recipe)
        write_text(folder / RECIPE, recipe.to_toml())
        (folder / ENVIRONMENT).unlink(missing_ok=True)
    if not (folder / ENVIRONMENT).exists():  # also when a process was killed right here
        write_text(folder / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
    return run


def check_save_folder(path: str | os.PathLike[str], sources: Iterable[str] = ()) -> None:
    """Raise unless a mixed model may be saved in a directory: never over a run, or over a model it is made of.

    Args:
        path: where the model shall go; a model that was saved there before is replaced.
        sources: specs of the models it is made of.

    Raises:
        CallError: if what is there would be lost.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise CallError(f"{folder} is a file; expected a folder for the model. Choose another --save.")
    saved = {folder.resolve() for folder in map(saved_folder, sources) if folder}
    if _is_run(folder) or folder.resolve() in saved:
        what = "a run" if _is_run(folder) else "one of the two models"
        raise CallError(f"{folder} holds {what}, whose weights would be lost. Choose another --save.")


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes were writing in a run; no other process of it may be alive."""
    for entry in Path(path).rglob(".*.tmp"):
        entry.unlink(missing_ok=True)


def _is_run(folder: Path) -> bool:
    """Return whether a directory is a run: a copied recipe among other files does not make one."""
    entries = {entry.name for entry in folder.iterdir() if not _is_unfinished(entry)} if folder.is_dir() else set()
    return (folder / RECIPE).is_file() and (ENVIRONMENT in entries or entries == {RECIPE})


def _remove_contents(folder: Path) -> None:
    """Empty the directory of a run, and keep the directory: it may be a link, or the one somebody stands in."""
    entries = list(folder.iterdir())
    foreign = [e.name for e in entries if not (e.name in _OWN or e.suffix == ".safetensors" or _is_unfinished(e))]
    if foreign:
        raise CallError(
            f"{folder} holds a run and files that no run writes: {listing(sorted(foreign))}. "
            "Nothing was removed; move them elsewhere, or choose another --out."
        )
    for entry in sorted(entries, key=lambda entry: entry.name == RECIPE):  # the recipe last: until then it is a run
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _is_unfinished(entry: Path) -> bool:
    """Return whether a file is what a killed process was writing, see `vlm_data.files.replacing`."""
    return entry.name.startswith(".") and entry.suffix == ".tmp"


def differing_keys(old: Recipe, new: Recipe) -> list[str]:
    """List the settings in which two recipes differ, with both values; their source and trackers do not count.

    Example:
        >>> from vlm_finetune.recipe import parse
        >>> differing_keys(parse({}), parse({"training": {"lr": 0.5}}))
        ['training.lr (1e-05 there, 0.5 now)']
    """
    before, after = old.tables(), new.tables()
    return [
        f"{table}.{key} ({before[table].get(key)} there, {after[table].get(key)} now)"
        for table in before
        if table not in ("source", "tracking")
        for key in {**before[table], **after[table]}
        if before[table].get(key) != after[table].get(key)
    ]


def environment() -> dict[str, object]:
    """Return what a result depends on beside the recipe: versions, code state, command and hardware."""
    packages = (
        "torch",
        "torchvision",
        "open_clip_torch",
        "transformers",
        "accelerate",
        "numpy",
        "scikit-learn",
        "pillow",
    )
    own = ("vlm-data", "vlm-models", "vlm-finetune")
    extra = ("peft",) if importlib.util.find_spec("peft") else ()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in (*own, *packages, *extra)},
        "git": _git_state(),
        "cpu_threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def _git_state() -> str:
    """Return the commit of the code, with `-dirty` if it was changed; empty for an installed package."""
    try:
        answer = subprocess.run(  # without optional locks: looking must not write into the repository
            ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def require_trained(run: Run) -> None:
    """Raise unless the fine-tuned model of a run is there.

    Raises:
        VlmFinetuneError: tells how to finish the run.
    """
    if not run.is_trained:
        raise VlmFinetuneError(
            f"{run.path} is unfinished: {MANIFEST} is missing. Give the same `vlm finetune` again to finish."
        )
