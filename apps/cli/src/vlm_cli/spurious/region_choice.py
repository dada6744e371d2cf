"""Which parts of images are looked at, and what a model sees in them: flags of the commands that need regions."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vlm_cli import options
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_data.dataset import ImageDataset
    from vlm_data.tables import Regions
    from vlm_models.classifier import Classifier

_GRID, _BOXES, _TABLE = "grid:2x2", "boxes", ".parquet"

_flags = options.several(
    click.option(
        "--regions",
        metavar="PROPOSER|FILE",
        help="Where to cut: grid:2x2, boxes, sliding:0.5,0.25, rpn:FILE.pt, or a table of regions (parquet).  "
        "[default: the boxes of the data if it has them, else grid:2x2]",
    ),
    click.option("--max-regions", type=click.IntRange(min=1), help="Keep at most N regions per image."),
    click.option(
        "--pooling",
        default="crop",
        show_default=True,
        help="How a region becomes a vector: crop, masked, attention, patch or roi.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images at a time."),
)


@dataclasses.dataclass(frozen=True)
class RegionChoice:
    """What the user said about regions.

    Attributes:
        source: a proposer, or the path of a table of regions; None = the boxes of the data, else a grid.
        most: regions of an image, None = all.
        pooling: how a region becomes a vector.
        batch_size: images at a time.
    """

    source: str | None
    most: int | None
    pooling: str
    batch_size: int

    def of(
        self, model: "Classifier", benchmark: "Benchmark", dataset: "ImageDataset", cache: Path, console: Console
    ) -> "Regions":
        """Return the regions of one data set of a benchmark, with what the model sees in them.

        Args:
            model: the classifier, on the device where it shall run.
            benchmark: may have boxes of its own.
            dataset: one of its splits.
            cache: folder for the vectors, which are not computed again.
            console: shows the progress.
        """
        from vlm_models.proposals import propose
        from vlm_models.region_tables import embed_regions

        table = self._table(benchmark)
        proposals = table and _of_images(table, dataset)
        if proposals is None:
            proposals = propose(self.source or _GRID, dataset, max_regions=self.most, progress=console.progress)
        return embed_regions(
            model,
            dataset,
            proposals,
            self.pooling,
            cache=cache,
            batch_size=self.batch_size,
            progress=console.progress,
        )

    def _table(self, benchmark: "Benchmark") -> Path | None:
        """Return the file with the regions, None where they are to be proposed."""
        if self.source and self.source.endswith(_TABLE):
            table: Path | None = Path(self.source.removeprefix(f"{_BOXES}:"))
        elif self.source in (None, _BOXES):
            table = benchmark.regions
        else:
            return None
        if self.source == _BOXES and table is None:
            raise click.UsageError(
                f"{benchmark.name} has no regions of its own; expected --regions grid:2x2 or a table."
            )
        if table and self.most:
            raise click.UsageError(f"the regions of {table} are taken as they are; leave out --max-regions.")
        return table


def _of_images(table: Path, dataset: "ImageDataset") -> "Regions":
    """Read the regions that lie in the images of a data set; a table may tell those of other splits, too.

    Raises:
        CallError: if there is none.
    """
    from vlm_data.errors import CallError
    from vlm_data.tables import Regions

    regions = Regions.load(table)
    known = regions.rows_of(dataset.ids) >= 0
    if not known.any():
        first = f", the first in {regions.image_ids[0]!r}" if len(regions) else ""
        raise CallError(
            f"none of the {len(regions)} regions of {table} lies in an image of {dataset.name} ({dataset.split})"
            f"{first}. Expected regions of these images; name the table that belongs to the data, or a proposer such "
            "as grid:2x2."
        )
    return regions.select(known)


def region_choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, which reach the command as one `RegionChoice` called `regions`."""

    @functools.wraps(command)
    def with_choice(
        *, regions: str | None, max_regions: int | None, pooling: str, batch_size: int, **others: Any
    ) -> Any:
        return command(regions=RegionChoice(regions, max_regions, pooling, batch_size), **others)

    return _flags(with_choice)
