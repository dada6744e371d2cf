"""Which images have a region in which cluster, and counts over classes."""

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64


@dataclasses.dataclass(frozen=True, eq=False)
class Incidence:
    """Which of n images have a region in which of C clusters: pairs, as most images are in few clusters.

    A cluster that holds several regions of an image holds the image once.

    Attributes:
        image: (p,) row of the image of each pair.
        cluster: (p,) position of the cluster of each pair, from 0.
        images: n.
        clusters: C.

    Example:
        >>> found = Incidence.of(np.array([0, 0, 1]), np.array([1, 1, 0]), images=3, clusters=2)
        >>> found.dense.astype(int).tolist()
        [[0, 1], [1, 0], [0, 0]]
        >>> found.counts(np.array([0, 1, 1]), classes=2).tolist()
        [[0, 1], [1, 0]]
    """

    image: Int64[np.ndarray, " p"]
    cluster: Int64[np.ndarray, " p"]
    images: int
    clusters: int

    @classmethod
    def of(
        cls, image_of: Int64[np.ndarray, " k"], cluster_of: Int64[np.ndarray, " k"], *, images: int, clusters: int
    ) -> "Incidence":
        """Return the incidence of regions, of which each has a row of its image and a position of its cluster."""
        seen = np.zeros(images * clusters, dtype=bool)  # faster than sorting pairs, and no larger than `dense`
        seen[image_of * clusters + cluster_of] = True
        pairs = np.flatnonzero(seen)
        return cls(pairs // clusters, pairs % clusters, images, clusters)

    @cached_property
    def dense(self) -> Bool[np.ndarray, "n C"]:
        """(n, C) has the image a region in the cluster."""
        table = np.zeros((self.images, self.clusters), dtype=bool)
        table[self.image, self.cluster] = True
        return table

    def counts(
        self, labels: Int64[np.ndarray, " n"], classes: int, which: Bool[np.ndarray, " n"] | None = None
    ) -> Int64[np.ndarray, "C classes"]:
        """Return for each cluster how many of its images are of each class.

        Args:
            labels: class of each image, from 0.
            classes: how many there are.
            which: images to count; None counts all.
        """
        image, cluster = self.image, self.cluster
        if which is not None:
            chosen = which[image]
            image, cluster = image[chosen], cluster[chosen]
        flat = np.bincount(cluster * classes + labels[image], minlength=self.clusters * classes)
        return flat.reshape(self.clusters, classes)


def shares(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, "..."]:
    """Return part / whole, NaN where there is no whole.

    Example:
        >>> shares(np.array([1, 0]), np.array([2, 0])).tolist()
        [0.5, nan]
    """
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)
