"""One fine-tuning from recipe to saved model."""

import contextlib
import dataclasses
import functools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.captions import Captioner
from vlm_data.progress import Progress, silent
from vlm_data.region_batches import RegionSource
from vlm_finetune.batches import FeatureBatches, ImageBatches, TrainingBatches, micro_order
from vlm_finetune.data_checks import check_alpha, check_labels
from vlm_finetune.devices import accelerator, check_precision, process_state
from vlm_finetune.head_search import SearchData, run_search
from vlm_finetune.loop import Loop, diverged
from vlm_finetune.lora import adapt
from vlm_finetune.method import Method, Phase
from vlm_finetune.recipe import METHODS, DataSettings, Recipe
from vlm_finetune.recipe_files import resolve
from vlm_finetune.resume import Position, ResumePoints, newest_point
from vlm_finetune.run import LOG, RESUME, Run, open_run, remove_unfinished, start_run
from vlm_finetune.run_log import RunLog, read_log
from vlm_finetune.teacher_track import teacher_warnings
from vlm_finetune.tracking import Tracking, check_trackers, open_tracking
from vlm_finetune.training_regions import check_regions, group_weights, training_regions
from vlm_finetune.validation import Validator
from vlm_models import load_encoder, save_model
from vlm_models.adapters import adapter_targets
from vlm_models.checkpoint import load_state, read_weights, write_weights
from vlm_models.classifier import LINEAR, Classifier
from vlm_models.features import extract_features
from vlm_models.interface import DualEncoder
from vlm_models.spec import parse_spec
from vlm_models.zero_shot import zero_shot_classifier

