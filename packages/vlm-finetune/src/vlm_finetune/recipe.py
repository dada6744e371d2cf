"""The settings of a run: frozen dataclasses, one per table of the TOML file."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from vlm_data.registry import Registry
from vlm_finetune.errors import RecipeError
from vlm_finetune.schedule import SCHEDULES
from vlm_finetune.settings import build_table, one_of, within

_ALIASES = {"flcp": "flyp", "ft": "full", "lp": "linear-probe", "standard": "contrastive-frozen-text"}
METHODS = Registry("vlm_finetune.methods", "method", aliases=_ALIASES)
PRECISIONS = ("fp32", "bf16", "fp16")
NEGATIVES = ("batch", "micro-batch")
ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Table `[model]`.

    Attributes:
        spec: the base model.
        precision: of the forward pass in training; masters and optimiser stay in fp32.
    """

    spec: str = "tiny"
    precision: str = one_of("fp32", PRECISIONS)


@dataclasses.dataclass(frozen=True)
class LoraSettings:
    """Table `[lora]`: low-rank adapters in place of the towers that a method would train.

    Attributes:
        rank: r of the adapters; 0 = none, the towers themselves are trained.
        alpha: the increment of a weight is `(alpha / rank) B A`. Kept when the rank changes, it lets the learning rate
            stay, too (Hu et al. 2022, section 4.1; 32 is what they used for GPT-2).
        dropout: of the input of an adapter, in training.
    """

    rank: int = within(0, 0, note=" (0 = off)")
    alpha: float = within(32.0, 0, closed="(]")
    dropout: float = within(0.0, 0, 1, closed="[)")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Table `[data]`.

    Attributes:
        name: benchmark or `folder:DIR`, `csv:FILE`, `jsonl:FILE`, `parquet:FILE`.
        root: folder that relative paths start from; empty = current folder.
        limit: samples kept per split and shift; 0 = all.
        shots: training and validation images of every class that are used, see `vlm_data.few_shot`; `limit` is then
            about test set and shifts. 0 = all.
        draw: number of the repetition, for `shots`; -1 = `training.seed`, so that every seed of a sweep has images of
            its own.
        seed: of everything the benchmark draws (shift sets, splits), apart from the seed of training.
        augmentation: `none`, or `crop` (random resized crop, scale 0.9 to 1).
        skip_unreadable: leave out files that cannot be decoded and count them.
        regions: table of regions of the training images that tells which of them are spurious; empty = none.
    """

    name: str = "digits"
    root: str = ""
    limit: int = within(0, 0, note=" (0 = all)")
    shots: int = within(0, 0, note=" (0 = all)")
    draw: int = within(-1, -1, note=" (-1 = the seed of the training)")
    seed: int = within(0, 0)
    augmentation: str = one_of("none", ("none", "crop"))
    skip_unreadable: bool = False
    regions: str = ""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Table `[training]`.

    Attributes:
        epochs: passes over the training images.
        batch_size: samples per optimiser step, over all processes and micro-batches.
        accumulation_steps: micro-batches per optimiser step; only one of them at a time needs memory for its graph.
        negatives: what a contrastive loss compares a pair with under accumulation: `batch` = all pairs of the step,
            with the exact gradient of the large batch at the price of a second forward pass (see
            `vlm_finetune.grad_cache`); `micro-batch` = those of its micro-batch, as published programs do. Other losses
            are means over samples, which accumulation does not change.
        lr: peak learning rate.
        weight_decay: AdamW, on every trained tensor.
        warmup: optimiser steps of linear warm-up; a value below 1 is a share of all steps.
        min_lr: added to the cosine part of the schedule.
        schedule: `cosine`, `cosine-to-floor` or `constant`, see `vlm_finetune.schedule`.
        beta1: AdamW.
        beta2: AdamW.
        clip_norm: largest norm of the whole gradient, after un-scaling; 0 = no clipping.
        ema: momentum of a running average of what is trained, moved after every optimiser step; it is then the average
            that is validated, saved and evaluated, see `vlm_finetune.averaging`. 0 = off.
        select: which epoch is kept: `val` = best validation accuracy (ties: lower NLL, then later); `val-loss` = lowest
            validation NLL (ties: later), the model before the first epoch included; `last`.
        save_every: optimiser steps between resume points; 0 = at the end of each epoch.
        seed: of data order, captions, augmentation and the start of adapters.
    """

    epochs: int = within(10, 0)
    batch_size: int = within(64, 1)
    accumulation_steps: int = within(1, 1)
    negatives: str = one_of("batch", NEGATIVES)
    lr: float = within(1e-5, 0, closed="(]")
    weight_decay: float = within(0.1, 0)
    warmup: float = within(0.05, 0)
    min_lr: float = within(0.0, 0)
    schedule: str = one_of("cosine", SCHEDULES)
    beta1: float = within(0.9, 0, 1, closed="[)")
    beta2: float = within(0.999, 0, 1, closed="[)")
    clip_norm: float = within(0.0, 0, note=" (0 = off)")
    ema: float = within(0.0, 0, 1, closed="[)", note=" (0 = off)")
    select: str = one_of("val", ("val", "val-loss", "last"))
    save_every: int = within(0, 0)
    seed: int = within(0, 0)

    def warmup_steps(self, total_steps: int) -> int:
        """Return the warm-up in optimiser steps."""
        return round(self.warmup * total_steps) if self.warmup < 1 else round(self.warmup)


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Table `[evaluation]`.

    Attributes:
        alpha: weight of the fine-tuned model in the interpolated one.
        choose_alpha: take the alpha with the best ID validation accuracy instead (`--alpha auto`).
        alphas: all weights that are evaluated.
        track: images of each natural shift that are classified after every epoch; 0 = no tracking.
        rationales: on which test sets with evidence it is told whether answers rest on it: `id`, `all` (a map for every
            image of every shift and three models takes a while) or `none`.
        report: write figures and report at the end; in a sweep of many small runs drawing takes longer than training,
            and `vlm report` writes the page of any run later.
    """

    alpha: float = within(0.5, 0, 1)
    choose_alpha: bool = False
    alphas: tuple[float, ...] = within(ALPHAS, 0, 1)
    track: int = within(100, 0)
    rationales: str = one_of("id", ("id", "all", "none"))
    report: bool = True


@dataclasses.dataclass(frozen=True)
class TrackingSettings:
    """Table `[tracking]`; nothing in it changes what is learnt.

    Attributes:
        trackers: names of Accelerate's trackers that are told what the log says: `tensorboard`, `wandb`, `mlflow`,
            `trackio` and others, see `vlm_finetune.tracking`.
    """

    trackers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All settings of one run.

    Attributes:
        method: name of the method.
        method_settings: its own frozen `Config`.
        source: where the values come from, for humans.
    """

    method: str
    method_settings: Any
    model: ModelSettings = ModelSettings()
    lora: LoraSettings = LoraSettings()
    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tracking: TrackingSettings = TrackingSettings()
    source: str = ""

    def tables(self) -> dict[str, Any]:
        """Return the recipe as nested dictionaries; `parse` turns them back into an equal recipe."""
        method = {"name": self.method, **dataclasses.asdict(self.method_settings)}
        tables = {name: dataclasses.asdict(getattr(self, name)) for name in _TABLES}
        tables["evaluation"]["alphas"] = list(self.evaluation.alphas)
        tables["tracking"]["trackers"] = list(self.tracking.trackers)
        return {"source": self.source, "method": method, **tables}

    def to_toml(self) -> str:
        """Return the recipe as a TOML document, itself a valid recipe."""
        return tomli_w.dumps(self.tables())


