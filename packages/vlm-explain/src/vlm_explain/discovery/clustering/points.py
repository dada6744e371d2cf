"""Unit vectors and the cosine distance between them."""

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int64

from vlm_data.errors import CallError

_UNIT = 1e-3
"""How far from 1 the length of a row may be: vectors normalised in half precision pass."""
_MOST_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True)
class Points:
    """Unit vectors that are to be clustered.

    The distance of rows i and j is `1 - e_i . e_j`. Clipped to [0, 1], as published with RaVL, all vectors at an angle
    of 90 degrees and more are equally far apart.

    Attributes:
        embeddings: (n, d) float32 or float64, rows of length 1. Distances keep the type.
        clipped: whether distances end at 1.

    Raises:
        CallError: for no rows, values that are not finite, or rows that are not of length 1; the row is named.

    Example:
        >>> Points(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).distances
        array([[0., 1., 1.],
               [1., 0., 1.],
               [1., 1., 0.]])
    """

    embeddings: Float[np.ndarray, "n d"]
    clipped: bool = True

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or not len(self.embeddings):
            raise CallError(
                f"the embeddings have the shape {self.embeddings.shape}; expected (regions, width) with one region at "
                "least. Without regions there is nothing to cluster."
            )
        # A row of NaN has the length NaN, which is no number near 1 either.
        lengths = np.sqrt(np.einsum("nd,nd->n", self.embeddings, self.embeddings))
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
        if len(wrong):
            raise CallError(
                f"{len(wrong)} of {len(lengths)} embeddings are not of length 1, the first is row {wrong[0]} with the "
                f"length {lengths[wrong[0]]:.4g}. Expected unit vectors: divide every row by its length; a row of "
                "zeros or NaN has no direction, leave its region out."
            )

    def __len__(self) -> int:
        return len(self.embeddings)

    @cached_property
    def distances(self) -> Float[np.ndarray, "n n"]:
        """All pairwise distances, zero on the diagonal; made once, n^2 numbers in memory.

        Raises:
            CallError: if they would take more than 4 GiB.
        """
        size = len(self) ** 2 * self.embeddings.itemsize
        if size > _MOST_BYTES:
            raise CallError(
                f"the distances between {len(self)} regions take {size / 2**30:.1f} GiB; expected at most "
                f"{_MOST_BYTES / 2**30:g} GiB. Choose a clustering method and a silhouette that "
                "do not keep them: mini-batch or clara, closed-form or sampled."
            )
        distances = self._from_similarities(self.embeddings @ self.embeddings.T)
        np.fill_diagonal(distances, 0)
        return distances

    def distances_from(self, rows: Int64[np.ndarray, " m"]) -> Float[np.ndarray, "m n"]:
        """Return the distances of some rows to all rows, without keeping those of all pairs."""
        return self._from_similarities(self.embeddings[rows] @ self.embeddings.T)

    def select(self, rows: Int64[np.ndarray, " m"]) -> "Points":
        """Return some of the points, in the order of `rows`."""
        return Points(self.embeddings[rows], self.clipped)

    def distances_between(
        self, rows: Int64[np.ndarray, " m"], others: Int64[np.ndarray, " m"]
    ) -> Float[np.ndarray, " m"]:
        """Return the distance of every row of `rows` to the row at the same place in `others`."""
        return self._from_similarities(np.einsum("nd,nd->n", self.embeddings[rows], self.embeddings[others]))

    def _from_similarities(self, similarities: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Overwrite similarities by distances: a second matrix of this size would double the memory."""
        distances = np.subtract(1, similarities, out=similarities)
        # Rounding makes the distance of a row to its double negative; no distance is.
        return np.clip(distances, 0, 1 if self.clipped else None, out=distances)


def distinct_rows(embeddings: Float[np.ndarray, "n d"], enough: int) -> int:
    """Return how many rows differ from each other, counting no further than `enough`.

    Example:
        >>> distinct_rows(np.array([[1.0, 0.0], [1.0, -0.0], [0.0, 1.0]]), enough=10)
        2
    """
    seen: set[bytes] = set()
    for row in embeddings:
        seen.add((row + 0.0).tobytes())  # adding makes one zero of both signs
        if len(seen) >= enough:
            break
    return len(seen)
