"""Running a model over a data set: every sample once, on any number of processes."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, distributed

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.loading import Batch, evaluation_batches
from vlm_data.preprocess import Preprocess
from vlm_data.progress import Progress, silent

EVALUATION_BATCH = 256


def process_place() -> tuple[int, int]:
    """Return (rank, number of processes) of this process; (0, 1) outside a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@torch.inference_mode()
def map_batches(
    compute: Callable[[Batch], tuple[Tensor, Tensor]],
    dataset: ImageDataset,
    preprocess: Preprocess,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = EVALUATION_BATCH,
    workers: int | None = None,
    progress: Progress = silent,
) -> Float[np.ndarray, "n *rest"]:
    """Apply `compute` to every batch of images and return all rows in ascending order of their keys, on every process.

    Processes take turns with the batches and exchange their rows at the end, so batches and results do not depend on
    the number of processes and no sample is counted twice. Rows are in single precision, or in double if they come so.

    Args:
        compute: batch -> keys (r,) and rows (r, *rest), as many as it likes; no key may come twice.
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
    keys, rows = [], []
    for done, batch in enumerate(batches, start=1):
        batch_keys, batch_rows = compute(batch.to(device))
        wide = torch.promote_types(batch_rows.dtype, torch.float32)
        rows.append(batch_rows.to(wide).cpu().numpy())
        keys.append(batch_keys.cpu().numpy())
        progress(f"reading {dataset.name} ({dataset.split})", done, total)
    return _in_order(keys, rows, world)


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
    """Apply `compute`, (b, 3, h, w) uint8 -> (b, *rest), to all images; rows in data-set order, see `map_batches`."""
    return map_batches(
        lambda batch: (batch.indices, compute(batch.images)),
        dataset,
        preprocess,
        device=device,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )


def _in_order(keys: list[np.ndarray], rows: list[np.ndarray], world: int) -> np.ndarray:
    parts = [(np.concatenate(keys), np.concatenate(rows))] if keys else []
    if world > 1:
        gathered: list[list[tuple[np.ndarray, np.ndarray]] | None] = [None] * world
        distributed.all_gather_object(gathered, parts)
        parts = [part for of_rank in gathered if of_rank for part in of_rank]
    order = np.argsort(np.concatenate([key for key, _ in parts]), kind="stable")
    return np.concatenate([values for _, values in parts])[order]