_TABLES: Mapping[str, type] = {
    "model": ModelSettings,
    "lora": LoraSettings,
    "data": DataSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
    "tracking": TrackingSettings,
}


def parse(tables: Mapping[str, Any], origin: str = "the recipe") -> Recipe:
    """Build and check a recipe from nested dictionaries, as `tomllib` returns them.

    Args:
        tables: missing tables and keys take their defaults; `[method] name` is `full` by default.
        origin: file name for messages.

    Raises:
        RecipeError: for an unknown table or key (the nearest valid one is offered), a value of the wrong type or range.

    Example:
        >>> parse({"method": {"name": "flyp"}, "training": {"lr": 1e-5}}).training.lr
        1e-05
    """
    known = {"source", "method", *_TABLES}
    for name, content in tables.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(
                f"{origin}: unknown table or key {name!r}.{guess} Expected {', '.join(sorted(known))}; correct it."
            )
        if (name != "source") and not isinstance(content, Mapping):
            raise RecipeError(f"{origin}: {name!r} is {content!r}; expected a table [{name}].")
    method_values = dict(tables.get("method", {}))
    method = METHODS.canonical(str(method_values.pop("name", "full")))
    recipe = Recipe(
        method=method,
        method_settings=build_table(METHODS.load(method).Config, method_values, "method", origin),
        source=str(tables.get("source", "")),
        **{name: build_table(kind, tables.get(name, {}), name, origin) for name, kind in _TABLES.items()},
    )
    batch_size, parts = recipe.training.batch_size, recipe.training.accumulation_steps
    if batch_size % parts:
        raise RecipeError(
            f"{origin}: training.accumulation_steps is {parts}; expected a divisor of the batch size {batch_size}. "
            "Change one of them."
        )
    if recipe.training.negatives == "micro-batch" and batch_size == parts > 1:
        raise RecipeError(
            f"{origin}: training.negatives is micro-batch, but the {parts} micro-batches hold one sample each, which "
            "has no negative there. Expected two samples or more; choose a smaller training.accumulation_steps."
        )
    if (
        recipe.training.negatives == "micro-batch"
        and parts > 1
        and getattr(METHODS.load(method), "NEEDS_WHOLE_BATCH", 0)
    ):
        raise RecipeError(
            f"{origin}: training.negatives is micro-batch, but {method} looks at whole batches. Expected batch, or "
            "training.accumulation_steps = 1."
        )
    if recipe.lora.rank and not getattr(METHODS.load(method), "MOVES_TOWERS", True):
        raise RecipeError(
            f"{origin}: lora.rank is {recipe.lora.rank}, but {method} trains no tower that adapters could stand in "
            "for. Expected 0; leave out --lora-rank, or take another --method."
        )
    return recipe


def load_recipe(path: Path) -> dict[str, Any]:
    """Read the tables of a recipe file.

    Raises:
        RecipeError: if it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f"cannot read the recipe {path}: {error}. Expected a TOML file; see `vlm recipes ls`."
        ) from error
