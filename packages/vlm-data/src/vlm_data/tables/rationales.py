"""Rationales: for every sample, whether a right or wrong answer rested on the evidence."""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import VlmDataError, listing
from vlm_data.tables.parquet import read_table, write_table

OK = "ok"
NO_EVIDENCE = "no-evidence"
"""Nothing is known about where the evidence of this image lies."""
EMPTY = "empty-evidence"
"""The evidence lies outside of what the model sees: mass 0, counted as not valid."""
FLAT = "flat-map"
"""The relevance map has no largest value, so nothing can be said about where relevance lies."""
STATUSES = (OK, NO_EVIDENCE, EMPTY, FLAT)

_SCHEMA_VERSION = "1"
_MEASURE = "measure:"  # begins the name of a column that holds one measure


@dataclasses.dataclass(frozen=True, eq=False)
class Rationales:
    """Where the relevance of one model lay on one data set, and whether that was the evidence.

    Attributes:
        ids: n sample ids.
        labels: (n,) index of the true class, `UNLABELLED` where unknown.
        predicted: (n,) index of the predicted class.
        measures: for each measure (`mass`, `area`, `pointing`, ...) n values, NaN where it is undefined.
        status: n of `STATUSES`.
        rational: (n,) does the relevance fall on the evidence; False wherever the status is not `ok`.
        meta: strings that say where the table comes from: what predictions have, and relevance options and rule.

    Example:
        >>> import tempfile
        >>> table = Rationales(("a", "b"), np.array([0, 1]), np.array([0, 0]), {"mass": np.array([0.8, np.nan])},
        ...                    ("ok", "no-evidence"), np.array([True, False]))
        >>> path = tempfile.mkdtemp() + "/r.parquet"
        >>> loaded = Rationales.load(path) if table.save(path) else table
        >>> loaded.correct.tolist(), loaded.known.tolist()
        ([True, False], [True, False])
    """

    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    predicted: Int64[np.ndarray, " n"]
    measures: Mapping[str, Float64[np.ndarray, " n"]]
    status: tuple[str, ...]
    rational: Bool[np.ndarray, " n"]
    meta: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {"labels": self.labels, "predicted": self.predicted, "status": self.status, "rational": self.rational}
        sizes = {name: len(values) for name, values in {**columns, **self.measures}.items()}
        if set(sizes.values()) != {len(self.ids)}:
            raise VlmDataError(f"rationales of {len(self.ids)} samples have columns of {sizes}; expected one each.")
        if len(set(self.ids)) != len(self.ids):
            raise VlmDataError("rationales contain a sample id twice; every sample must be counted once.")
        strange = sorted({word for word in self.status if word not in STATUSES})
        if strange:
            raise VlmDataError(f"rationales have the status {listing(strange)}; expected one of {listing(STATUSES)}.")
        if self.rational.dtype != np.bool_:
            raise VlmDataError(f"rational holds {self.rational.dtype}; expected True or False for every sample.")
        broken = [
            name for name, word, yes in zip(self.ids, self.status, self.rational, strict=True) if yes > (word == OK)
        ]
        if broken:
            raise VlmDataError(
                f"{len(broken)} rationales are rational without evidence or relevance: {listing(broken)}. "
                f"Expected rational only where the status is {OK!r}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ids)

    @property
    def labelled(self) -> Bool[np.ndarray, " n"]:
        """Is the true class known."""
        return self.labels != UNLABELLED

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Is the predicted class the label; False where the label is unknown."""
        return (self.predicted == self.labels) & self.labelled

    @property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Is there evidence for the image: the samples that PT and IR are about."""
        return np.array([word != NO_EVIDENCE for word in self.status], dtype=bool)

    def save(self, path: str | os.PathLike[str]) -> "Rationales":
        """Write a parquet file atomically and return the table; equal tables give equal bytes."""
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "label": pa.array(self.labels, pa.int32()),
            "prediction": pa.array(self.predicted, pa.int32()),
            "status": pa.array(self.status, pa.string()),
            "rational": pa.array(self.rational, pa.bool_()),
        }
        for name, values in sorted(self.measures.items()):
            columns[_MEASURE + name] = pa.array(values, pa.float64(), mask=np.isnan(values))  # undefined is null
        write_table(path, "rationales", _SCHEMA_VERSION, columns, self.meta)
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Rationales":
        """Read a table written by `save`.

        Raises:
            VlmDataError: if the file is missing, damaged, not parquet or not a table of rationales.
        """
        return read_table(path, "rationales", _SCHEMA_VERSION, cls._of_columns)

    @classmethod
    def _of_columns(cls, table: pa.Table, meta: dict[str, str]) -> "Rationales":
        return cls(
            tuple(table["id"].to_pylist()),
            table["label"].to_numpy().astype(np.int64),
            table["prediction"].to_numpy().astype(np.int64),
            {
                column.removeprefix(_MEASURE): table[column].to_numpy().astype(np.float64)
                for column in table.column_names
                if column.startswith(_MEASURE)
            },
            tuple(table["status"].to_pylist()),
            table["rational"].to_numpy().astype(bool),
            meta,
        )
