"""Reading a run directory without model or network; what is not there is left out."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions, Rationales
from vlm_finetune.recipe import load_recipe
from vlm_finetune.run_log import read_log

# The names stand here again, because the modules that write these files import torch, which a report does not need.
RECIPE, ENVIRONMENT, LOG, MANIFEST = "recipe.toml", "environment.json", "log.jsonl", "model.json"
PREDICTIONS, RATIONALES = "predictions", "rationales"


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What lies in a run directory.

    Attributes:
        path: the directory.
        recipe: tables of `recipe.toml` as written; unchecked, so that a report does not need the plug-ins of the run.
        environment: of `environment.json`; empty if it is not there.
        manifest: of `model.json`; empty if training has not ended.
        events: of `log.jsonl`; empty if it is not there.
    """

    path: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    manifest: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]

    def tables(self, alpha: float | None = None, split: str = "test") -> Iterator[Predictions]:
        """Load predictions one by one, ordered by file name.

        Args:
            alpha: None for all tables of all splits.
            split: of the tables of one alpha.

        Raises:
            VlmDataError: if a table is damaged.
        """
        # File names tell split and alpha, so no table is read in vain.
        name = "*.alpha-*.parquet" if alpha is None else f"*.{split}.alpha-{alpha:.2f}.parquet"
        for path in sorted((self.path / PREDICTIONS).glob(name)):
            table = Predictions.load(path)
            if alpha is None or math.isclose(float(table.meta["alpha"]), alpha, abs_tol=1e-6):
                yield table

    def rationales(self, split: str = "test") -> Iterator[Rationales]:
        """Load tables of rationales one by one, ordered by file name; none if nobody has made any.

        Args:
            split: of the data.

        Raises:
            VlmDataError: if a table is damaged.
        """
        yield from (table for table in read_rationales(self.path / RATIONALES) if table.meta.get("split") == split)

    def validation(self) -> Iterator[Predictions]:
        """Load the validation tables of all alphas, one by one.

        Raises:
            VlmDataError: if a table is damaged.
        """
        for path in sorted((self.path / PREDICTIONS).glob("*.val.alpha-*.parquet")):
            yield Predictions.load(path)


def read_run(run_dir: str | os.PathLike[str]) -> RunFiles:
    """Open a run directory, finished or not.

    Raises:
        CallError: if it is no run directory.
        RecipeError, VlmDataError: if recipe, environment or manifest are damaged.
    """
    folder = Path(run_dir)
    if not (folder / RECIPE).is_file():
        raise CallError(
            f"{folder} is not a run directory: it has no {RECIPE}. "
            "Expected the --out of a `vlm finetune`; give that directory."
        )
    manifest, environment = _read_json(folder / MANIFEST), _read_json(folder / ENVIRONMENT)
    return RunFiles(folder, load_recipe(folder / RECIPE), environment, manifest, read_log(folder / LOG))


def read_rationales(folder: str | os.PathLike[str]) -> Iterator[Rationales]:
    """Load the tables of rationales in a folder one by one, ordered by file name; none if there is no such folder.

    Raises:
        VlmDataError: if a table is damaged.
    """
    for path in sorted(Path(folder).glob("*.parquet")):
        yield Rationales.load(path)


def run_folders(folder: str | os.PathLike[str]) -> list[Path]:
    """Return a run directory itself, or the run directories in a folder of them, sorted by name.

    Raises:
        CallError: if it is neither.
    """
    path = Path(folder)
    if (path / RECIPE).is_file():
        return [path]
    found = sorted(recipe.parent for recipe in path.glob(f"*/{RECIPE}"))
    if not found:
        raise CallError(
            f"{path} is neither a run directory nor a folder of them: there is no {RECIPE} in it or one level below. "
            "Expected the --out of `vlm finetune` or `vlm sweep`."
        )
    return found


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise VlmDataError(
            f"cannot read {path}: {error}. Expected the JSON object that the run wrote; restore the file, or remove it "
            "to get a report without it."
        ) from error


def column_key(table: Predictions | Rationales) -> str:
    """Return the data set of a table, or the corruption it is one severity of.

    Example:
        >>> import numpy as np
        >>> facts = {"data": "digits/noise-3", "severity": "3"}
        >>> column_key(Predictions(("a",), np.array([0]), np.zeros((1, 2), dtype=np.float32), facts))
        'digits/noise'
    """
    severity = table.meta.get("severity") or "0"
    data = table.meta.get("data", "")
    return data.removesuffix(f"-{severity}") if int(severity) else data
