"""Regions of further images, in the clusters of a discovery."""

import numpy as np
from jaxtyping import Float, Int64

from vlm_data.errors import CallError
from vlm_data.tables import Regions
from vlm_explain.discovery.discovery import Discovery

_BLOCK = 1 << 24
_SPACE = {"weights_hash": "weights", "pooling": "pooling"}
"""What two tables must share for their embeddings to be comparable."""


def assign(discovery: Discovery, regions: Regions) -> Regions:
    """Return the regions with the cluster whose medoid is nearest, and `spurious` where that is the top cluster.

    Args:
        discovery: its medoids.
        regions: with embeddings of the same model, made in the same way.

    Raises:
        CallError: if the regions have no embeddings, others than the medoids, or nothing was found.
    """
    if discovery.top is None:
        raise CallError(
            f"nothing was found, so no region is spurious: {discovery.reason} Expected a discovery with a cluster that "
            "passes; fine-tune without it, or look with other options."
        )
    medoids = discovery.medoids
    if regions.embeddings is None:
        raise CallError("the regions to assign have no embeddings; expected those of the model of the discovery.")
    assert medoids.embeddings is not None and medoids.clusters is not None  # a discovery has both
    if regions.embeddings.shape[1] != medoids.embeddings.shape[1]:
        raise CallError(
            f"the regions have embeddings of width {regions.embeddings.shape[1]}, the clusters of width "
            f"{medoids.embeddings.shape[1]}; expected the same model for both."
        )
    for key, name in _SPACE.items():
        here, there = regions.meta.get(key), medoids.meta.get(key)
        if here and there and here != there:
            raise CallError(
                f"the regions were embedded with {name} {here}, the clusters with {there}; vectors of two models lie "
                "in two spaces. Embed the regions with the model, and in the way, of the discovery."
            )
    ids = medoids.clusters[nearest(regions.embeddings, medoids.embeddings)]
    return regions.replace(clusters=ids, spurious=ids == discovery.top.cluster)


def nearest(embeddings: Float[np.ndarray, "n d"], medoids: Float[np.ndarray, "k d"]) -> Int64[np.ndarray, " n"]:
    """Return for each row the medoid with the largest dot product, not clipped, the first of equal ones.

    Example:
        >>> nearest(np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
        [1, 0]
    """
    size = max(1, _BLOCK // len(medoids))
    blocks = [(embeddings[i : i + size] @ medoids.T).argmax(axis=1) for i in range(0, len(embeddings), size)]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int64)