EpochCallback = Callable[[Classifier, bool], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Called after every epoch with the model and whether its encoder is frozen; returns facts for the epoch's event in
the log, and further events. Of events of one kind about the same `data` a run tells the first, also after a pause."""


def load_data(recipe: Recipe) -> Benchmark:
    """Load the benchmark a recipe names, with its limit, seed and few-shot draw."""
    return _load(_data_of(recipe))


def _data_of(recipe: Recipe) -> DataSettings:
    """Return the settings of the data with the number of the few-shot draw in place of -1."""
    draw = recipe.training.seed if recipe.data.draw < 0 else recipe.data.draw
    return dataclasses.replace(recipe.data, draw=draw)


def load_data_of(specs: Iterable[str], **given: Any) -> Benchmark:
    """Load the whole data to compare models on: that of the first run among them, unless other data is named.

    Splits and few-shot images that were drawn are drawn as in that run; another draw would put its training images
    into the test set.

    Args:
        specs: model specs; `run:DIR` tells what it was trained on.
        given: fields of `DataSettings` that the user named; None where nothing was said.

    Example:
        >>> load_data_of(["tiny"], limit=5).name
        'digits'
    """
    runs = [_data_of(open_run(parts.source).recipe) for parts in map(parse_spec, specs) if parts.family == "run"]
    wanted = {name: value for name, value in given.items() if value is not None}
    own = dataclasses.replace(runs[0], limit=0) if runs else DataSettings()
    if wanted.get("name", own.name) != own.name:
        own = DataSettings()
    return _load(dataclasses.replace(own, **wanted))


def _load(data: DataSettings) -> Benchmark:
    return load_benchmark(
        data.name,
        data.root or None,
        seed=data.seed,
        limit=data.limit or None,
        skip_unreadable=data.skip_unreadable,
        shots=data.shots or None,
        draw=max(data.draw, 0),
    )


def base_encoder(recipe: Recipe, device: torch.device | str = "cpu") -> DualEncoder:
    """Load the towers a recipe starts from.

    Raises:
        CapabilityError: if the recipe wants adapters, and they can take none.
    """
    encoder = load_encoder(recipe.model.spec, device)
    if recipe.lora.rank:
        adapter_targets(encoder)
    return encoder


def zero_shot_model(recipe: Recipe, benchmark: Benchmark, device: torch.device | str = "cpu") -> Classifier:
    """Load the base model of a recipe with the zero-shot head for the benchmark."""
    encoder = base_encoder(recipe, device)
    return zero_shot_classifier(encoder, benchmark.class_names, benchmark.templates)


def finetune(
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str] | None = None,
    *,
    benchmark: Benchmark | None = None,
    after_epoch: EpochCallback | None = None,
    start_facts: Mapping[str, Any] | None = None,
    tracking: Tracking | None = None,
    progress: Progress = silent,
) -> Run:
    """Fine-tune a model and leave a run directory; go on where an interrupted run of the same recipe stopped.

    Args:
        recipe: all settings; or the name of a shipped recipe, the path of a TOML file, or the tables that differ
            from the shipped recipe for model, data and method, as on the command line.
        out: the run directory; `default_out(recipe)` if not given.
        benchmark: already loaded data of the recipe, to save loading it again.
        after_epoch: watches the model, see `EpochCallback`.
        start_facts: what is known about the zero-shot model, for the first event of the log.
        tracking: open trackers, which the caller closes; those that the recipe names, for the time of training, if
            not given.
        progress: told about optimiser steps.

    Raises:
        CallError: if recipe, data and method do not fit, or `out` belongs to another run.
        DivergedError: if the loss is not finite.

    Example:
        >>> import tempfile
        >>> tables = {"training": {"epochs": 1}, "data": {"limit": 64}}
        >>> finetune(tables, tempfile.mkdtemp() + "/run").is_trained
        True
    """
    recipe = _resolved(recipe)
    run = prepare_run(recipe, out or default_out(recipe))
    if not run.is_trained:
        training = Training(run, benchmark or load_data(recipe), after_epoch, start_facts, progress)
        with contextlib.nullcontext(tracking) if tracking else open_tracking(recipe, run.path) as opened:
            model = training.fit(opened)
        if training.accelerator.is_main_process:
            lora = {"lora_rank": recipe.lora.rank} if recipe.lora.rank else {}
            save_model(model, run.path, method=recipe.method, epoch=training.position.best_epoch, **lora)
        training.accelerator.wait_for_everyone()
    if process_state().is_main_process:
        shutil.rmtree(run.path / RESUME, ignore_errors=True)
    return run


def _resolved(recipe: Recipe | str | os.PathLike[str] | Mapping[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    return resolve(flags=recipe) if isinstance(recipe, Mapping) else resolve(os.fspath(recipe))


def prepare_run(recipe: Recipe, out: str | os.PathLike[str], overwrite: bool = False) -> Run:
    """Create or open the run directory (see `start_run`); with several processes the main one comes first."""
    check_precision(recipe.model.precision)
    check_trackers(recipe.tracking.trackers)
    check_regions(recipe.method, recipe.data)
    state = process_state()
    with state.main_process_first():
        run = start_run(recipe, out, overwrite and state.is_main_process)
        if state.is_main_process:  # the others are still waiting, so nobody is writing
            remove_unfinished(run.path)
        return run


def default_out(recipe: Recipe) -> Path:
    """Return where a run goes when nothing else is said: `runs/DATA-MODEL-METHOD-seedS`, METHOD-loraR with adapters."""
    lora = (f"lora{recipe.lora.rank}",) if recipe.lora.rank else ()
    parts = (recipe.data.name, recipe.model.spec, recipe.method, *lora)
    words = ["".join(c if c.isalnum() or c in "._" else "-" for c in part).strip("-") for part in parts]
    return Path("runs") / "-".join([*words, f"seed{recipe.training.seed}"])


class Training:
    """The phases of one run on one benchmark.

    Attributes:
        run: where everything is written.
        benchmark: the data.
        accelerator: of the current phase.
        position: of the current phase.
    """

    def __init__(
        self,
        run: Run,
        benchmark: Benchmark,
        after_epoch: EpochCallback | None = None,
        start_facts: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.run = run
        self.recipe = run.recipe
        self.benchmark = benchmark
        self.after_epoch = after_epoch
        self.start_facts = start_facts or {}
        self.progress = progress
        self.accelerator = accelerator(self.recipe.model.precision)
        self.position = Position()
        self.log = RunLog(run.path / LOG, self.accelerator.is_main_process)

    def fit(self, tracking: Tracking | None = None) -> Classifier:
        """Run all phases and return the fine-tuned model."""
        self.log.watch = tracking.events if tracking else None
        device = self.accelerator.device
        model = zero_shot_model(self.recipe, self.benchmark, device)
        phases = _phases(self.recipe)
        point = newest_point(self.run.path / RESUME)
        first = point[0] if point else 0
        for index, phase in enumerate(phases):
            if index < first:  # its result is part of the resume point of the later phase
                continue
            if index:
                self.accelerator = accelerator(self.recipe.model.precision)
            self.position = Position(phase=index)
            searches = hasattr(METHODS.load(phase.method), "search")
            model = self._search_head(phase, model) if searches else self._fit_phase(phase, model)
        return model

    def _search_head(self, phase: Phase, model: Classifier) -> Classifier:
        """Let a method that takes no step of the loop fit heads on cached features, and keep one of them."""
        if self.recipe.evaluation.choose_alpha:
            check_alpha(phase, self.benchmark)
        check_labels(phase, self.benchmark)
        data = SearchData.of(model.encoder, self.benchmark, self.progress)
        search = functools.partial(METHODS.load(phase.method).search, phase.settings, phase.training, data)
        path = self.run.path / RESUME / f"search-phase-{self.position.phase}.safetensors"
        facts = {"method": phase.method, "device": str(self.accelerator.device), **self.start_facts}
        head, count = run_search(search, path, self.log, facts, self.accelerator.is_main_process, self.progress)
        self.accelerator.wait_for_everyone()
        model.head.load_state_dict(head.state_dict())
        model.head_kind = LINEAR
        place = {"phase": 0, "epoch": 1, "step": count + 1}
        facts, events = self.after_epoch(model, True) if self.after_epoch else ({}, [])
        judged = data.val.judge(model.head)
        epoch = [{"event": "epoch", **place, **judged, "best": True, **facts}] if judged else []
        self.log.append([*epoch, *(place | event for event in events)])
        return model

    def _build(self, phase: Phase, model: Classifier) -> Method:
        steps = ImageBatches(self.benchmark.train, model.encoder.preprocess, phase.training).steps
        method: Method = METHODS.load(phase.method).build(model, phase.settings, phase.training.epochs * steps)
        method.seed = phase.training.seed
        if self.recipe.lora.rank and not method.frozen_encoder:
            adapt(method, self.recipe.lora, phase.training.seed)
        return method

    def _fit_phase(self, phase: Phase, model: Classifier) -> Classifier:
        method = self._build(phase, model)
        if self.recipe.evaluation.choose_alpha:
            check_alpha(phase, self.benchmark)
        micro_order(len(self.benchmark.train), phase.training)  # batches that cannot be cut or shared are refused here
        if method.needs_labels:
            check_labels(phase, self.benchmark)
        regions = training_regions(phase.method, self.recipe.data, self.benchmark)
        if regions:
            method.meet(regions)
        batches = self._batches(method, phase, regions)
        validator = Validator(self.benchmark.val, method.frozen_encoder)
        best = self.run.path / RESUME / f"best-phase-{self.position.phase}.safetensors"

        def end_epoch(position: Position) -> None:
            classifier = method.classifier()
            accuracy, nll = validator.score(classifier, self.accelerator.device)
            if math.isnan(nll):  # the loss of a step is taken before its update: the last update may be the bad one
                raise diverged("the scores of validation images became NaN", position.step, phase.training)
            is_best = _is_better(phase.training.select, (accuracy, nll), (position.best_accuracy, position.best_nll))
            if is_best or phase.training.select == "last":
                position.best_epoch, position.best_accuracy, position.best_nll = position.epoch, accuracy, nll
                if self.accelerator.is_main_process:
                    write_weights(classifier.state_dict(), best)
            event = {"event": "epoch", "phase": position.phase, "epoch": position.epoch, "step": position.step}
            event |= {"val_accuracy": accuracy, "val_nll": nll, "best": is_best}
            facts, events = self.after_epoch(classifier, method.frozen_encoder) if self.after_epoch else ({}, [])
            self._log_epoch(event | facts, events)

        loop = Loop(
            method, batches, phase.training, self.accelerator, self.position, self.log, end_epoch, self.progress
        )
        averages = [loop.average] if loop.average else []
        further = [*method.companions().values(), *averages]
        resume = ResumePoints(self.run.path / RESUME, self.accelerator, self.position, further)
        resumed = resume.load()
        self.log.rewind(self.position.phase, self.position.step)
        self.log.append([self._start_event(method, loop, resumed)])
        if phase.training.select == "val-loss" and not resumed:
            end_epoch(self.position)  # as published, what training starts from may be the best
        loop.train(resume)
        self._log_warnings(phase)
        self.accelerator.wait_for_everyone()
        result = method.classifier()
        if best.exists():
            load_state(result, read_weights(best), str(best))
        self._save_companions(method)
        return result

    def _log_epoch(self, event: dict[str, Any], further: Iterable[dict[str, Any]]) -> None:
        """Write the event of an epoch and what belongs to it, without what was told before a resumption."""
        place = {key: event[key] for key in ("phase", "epoch", "step")}
        past = read_log(self.run.path / LOG)
        told = {(one["event"], one.get("data")) for one in past}
        is_told = any(one["event"] == "epoch" and place.items() <= one.items() for one in past)
        news = [place | one for one in further if (one["event"], one.get("data")) not in told]
        self.log.append([*([] if is_told else [event]), *news])

    def _batches(self, method: Method, phase: Phase, regions: RegionSource | None) -> TrainingBatches:
        train, encoder = self.benchmark.train, method.model.encoder
        if method.frozen_encoder:
            features = extract_features(encoder, train, progress=self.progress)["feature"]
            return FeatureBatches(torch.from_numpy(features), torch.from_numpy(train.labels), phase.training)
        captioner = Captioner.of(self.benchmark) if method.needs_captions else None
        weights = group_weights(regions) if regions and method.balances_groups else None
        augmentation = self.recipe.data.augmentation
        return ImageBatches(train, encoder.preprocess, phase.training, augmentation, captioner, regions, weights)

    def _start_event(self, method: Method, loop: Loop, resumed: bool) -> dict[str, Any]:
        return {
            "event": "resume" if resumed else "start",
            "phase": self.position.phase,
            "step": self.position.step,
            "method": type(method).__name__,
            "trained_parameters": sum(p.numel() for p in method.trained()),
            **({"adapted_modules": len(method.adapted)} if method.adapted else {}),
            "total_steps": loop.total_steps,
            "processes": self.accelerator.num_processes,
            "strategy": str(self.accelerator.distributed_type.value),
            "device": str(self.accelerator.device),
            **self.start_facts,
        }

    def _log_warnings(self, phase: Phase) -> None:
        """Log what went wrong without stopping the training, each once."""
        place = {"phase": self.position.phase, "step": self.position.step}
        events = [event for event in read_log(self.run.path / LOG) if event.get("phase") == self.position.phase]
        told = {event.get("text") for event in events if event["event"] == "warning"}
        found = [text for text in teacher_warnings(events, dataclasses.asdict(phase.settings)) if text not in told]
        self.log.append([{"event": "warning", **place, "text": text} for text in found])

    def _save_companions(self, method: Method) -> None:
        if self.accelerator.is_main_process:
            for name, module in method.companions().items():
                write_weights(module.state_dict(), self.run.path / f"{name}.safetensors")


def _phases(recipe: Recipe) -> list[Phase]:
    module = METHODS.load(recipe.method)
    if hasattr(module, "phases"):
        return module.phases(recipe.method_settings, recipe.training)
    return [Phase(recipe.method, recipe.method_settings, recipe.training)]


def _is_better(select: str, found: tuple[float, float], best: tuple[float, float]) -> bool:
    """Return whether validation accuracy and NLL are as good as the best so far: of equals the later one is kept."""
    (accuracy, nll), (best_accuracy, best_nll) = found, best
    return nll <= best_nll if select == "val-loss" else (accuracy, -nll) >= (best_accuracy, -best_nll)
