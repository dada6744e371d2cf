"""Regions: parts of images, what a model made of them, and what is known or was found out about them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Float64, Int64

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import VlmDataError
from vlm_data.tables.parquet import read_table, write_table

NO_CLUSTER = -1
"""The cluster of a region that is in none."""

_SCHEMA_VERSION = "1"
_CORNERS = ("x1", "y1", "x2", "y2")
_UNIT = 1e-2  # of half precision, rows come out that far from length one
_DTYPES = {"boxes": np.float64, "embeddings": np.float32, "logits": np.float32}
_DTYPES |= {"labels": np.int64, "spurious": np.bool_, "clusters": np.int64}


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """Parts of the images of one data set, one row each, in any order; an image may have none.

    What is not known is left out: a table of a data set's own boxes has no embeddings, one of proposals no `spurious`.

    Attributes:
        image_ids: k sample ids, of the image that each region lies in.
        boxes: (k, 4) x1, y1, x2, y2 in pixels of the image as the data set gives it; x2 and y2 are exclusive.
        embeddings: (k, d) rows of length one, or None.
        logits: (k, c) scores of the head before the softmax, or None.
        labels: (k,) index of the class that the region itself shows, `UNLABELLED` where it shows none, or None.
        contents: k words for what the regions show (`nine`, `rectangle`, `empty`), "" where unknown; or empty.
        spurious: (k,) does the region hold the planted or the discovered feature, or None.
        clusters: (k,) id of the cluster, `NO_CLUSTER` where it is in none, or None.
        meta: strings that say where the table comes from: data, fingerprint, proposer, pooling, hash of the weights.

    Example:
        >>> regions = Regions(("a", "b", "a"), np.array([[0, 0, 8, 8], [0, 0, 8, 8], [8, 0, 16, 8]]),
        ...                   contents=("nine", "empty", "rectangle"), spurious=np.array([False, False, True]))
        >>> regions.rows_of(["b", "a"]).tolist(), regions.select([2]).contents
        ([1, 0, 1], ('rectangle',))
    """

    image_ids: tuple[str, ...]
    boxes: Float64[np.ndarray, "k 4"]
    embeddings: Float32[np.ndarray, "k d"] | None = None
    logits: Float32[np.ndarray, "k c"] | None = None
    labels: Int64[np.ndarray, " k"] | None = None
    contents: tuple[str, ...] = ()
    spurious: Bool[np.ndarray, " k"] | None = None
    clusters: Int64[np.ndarray, " k"] | None = None
    meta: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _cast(name, np.asarray(values), dtype))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        k = len(self.image_ids)
        expected = {"boxes": (k, 4), "embeddings": (k, "d"), "logits": (k, "c")}
        for name in _DTYPES:
            values, shape = getattr(self, name), expected.get(name, (k,))
            if values is not None and not _fits(values.shape, shape):
                raise VlmDataError(
                    f"{name} of {k} regions have the shape {values.shape}; expected {str(shape).replace(chr(39), '')}."
                )
        if len(self.contents) not in (0, k):
            raise VlmDataError(f"{k} regions have {len(self.contents)} contents; expected one each, or none at all.")

    def _check_values(self) -> None:
        x1, y1, x2, y2 = self.boxes.T
        whole = np.isfinite(self.boxes).all(axis=1) & (x1 < x2) & (y1 < y2)
        self._require(whole, "boxes", "x1 < x2 and y1 < y2, in pixels")
        if self.embeddings is not None:
            # Without a temporary array of the size of the embeddings; not finite where an entry is not.
            lengths = np.sqrt(np.einsum("kd,kd->k", self.embeddings, self.embeddings))
            expected = "numbers that are finite and a vector of length one; leave out regions the model does not see"
            self._require(np.abs(lengths - 1) < _UNIT, "embeddings", expected)
        if self.logits is not None:
            self._require(np.isfinite(self.logits).all(axis=-1), "logits", "numbers that are finite")
        if self.labels is not None:
            self._require(self.labels >= UNLABELLED, "labels", f"the index of a class, or {UNLABELLED} for none")
        if self.clusters is not None:
            self._require(self.clusters >= NO_CLUSTER, "clusters", f"the id of a cluster, or {NO_CLUSTER} for none")

    def _require(self, right: Bool[np.ndarray, " k"] | np.bool_, name: str, expected: str) -> None:
        wrong = np.flatnonzero(np.logical_not(right))
        if len(wrong):
            first = int(wrong[0])
            shown = np.array2string(np.asarray(getattr(self, name)[first]), threshold=6, edgeitems=2)
            raise VlmDataError(
                f"{name} of region {first} (image {self.image_ids[first]!r}) are {shown}; expected {expected}. "
                f"{len(wrong)} of {len(self)} regions are wrong."
            )

    def __len__(self) -> int:
        return len(self.image_ids)

    def rows_of(self, ids: Sequence[str]) -> Int64[np.ndarray, " k"]:
        """Return for each region the position of its image in `ids`, -1 where it is not among them."""
        position = {name: row for row, name in enumerate(ids)}
        return np.fromiter((position.get(name, -1) for name in self.image_ids), np.int64, len(self))

    def select(self, rows: Sequence[int] | np.ndarray) -> "Regions":
        """Return these regions in this order; a mask of k booleans chooses the regions where it is true."""
        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        columns = {name: getattr(self, name) for name in _DTYPES}
        return self.replace(
            image_ids=tuple(self.image_ids[row] for row in chosen),
            contents=tuple(self.contents[row] for row in chosen) if self.contents else (),
            **{name: values[chosen] for name, values in columns.items() if values is not None},
        )

    def replace(self, **changes: Any) -> "Regions":
        """Return the table with other columns, by the names of the attributes."""
        return dataclasses.replace(self, **changes)

    def save(self, path: str | os.PathLike[str]) -> "Regions":
        """Write a parquet file atomically and return the table; equal tables give equal bytes."""
        columns: dict[str, pa.Array] = {"image_id": pa.array(self.image_ids, pa.string())}
        columns |= {name: pa.array(self.boxes[:, i], pa.float64()) for i, name in enumerate(_CORNERS)}
        for name, values in (("embedding", self.embeddings), ("logits", self.logits)):
            if values is not None:
                flat = pa.array(values.reshape(-1), pa.float32())
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        if self.labels is not None:
            columns["label"] = pa.array(self.labels, pa.int32())
        if self.contents:
            columns["content"] = pa.array(self.contents, pa.string())
        if self.spurious is not None:
            columns["spurious"] = pa.array(self.spurious, pa.bool_())
        if self.clusters is not None:
            columns["cluster"] = pa.array(self.clusters, pa.int32())
        write_table(path, "regions", _SCHEMA_VERSION, columns, self.meta)
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Regions":
        """Read a table written by `save`.

        Raises:
            VlmDataError: if the file is missing, damaged, not parquet or not a table of regions.
        """
        return read_table(path, "regions", _SCHEMA_VERSION, cls._of_columns)

    @classmethod
    def _of_columns(cls, table: pa.Table, meta: dict[str, str]) -> "Regions":
        def rows(name: str) -> np.ndarray | None:
            if name not in table.column_names:
                return None
            column = table[name].combine_chunks()
            return column.flatten().to_numpy().reshape(len(table), column.type.list_size)

        def values(name: str) -> np.ndarray | None:
            return table[name].to_numpy() if name in table.column_names else None

        return cls(
            tuple(table["image_id"].cast(pa.string()).to_pylist()),
            np.stack([table[corner].to_numpy() for corner in _CORNERS], axis=1),
            rows("embedding"),
            rows("logits"),
            values("label"),
            tuple(table["content"].cast(pa.string()).to_pylist()) if "content" in table.column_names else (),
            values("spurious"),
            values("cluster"),
            meta,
        )


def _cast(name: str, values: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    if values.size and not np.can_cast(values.dtype, dtype, "same_kind"):  # of floats, a cast would drop NaN silently
        raise VlmDataError(f"{name} of regions hold {values.dtype}; expected {np.dtype(dtype)}.")
    return values.astype(dtype, copy=False)


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    """Return whether a shape is the expected one; a letter stands for any number from one on."""
    return len(shape) == len(expected) and all(
        a == b or (isinstance(b, str) and a > 0) for a, b in zip(shape, expected, strict=True)
    )
