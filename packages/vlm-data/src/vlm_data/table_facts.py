"""What a table says about where it comes from: its file name, the facts it keeps, and whether it is the one wanted."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Protocol, Self, TypeVar

from vlm_data.benchmark import ClassSources, EvaluationSet
from vlm_data.errors import VlmDataError
from vlm_data.files import text_hash


class Table(Protocol):
    """A table on disk that says where it comes from."""

    @property
    def meta(self) -> Mapping[str, str]: ...  # noqa: D102  (strings, see `vlm_data.tables`)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it; VlmDataError if it is damaged."""
        ...


AnyTable = TypeVar("AnyTable", bound=Table)


def file_stem(data: str) -> str:
    """Return the name of a data set as part of a file name.

    Example:
        >>> file_stem("digits/noise-3"), file_stem("folder:my pets")
        ('digits-noise-3', 'folder-my-pets')
    """
    return "".join(c if c.isalnum() or c in "._" else "-" for c in data).strip("-")


def table_name(meta: Mapping[str, str]) -> str:
    """Return the file name of a table: data set, split and, if the model is an interpolated one, its alpha.

    Example:
        >>> table_name({"data": "digits/noise-3", "split": "test", "alpha": "0.5"})
        'digits-noise-3.test.alpha-0.50.parquet'
        >>> table_name({"data": "digits", "split": "val"})
        'digits.val.parquet'
    """
    stem = f"{file_stem(meta['data'])}.{meta['split']}"
    if "alpha" not in meta:
        return f"{stem}.parquet"
    alpha = float(meta["alpha"])
    digits = f"{alpha:.2f}" if round(alpha, 2) == alpha else repr(alpha)
    return f"{stem}.alpha-{digits}.parquet"


def class_facts(classes: ClassSources) -> dict[str, str]:
    """Return what a table keeps about classes of its own: their hash, nothing where it has none.

    Example:
        >>> class_facts(()), list(class_facts(((0,), (1, 2))))
        ({}, ['classes_hash'])
    """
    return {"classes_hash": text_hash(*map(repr, classes))} if classes else {}


def set_facts(evaluation: EvaluationSet) -> dict[str, str]:
    """Return what a table keeps about the data set it was computed on."""
    quoted = {"metrics": " ".join(evaluation.metrics)} if evaluation.metrics else {}
    return {
        "data": evaluation.data,
        "split": evaluation.dataset.split,
        "role": evaluation.role,
        "shift": evaluation.shift,
        "group": evaluation.group,
        "severity": str(evaluation.severity),
        "data_hash": evaluation.dataset.fingerprint,
        **class_facts(evaluation.classes),
        **quoted,
    }


def load_matching(
    kind: type[AnyTable], path: Path | None, facts: Mapping[str, str], *, ignoring: Container[str] = ()
) -> AnyTable | None:
    """Return the table at `path` if it is whole and says that the same model saw the same data, else None.

    Args:
        kind: the class of the table, for example `Predictions`.
        path: where it would be; None = nowhere.
        facts: what its `meta` has to say, all of it and nothing else.
        ignoring: names of facts that may differ.
    """
    if path is None or not path.exists():
        return None
    try:
        table = kind.load(path)
    except VlmDataError:
        return None  # damaged: it is computed and written again
    wanted, told = ({n: fact for n, fact in of.items() if n not in ignoring} for of in (facts, table.meta))
    return table if wanted == told else None
