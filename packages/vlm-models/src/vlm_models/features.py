"""Vectors of any layer of an image tower, for a whole data set in one pass, kept on disk under what they depend on."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, distributed, nn

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.progress import Progress, silent
from vlm_models.feature_cache import cache_file, feature_facts, read_features, write_features
from vlm_models.inference import EVALUATION_BATCH, map_images, process_place
from vlm_models.interface import DualEncoder, VisionOutput, evaluating

_READING = re.compile(r"feature|pooled|(tokens|layer(?P<layer>-?\d+))\.(?P<part>class|mean|patches)")


def extract_features(
    model: DualEncoder,
    dataset: ImageDataset,
    readings: Sequence[str] = ("feature",),
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> dict[str, Float32[np.ndarray, "n *rest"]]:
    """Read vectors of an image tower for every image of a data set; each image is decoded and encoded once.

    Args:
        model: on the device where it shall run.
        dataset: what to read; the evaluation transform of the model is applied.
        readings: what to keep. `feature`: the raw image feature (n, d). `pooled`: before the projection. `tokens.PART`:
            after the final norm, `layerK.PART`: after block K (from 0, or negative from the end), where PART is `class`
            (n, width), `mean` of the patches (n, width), or `patches` (n, patches, width).
        cache: folder for the results; what is there already and belongs to the same weights, preprocessing, images,
            split and transform is not computed again.
        batch_size: of each process.
        progress: told about batches.

    Returns:
        One array per reading, rows in data-set order, on every process.

    Raises:
        CallError: for an unknown reading or layer, or a class token where there is none.
        CapabilityError: if the model gives no tokens.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> digits = load_benchmark("digits", limit=4).test
        >>> found = extract_features(load_encoder("tiny"), digits, ["feature", "layer-1.mean", "tokens.patches"])
        >>> [values.shape for values in found.values()]
        [(4, 64), (4, 64), (4, 16, 64)]
    """
    layers = _check(model, readings)
    places = _places(model, dataset, readings, Path(cache)) if cache else {}
    found = {reading: read_features(path) for reading, (path, _) in places.items()}
    missing = [reading for reading in readings if found.get(reading) is None]
    if missing:
        found |= _compute(model, dataset, missing, layers, batch_size, progress)
        for reading in missing if places else ():
            write_features(places[reading][0], cast(np.ndarray, found[reading]), places[reading][1])
    return {reading: cast(np.ndarray, found[reading]) for reading in readings}


def _check(model: DualEncoder, readings: Sequence[str]) -> dict[str, int]:
    """Return the layer of every reading that has one."""
    layers = {}
    for reading in readings:
        match = _READING.fullmatch(reading)
        if not match:
            raise CallError(
                f"there is no reading {reading!r}; expected feature, pooled, tokens.PART or layerK.PART with PART one "
                "of class, mean, patches, for example layer-1.mean."
            )
        if match["layer"]:
            count, layer = len(model.attention_modules("vision")), int(match["layer"])
            if not -count <= layer < count:
                raise CallError(f"{model.spec} has no block {layer}; expected a number from {-count} to {count - 1}.")
            layers[reading] = layer % count
    return layers


def _places(
    model: DualEncoder, dataset: ImageDataset, readings: Sequence[str], cache: Path
) -> dict[str, tuple[Path, dict[str, str]]]:
    """Return for every reading the file it belongs in, and what that file notes of its origin."""
    facts = feature_facts(model, dataset)
    return {reading: (cache_file(cache, facts, reading), {**facts, "reading": reading}) for reading in readings}


def _compute(
    model: DualEncoder,
    dataset: ImageDataset,
    readings: Sequence[str],
    layers: dict[str, int],
    batch_size: int,
    progress: Progress,
) -> dict[str, np.ndarray]:
    shapes: dict[str, torch.Size] = {}

    def compute(images: Tensor) -> Tensor:
        vectors = _vectors(model, images, readings, layers)
        shapes.update({reading: vector.shape[1:] for reading, vector in vectors.items()})
        return torch.cat([vector.flatten(1).float() for vector in vectors.values()], dim=1)

    device = next(model.parameters()).device
    with evaluating(model):
        flat = map_images(compute, dataset, model.preprocess, device=device, batch_size=batch_size, progress=progress)
    shapes = _shapes_of_all(shapes)
    ends = np.cumsum([shapes[reading].numel() for reading in readings])[:-1]
    parts = np.split(flat, ends, axis=1)
    return {reading: part.reshape(-1, *shapes[reading]) for reading, part in zip(readings, parts, strict=True)}


def _shapes_of_all(shapes: dict[str, torch.Size]) -> dict[str, torch.Size]:
    """Return the shapes that any process saw: where there are fewer batches than processes, some saw none."""
    world = process_place()[1]
    if world == 1:
        return shapes
    seen: list[dict[str, torch.Size] | None] = [None] * world
    distributed.all_gather_object(seen, shapes)
    return next(found for found in seen if found)


def _vectors(model: DualEncoder, images: Tensor, readings: Sequence[str], layers: dict[str, int]) -> dict[str, Tensor]:
    """Return every reading of a batch."""
    if set(readings) == {"feature"}:
        return {"feature": model.encode_image(images)}
    with _block_outputs(model, set(layers.values())) as blocks:
        output = model.vision_tokens(images)
    found = {}
    for reading in readings:
        if reading == "feature":
            found[reading] = model.encode_image(images) if output.features is None else output.features
        elif reading == "pooled":
            found[reading] = output.pooled
        else:
            tokens = blocks[layers[reading]] if reading in layers else output.tokens
            found[reading] = _part(model, tokens, output, reading.rpartition(".")[2])
    return found


def _part(model: DualEncoder, tokens: Tensor, output: VisionOutput, part: str) -> Tensor:
    if part == "class" and not output.prefix_tokens:
        raise CallError(f"{model.spec} has no class token; expected the part mean or patches, or the reading pooled.")
    patches = tokens[:, output.prefix_tokens :]
    return tokens[:, 0] if part == "class" else patches.mean(dim=1) if part == "mean" else patches


@contextlib.contextmanager
def _block_outputs(model: DualEncoder, layers: set[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the token stream after some blocks while the context is open."""
    found: dict[int, Tensor] = {}
    with contextlib.ExitStack() as undo:
        blocks = _blocks(model) if layers else []
        for layer in layers:

            def keep(_module: nn.Module, _inputs: object, output: object, layer: int = layer) -> None:
                found[layer] = cast(Tensor, output[0] if isinstance(output, tuple) else output)

            undo.callback(blocks[layer].register_forward_hook(keep).remove)
        yield found


def _blocks(model: DualEncoder) -> list[nn.Module]:
    """Return the blocks of the image tower: what its attention modules are parts of."""
    places = {id(module): name for name, module in model.named_modules()}
    modules = model.attention_modules("vision")
    return [model.get_submodule(places[id(module)].rpartition(".")[0]) for module in modules]
