"""Predictions: for every sample, what one model answered."""

import dataclasses
import os
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Float64, Int64

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import VlmDataError
from vlm_data.tables.parquet import read_table, write_table

_SCHEMA_VERSION = "1"
_GROUP = "group:"  # begins the name of a column that tells one attribute of the images


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What one model answered on one data set; every metric is computed from this table and from nothing else.

    Attributes:
        ids: n sample ids.
        labels: (n,) index of the true class, `UNLABELLED` where unknown.
        logits: (n, c) float32, the scores before the softmax.
        meta: strings that say where the table comes from: model, data, split, alpha, hashes of class names,
            templates, preprocessing and weights.
        groups: for each attribute that images have besides their class (`region`, `year`), n values.

    Example:
        >>> import tempfile
        >>> table = Predictions(("a", "b"), np.array([0, 1]), np.array([[2, 0], [1, 0]], dtype=np.float32))
        >>> table.save(tempfile.mkdtemp() + "/p.parquet").accuracy
        0.5
    """

    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    logits: Float32[np.ndarray, "n c"]
    meta: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.labels) == len(self.logits):
            raise VlmDataError(
                f"predictions do not fit together: {len(self.ids)} ids, {len(self.labels)} labels, "
                f"{len(self.logits)} rows of logits; expected one of each per sample."
            )
        if any(len(values) != len(self.ids) for values in self.groups.values()):
            sizes = {name: len(values) for name, values in self.groups.items()}
            raise VlmDataError(f"predictions of {len(self.ids)} samples have groups of {sizes}; expected one each.")
        if len(set(self.ids)) != len(self.ids):
            raise VlmDataError("predictions contain a sample id twice; every sample must be counted once.")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def probabilities(self) -> Float64[np.ndarray, "n c"]:
        """Softmax of the logits, in float64."""
        shifted = self.logits.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        weights = np.exp(shifted)
        return weights / weights.sum(axis=1, keepdims=True)

    @property
    def predicted(self) -> Int64[np.ndarray, " n"]:
        """Index of the largest logit; the lowest index wins a tie."""
        return self.logits.argmax(axis=1)

    @property
    def confidences(self) -> Float64[np.ndarray, " n"]:
        """Largest probability of each sample."""
        return self.probabilities.max(axis=1)

    @property
    def labelled(self) -> np.ndarray:
        """(n,) bool: is the true class known."""
        return self.labels != UNLABELLED

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool: is the predicted class the label."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of samples whose predicted class is the label, in [0, 1]."""
        return float(self.correct.mean())

    def save(self, path: str | os.PathLike[str]) -> "Predictions":
        """Write a parquet file atomically and return the table; equal tables give equal bytes."""
        flat = pa.array(self.logits.reshape(-1), pa.float32())
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "label": pa.array(self.labels, pa.int32()),
            "prediction": pa.array(self.predicted, pa.int32()),
            "confidence": pa.array(self.confidences.astype(np.float32), pa.float32()),
            "logits": pa.FixedSizeListArray.from_arrays(flat, self.logits.shape[1]),
        }
        columns |= {_GROUP + name: pa.array(values, pa.string()) for name, values in sorted(self.groups.items())}
        write_table(path, "predictions", _SCHEMA_VERSION, columns, self.meta)
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Predictions":
        """Read a table written by `save`.

        Raises:
            VlmDataError: if the file is missing, damaged, not parquet or not a table of predictions.
        """
        return read_table(path, "predictions", _SCHEMA_VERSION, cls._of_columns)

    @classmethod
    def _of_columns(cls, table: pa.Table, meta: dict[str, str]) -> "Predictions":
        logits = table["logits"].combine_chunks()
        return cls(
            tuple(table["id"].to_pylist()),
            table["label"].to_numpy().astype(np.int64),
            logits.flatten().to_numpy().reshape(len(table), logits.type.list_size),
            meta,
            {
                column.removeprefix(_GROUP): tuple(table[column].to_pylist())
                for column in table.column_names
                if column.startswith(_GROUP)
            },
        )
