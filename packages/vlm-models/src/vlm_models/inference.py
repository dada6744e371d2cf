"""Running a model over a data set: every sample once, on any number of processes."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, distributed

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.loading import evaluation_batches
from vlm_data.preprocess import Preprocess
from vlm_data.progress import Progress, silent
from vlm_models.interface import DualEncoder

EVALUATION_BATCH = 256


def process_place() -> tuple[int, int]:
    """Return (rank, number of processes) of this process; (0, 1) outside a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@torch.inference_mode()
def map_images(
    compute: Callable[[Tensor], Tensor],
    dataset: ImageDataset,
    preprocess: Preprocess,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
    workers: int | None = None,
    progress: Progress = silent,
) -> Float32[np.ndarray, "n *rest"]:
    """Apply `compute` to every batch of images and return its rows in data-set order, on every process.

    Processes take turns with the batches and exchange their rows at the end, so batches and results do not depend on
    the number of processes and no sample is counted twice.

    Args:
        compute: (b, 3, h, w) uint8 -> (b, *rest).
        dataset: what to read.
        preprocess: size and resize rule.
        device: where the images are moved to before `compute`.
        batch_size: of each process.
        workers: of the data loader; chosen by the kind of data by default.
        progress: told about batches of this process.

    Raises:
        CallError: if the data set is empty.
        UnreadableImageError: names the file that cannot be decoded.
    """
    if not len(dataset):
        raise CallError(f"{dataset.name} ({dataset.split}) has no images; expected at least one.")
    rank, world = process_place()
    batches = evaluation_batches(dataset, preprocess, batch_size, rank=rank, world=world, workers=workers)
    total = len(range(rank * batch_size, len(dataset), world * batch_size))
    indices, rows = [], []
    for done, batch in enumerate(batches, start=1):
        rows.append(compute(batch.images.to(device, non_blocking=True)).float().cpu().numpy())
        indices.append(batch.indices.numpy())
        progress(f"reading {dataset.name} ({dataset.split})", done, total)
    return _in_order(indices, rows, world)


def _in_order(indices: list[np.ndarray], rows: list[np.ndarray], world: int) -> np.ndarray:
    parts = [(np.concatenate(indices), np.concatenate(rows))] if indices else []
    if world > 1:
        gathered: list[list[tuple[np.ndarray, np.ndarray]] | None] = [None] * world
        distributed.all_gather_object(gathered, parts)
        parts = [part for of_rank in gathered if of_rank for part in of_rank]
    order = np.argsort(np.concatenate([index for index, _ in parts]), kind="stable")
    return np.concatenate([values for _, values in parts])[order]


def image_features(
    encoder: DualEncoder,
    dataset: ImageDataset,
    preprocess: Preprocess,
    device: torch.device | str,
    progress: Progress = silent,
) -> Float32[np.ndarray, "n d"]:
    """Return the raw image features of a data set, extracted once with the evaluation transform."""
    was_training = encoder.training
    encoder.eval()
    features = map_images(encoder.encode_image, dataset, preprocess, device=device, progress=progress)
    encoder.train(was_training)
    return features
