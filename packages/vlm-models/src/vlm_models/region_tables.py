"""From a classifier and proposed regions to a table of regions, which discovery reads."""

import os

import numpy as np
import torch
from jaxtyping import Float32

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.progress import Progress, silent
from vlm_data.tables.regions import Regions
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import Classifier, require_head
from vlm_models.inference import EVALUATION_BATCH
from vlm_models.proposals import Proposals
from vlm_models.proposers.boxes import regions_of
from vlm_models.regions import region_features


def embed_regions(
    model: Classifier,
    dataset: ImageDataset,
    proposals: Proposals | Regions,
    pooling: str = "crop",
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> Regions:
    """Return what a classifier makes of regions: unit embeddings, and the scores of its head.

    A region that the resize rule of the model cuts away entirely (centre crop) is left out.

    Args:
        model: on the device where it shall run.
        dataset: the images.
        proposals: boxes, or a table of regions, whose labels, contents and flags are kept; of a table, those regions
            are taken that lie in images of the data set.
        pooling: see `vlm_models.region_pooling.features_with_regions`.
        cache: folder for raw features, see `vlm_models.regions.region_features`.
        batch_size: images at a time, of each process.
        progress: told about batches.

    Returns:
        A table in the order of the proposals; `meta` tells data, fingerprint, proposer, pooling, model and weights.

    Raises:
        CallError: if no region lies in these images, none is left, or the pooling is unknown.
        CapabilityError: if the image tower cannot be pooled this way.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> from vlm_models.proposals import propose
        >>> from vlm_models.zero_shot import zero_shot_classifier
        >>> digits = load_benchmark("digits", limit=3)
        >>> model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
        >>> found = embed_regions(model, digits.test, propose("grid:2x2", digits.test))
        >>> found.embeddings.shape, found.logits.shape, found.meta["pooling"]
        ((12, 64), (12, 10), 'crop')
    """
    require_head(model)
    given, rows = _regions_of(dataset, proposals)
    features = region_features(
        model.encoder, dataset, rows, given.boxes, pooling, cache=cache, batch_size=batch_size, progress=progress
    )
    seen = np.flatnonzero(np.isfinite(features).all(axis=1))
    if not len(seen):
        raise CallError(
            f"none of {len(rows)} regions of {dataset.name} ({dataset.split}) is inside what {model.encoder.spec} sees "
            "of its images after resizing and cropping; expected at least one."
        )
    embeddings, logits = _scored(model, features[seen])
    meta = {
        "data": dataset.name,
        "split": dataset.split,
        "fingerprint": dataset.fingerprint,
        "proposer": given.meta.get("proposer", "boxes"),
        "pooling": pooling,
        "model": model.encoder.spec,
        "weights_hash": weights_hash(model.state_dict()),
    }
    return given.select(seen).replace(embeddings=embeddings, logits=logits, clusters=None, meta=meta)


def _regions_of(dataset: ImageDataset, proposals: Proposals | Regions) -> tuple[Regions, np.ndarray]:
    """Return a table of the proposals, and the row of the image of each."""
    if isinstance(proposals, Proposals):
        ids = dataset.ids
        names = tuple(ids[row] for row in proposals.rows)
        return Regions(names, proposals.boxes, meta={"proposer": proposals.spec}), proposals.rows
    return regions_of(dataset, proposals)


@torch.no_grad()
def _scored(
    model: Classifier, features: Float32[np.ndarray, "k d"]
) -> tuple[Float32[np.ndarray, "k d"], Float32[np.ndarray, "k c"]]:
    """Return features at length one, and the logits of the head."""
    found = torch.from_numpy(features).to(model.head.weight.device)
    logits = model.head(found)
    return torch.nn.functional.normalize(found, dim=-1).cpu().numpy(), logits.float().cpu().numpy()
