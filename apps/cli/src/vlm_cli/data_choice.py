"""Which data models are compared on: flags of the commands that read models, and the library call they stand for."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_cli import options
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """What the user said about the data; None where nothing was said."""

    name: str | None
    root: Path | None
    limit: int | None
    skip_unreadable: bool

    def load(self, specs: Iterable[str], console: Console) -> "Benchmark":
        """Load the data that was named, else that of the first run among the models, and tell what to know about it."""
        from vlm_finetune.finetuning import load_data_of

        benchmark = load_data_of(
            specs,
            name=self.name,
            root=self.root and str(self.root),
            limit=self.limit,
            skip_unreadable=self.skip_unreadable or None,
        )
        console.skipped(benchmark.skipped)
        console.notes(benchmark.notes)
        return benchmark


def data_choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of `options.data_options`, which reach the command as one `DataChoice` called `data`."""

    @functools.wraps(command)
    def with_choice(
        *, data: str | None, data_root: Path | None, limit: int | None, skip_unreadable: bool, **others: Any
    ) -> Any:
        return command(data=DataChoice(data, data_root, limit, skip_unreadable), **others)

    return options.data_options(with_choice)
