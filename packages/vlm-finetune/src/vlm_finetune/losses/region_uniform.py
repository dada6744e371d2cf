"""A milder way to keep regions apart: spurious regions shall say nothing about the class."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from vlm_finetune.losses.region_aware import ScoredRegions


def label_cross_entropy(regions: ScoredRegions) -> tuple[Float[Tensor, ""], Bool[Tensor, " b"]]:
    """Return how badly the regions that are not spurious prefer the class of their image to other labels of the batch.

    The cross-entropy of each image's best scores m(i, c), see `vlm_finetune.losses.region_aware`, over the distinct
    labels of the batch, averaged over the images that have a label and such a region; 0 if there are none.

    Returns:
        The loss, and which images have a term.

    Example:
        >>> import torch
        >>> image_of, spurious = torch.tensor([0, 1]), torch.tensor([False, False])
        >>> regions = ScoredRegions(torch.tensor([[1.0, 1.0, 9.0], [1.0, 1.0, 9.0]]), image_of, spurious, image_of)
        >>> label_cross_entropy(regions)[0]
        tensor(0.6931)
    """
    best, labels = regions.best(), regions.labels
    anchors = (labels >= 0) & best.isfinite().all(dim=1)
    asked = labels[anchors]
    known = labels[labels >= 0].unique()
    own = best[anchors]
    losses = own[:, known].logsumexp(dim=1) - own.gather(1, asked[:, None]).squeeze(1)
    return losses.sum() / anchors.sum().clamp(min=1), anchors


def distance_from_uniform(regions: ScoredRegions) -> Float[Tensor, ""]:
    """Return how far spurious regions are from no preference: mean of `KL(uniform || softmax of s(r, .))`.

    The softmax is over all classes, whether or not an image of the batch has them; 0 without a spurious region.

    Example:
        >>> import torch
        >>> nothing = torch.tensor([0])
        >>> distance_from_uniform(ScoredRegions(torch.tensor([[2.0, 2.0]]), nothing, torch.tensor([True]), nothing))
        tensor(0.)
    """
    log_p = regions.scores[regions.spurious].log_softmax(dim=1)
    distances = -log_p.mean(dim=1) - math.log(log_p.shape[1])
    return distances.sum() / max(1, len(distances))
