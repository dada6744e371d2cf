"""Flat JSON lists of published programs in place of models, and such lists of what was found here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_cli.judging import Judged

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark


def read_lists(
    pairs: Sequence[tuple[Path, Path]], annotations: Path | None, benchmark: "Benchmark", sets: str
) -> Judged:
    """Read predictions and rationales about one test set; lists that do not fit its images are refused.

    Args:
        pairs: files of predictions and of rationales; a model is called by the first.
        annotations: file of labels, compared with those of the data.
        benchmark: the data, in record order.
        sets: name of one test set; `all`, the default of the command, stands for the ID test set.

    Raises:
        CallError: if several test sets are named, or two files of predictions are called alike.
    """
    from vlm_data.errors import CallError
    from vlm_data.table_facts import set_facts
    from vlm_data.tables.published_lists import read_published_rationales
    from vlm_explain.rationale.sets import named_set

    evaluation = named_set(benchmark, "id" if sets == "all" else sets)
    names = [predictions.stem for predictions, _ in pairs]
    if len(set(names)) < len(names):
        raise CallError(
            f"two lists of predictions are called alike ({', '.join(names)}), and models go by these names. Expected "
            "different file names; rename one."
        )
    classes = len(benchmark.names_of(evaluation.classes))
    tables = {
        name: [
            read_published_rationales(
                evaluation.dataset, *pair, annotations, classes=classes, meta={"model": name, **set_facts(evaluation)}
            )
        ]
        for name, pair in zip(names, pairs, strict=True)
    }
    return Judged(tables, benchmark.class_names)


def write_lists(folder: Path, judged: Judged) -> list[Path]:
    """Write `MODEL-on-DATA.predictions.json`, `.rationales.json` and `ANNO_DATA.json` for every table.

    Images without evidence are left out of all of them, as published lists do.
    """
    from vlm_data.table_facts import file_stem
    from vlm_data.tables.published_lists import in_order, write_published_rationales

    written: list[Path] = []
    for spec, tables in judged.tables.items():
        for table in tables:
            data = file_stem(table.meta["data"])
            stem = f"{file_stem(spec)}-on-{data}"
            paths = [
                folder / name for name in (f"{stem}.predictions.json", f"{stem}.rationales.json", f"ANNO_{data}.json")
            ]
            known = [name for name, yes in zip(table.ids, table.known, strict=True) if yes]
            write_published_rationales(in_order(table, known), *paths)
            written += paths
    return list(dict.fromkeys(written))
