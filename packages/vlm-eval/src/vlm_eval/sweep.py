"""Weight-space interpolation between two models, evaluated at every alpha in one pass over the images."""

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vlm_data.benchmark import EvaluationSet
from vlm_data.progress import Progress, silent
from vlm_data.table_facts import load_matching, set_facts, table_name
from vlm_data.tables import Predictions
from vlm_eval.interpolation.mixable import check_mixable
from vlm_eval.interpolation.mixtures import PLAIN, Mixture, heads_are_rebuilt
from vlm_eval.interpolation.shared_prefix import SharedPrefix
from vlm_eval.prediction import mixture_hash
from vlm_eval.projection import project
from vlm_models.checkpoint import model_facts
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier, LinearHead, require_head
from vlm_models.inference import EVALUATION_BATCH, map_images, process_place
from vlm_models.zero_shot import zero_shot_head


class Interpolation:
    """All models `(1 - alpha) zero_shot + alpha fine_tuned` of a list of alphas, ready to classify a batch.

    Another rule than that may merge them, see `vlm_eval.interpolation.mixtures`.

    Heads are interpolated as soon as one of them was trained; if both are zero-shot heads, one is built again from
    the interpolated text tower. The image tower of one alpha at a time is mixed into one working copy, so memory is
    that of three models. Only what differs is computed again: if both image towers are equal, images are encoded once
    for all alphas; if the first blocks are, those run once per batch (see `SharedPrefix`).

    Raises:
        CheckpointError: if architectures or heads differ in shape.
        CallError: if class names, preprocessing, or the prompts of two zero-shot heads differ.
    """

    def __init__(
        self, zero_shot: Classifier, fine_tuned: Classifier, alphas: Sequence[float], mixture: Mixture = PLAIN
    ) -> None:
        check_mixable(zero_shot, fine_tuned)
        self._mixture = mixture
        self._rebuilds_head = heads_are_rebuilt(zero_shot, fine_tuned)
        self.alphas = tuple(alphas)
        self.device = next(fine_tuned.parameters()).device
        self.preprocess = fine_tuned.encoder.preprocess
        self._ends = (zero_shot, fine_tuned)
        self._work = copy.deepcopy(fine_tuned.encoder).eval()
        self._heads = [self._head(alpha) for alpha in self.alphas]
        own = self._names_of_tower()
        start, end = (_named(model.encoder, "encoder") for model in self._ends)
        differing = {short: name for short, name in own.items() if not torch.equal(start[name], end[name])}
        tower = self._work.image_tower().state_dict()
        self._tower = {name: tower[short] for short, name in differing.items()}
        self._towers = ({name: start[name] for name in self._tower}, {name: end[name] for name in self._tower})
        self._prefix = SharedPrefix(self._work.image_tower(), differing)

    def _names_of_tower(self) -> dict[str, str]:
        """Return the name in the classifier of every tensor of the image tower, by its name there."""
        full = {id(tensor): name for name, tensor in self._work.state_dict(keep_vars=True).items()}
        tower = self._work.image_tower().state_dict(keep_vars=True)
        return {short: f"encoder.{full[id(tensor)]}" for short, tensor in tower.items()}

    @torch.no_grad()
    def _head(self, alpha: float) -> LinearHead:
        if not self._rebuilds_head:
            mixed = self._merged("head", alpha)
            return LinearHead(mixed["weight"], mixed["bias"])
        self._work.load_state_dict(self._merged("encoder", alpha))
        fine_tuned = self._ends[1]
        return zero_shot_head(self._work, fine_tuned.class_names, fine_tuned.templates)

    def _merged(self, part: str, alpha: float) -> dict[str, Tensor]:
        """Return the merged tensors of `encoder` or `head`, by their names in it."""
        start, end = (_named(model.get_submodule(part), part) for model in self._ends)
        return {name.removeprefix(f"{part}."): t for name, t in self._mixture.merge(start, end, alpha).items()}

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of a batch at every alpha, (b, alphas, c)."""
        if not self._towers[0]:
            return self._logits_of_heads(self._work.encode_image(images))
        (start, end), rows = self._towers, []
        with self._prefix.batch(self._work.encode_image) as encode:
            for alpha, head in zip(self.alphas, self._heads, strict=True):
                for name, tensor in self._mixture.merge(start, end, alpha).items():
                    self._tower[name].copy_(tensor)
                rows.append(head(encode(images)))
        return torch.stack(rows, dim=1)

    def _logits_of_heads(self, features: Tensor) -> Tensor:
        """Return the logits of features that all models share; of trained heads they are interpolated themselves."""
        if self._rebuilds_head or self._mixture is not PLAIN:
            return torch.stack([head(features) for head in self._heads], dim=1)
        start, end = (model.head(features) for model in self._ends)
        return torch.stack([torch.lerp(start, end, alpha) for alpha in self.alphas], dim=1)

    def model(self, alpha: float) -> Classifier:
        """Return one interpolated classifier, for saving."""
        fine_tuned = self._ends[1]
        encoder = copy.deepcopy(fine_tuned.encoder)
        encoder.load_state_dict(self._merged("encoder", alpha))
        kind = ZERO_SHOT if self._rebuilds_head else LINEAR
        return Classifier(encoder.eval(), self._head(alpha), kind, fine_tuned.class_names, fine_tuned.templates).eval()


def _named(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def evaluate_interpolations(
    zero_shot: Classifier,
    fine_tuned: Classifier,
    sets: Iterable[EvaluationSet],
    alphas: Sequence[float],
    *,
    mixture: Mixture = PLAIN,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Iterator[Predictions]:
    """Yield the predictions of every interpolated model on every data set; each image is decoded once for all alphas.

    Args:
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1, of the same architecture, with a head for the same class names.
        sets: where to evaluate.
        alphas: weights of the fine-tuned model.
        mixture: the rule that merges them.
        out: folder for the tables; a data set whose tables are all there, from the same models, is not computed again.
        batch_size: of each process.
        progress: told about batches.

    Yields:
        For every data set, one table per alpha; `meta["alpha"]` tells which.

    Raises:
        CallError, CheckpointError: if a model has no head, or the two do not fit together, see `Interpolation`.
    """
    for model in (zero_shot, fine_tuned):
        require_head(model)
    interpolation: Interpolation | None = None
    facts = mixture_facts(zero_shot, fine_tuned, alphas, mixture)
    for evaluation in sets:
        metas = [{**fact, **set_facts(evaluation)} for fact in facts]
        paths = [Path(out) / table_name(meta) if out else None for meta in metas]
        found = [load_matching(Predictions, path, meta) for path, meta in zip(paths, metas, strict=True)]
        tables = [table for table in found if table is not None]
        if len(tables) < len(metas):
            interpolation = interpolation or Interpolation(zero_shot, fine_tuned, alphas, mixture)
            tables = _compute(interpolation, evaluation, metas, batch_size, progress)
            for table, path in zip(tables, paths, strict=True):
                if path and process_place()[0] == 0:
                    table.save(path)
        yield from tables


def mixture_facts(
    zero_shot: Classifier, fine_tuned: Classifier, alphas: Sequence[float], mixture: Mixture = PLAIN
) -> list[dict[str, str]]:
    """Return what the tables of interpolated models say about their model, one entry per alpha.

    Tables of anything else about these models say the same: that is how a rationale finds its prediction.

    Args:
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1.
        alphas: weights of the fine-tuned model.
        mixture: the rule that merges them.
    """
    start, end = model_facts(zero_shot), model_facts(fine_tuned)
    names = {0.0: "zero-shot", 1.0: "fine-tuned"} if mixture.keeps_ends else {}
    return [
        {
            **end,
            "model": names.get(alpha, mixture.name),
            "alpha": repr(float(alpha)),
            "weights_hash": mixture_hash(
                start["weights_hash"], end["weights_hash"], alpha, mixture.key, mixture.keeps_ends
            ),
        }
        for alpha in alphas
    ]


def _compute(
    interpolation: Interpolation,
    evaluation: EvaluationSet,
    metas: Sequence[dict[str, str]],
    batch_size: int,
    progress: Progress,
) -> list[Predictions]:
    dataset = evaluation.dataset
    logits = map_images(
        interpolation.logits,
        dataset,
        interpolation.preprocess,
        device=interpolation.device,
        batch_size=batch_size,
        progress=progress,
    )
    return [
        Predictions(
            dataset.ids, dataset.labels, project(logits[:, index], evaluation.classes).copy(), meta, dataset.groups
        )
        for index, meta in enumerate(metas)
    ]
