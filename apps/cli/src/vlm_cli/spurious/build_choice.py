"""What settings `vlm spurious build` is asked for: its flags, and the library call that they stand for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vlm_cli import options
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.controlled.grid import Grid
    from vlm_data.controlled.photo_settings import PhotoFiles
    from vlm_data.controlled.plans import Plan

COCO, PLANT = "coco", "plant:"
_SIZES = {"n": 4000, "val": 1000, "test": 1000}
_ALL = 2**31
"""More images than a benchmark has."""
_COUNT = click.IntRange(1, 10_000_000)
"""A typing error of some digits should not fill the memory."""
_ONLY: dict[str, tuple[str, ...]] = {
    "canvas": ("",),
    "place": (PLANT,),
    "size": (PLANT,),
    **dict.fromkeys(("images", "instances", "captions"), (COCO,)),
    **dict.fromkeys(("val_images", "val_instances", "val_captions", "class_names"), (COCO,)),
    "seed": (COCO, PLANT),
    "skip_unreadable": (PLANT,),
}
"""The kinds of source that take notice of a flag; the others take all of them."""
_KINDS = {"": "canvases (digits, mnist, fashion-mnist)", COCO: COCO, PLANT: "plant:DATA"}


@dataclasses.dataclass(frozen=True)
class BuildChoice:
    """What the user said; None where nothing was said. The fields are called like the flags."""

    source: str
    feature: str | None
    spurious: tuple[str, ...]
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    n: int | None
    val: int | None
    test: int | None
    canvas: int | None
    place: str | None
    size: float | None
    images: Path | None
    instances: Path | None
    captions: Path | None
    val_images: Path | None
    val_instances: Path | None
    val_captions: Path | None
    class_names: tuple[str, ...]
    data_root: Path | None
    seed: int | None
    skip_unreadable: bool

    def plan(self, console: Console) -> "Plan":
        """Read what the settings are made of, and return what would be built.

        Raises:
            CallError: for flags that do not fit the source, and what the library refuses.
        """
        from vlm_data.controlled import plans

        self._check_source()
        kind = COCO if self.source == COCO else PLANT if self.source.startswith(PLANT) else ""
        self._refuse_others(kind)
        if kind == COCO:
            return plans.plan_photos(*self._photos(), self.class_names, self.feature or "", self._grid())
        if kind == PLANT:
            from vlm_data.controlled.features import Feature
            from vlm_data.controlled.planting import Plant

            given = {"place": self.place, "size": self.size}
            plant = Plant(
                Feature() if self.feature is None else Feature.of(self.feature),
                seed=self.seed or 0,
                **{key: value for key, value in given.items() if value is not None},
            )
            return plans.plan_planting(
                self.source.removeprefix(PLANT),
                self.data_root,
                plant,
                self._grid(dict.fromkeys(_SIZES, _ALL)),
                seed=self.seed or 0,
                skip_unreadable=self.skip_unreadable,
                progress=console.progress,
            )
        feature = "red rectangle" if self.feature is None else self.feature
        return plans.plan_canvases(self.source, self.data_root, feature, self._grid(), self.canvas, console.progress)

    def _check_source(self) -> None:
        from vlm_data.controlled.objects import SOURCES
        from vlm_data.errors import unknown_name

        known = [*SOURCES.names(), COCO]
        planted = self.source.startswith(PLANT) and self.source != PLANT
        if not planted and self.source not in known:
            hint = "Data of yours is written behind plant:, for example plant:folder:photos."
            raise unknown_name("source of controlled settings", self.source, known, hint)

    def _refuse_others(self, kind: str) -> None:
        from vlm_data.errors import CallError

        given = [name for name in _ONLY if getattr(self, name) not in (None, ()) and getattr(self, name) is not False]
        foreign = [name for name in given if kind not in _ONLY[name]]
        if foreign:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
            expected = " or ".join(_KINDS[whose] for whose in _ONLY[foreign[0]])
            raise CallError(
                f"{flags} with the source {self.source!r}; expected it with {expected}, the others take no notice of "
                "it. Leave it out, or name another source."
            )

    def _grid(self, sizes: dict[str, int] = _SIZES) -> "Grid":
        from vlm_data.controlled.grid import Grid

        chosen = {name: getattr(self, name) or size for name, size in sizes.items()}
        return Grid(self.values, self.spurious, self.seeds, data_seed=self.seed or 0, **chosen)

    def _photos(self) -> tuple["PhotoFiles", "PhotoFiles | None"]:
        from vlm_data.controlled.photo_settings import PhotoFiles
        from vlm_data.errors import CallError

        needed = {"--images": self.images, "--instances": self.instances, "--class-names": self.class_names}
        lacking = [flag for flag, value in (needed | {"--feature": self.feature}).items() if not value]
        if lacking or self.images is None or self.instances is None:
            raise CallError(
                f"the source coco lacks {', '.join(lacking)}. Expected the folder of the photographs, their file of "
                "instances, the categories to tell apart and the category that is the feature: --images train2017 "
                "--instances instances_train2017.json --class-names dog,cat --feature couch"
            )
        root = self.data_root or Path()
        captions = self.captions and root / self.captions
        training = PhotoFiles(root / self.images, root / self.instances, captions)
        if (self.val_images is None) != (self.val_instances is None) or (self.val_captions and not self.val_images):
            raise CallError(
                "photographs for evaluation need --val-images and --val-instances; one of them is not given. Name "
                "both, or none: then a part of the photographs is kept for evaluation."
            )
        if self.val_images is None or self.val_instances is None:
            return training, None
        captions = self.val_captions and root / self.val_captions
        return training, PhotoFiles(root / self.val_images, root / self.val_instances, captions)


def _listed(kind: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], tuple[Any, ...]]:
    """Return what reads values separated by commas."""

    def read(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[Any, ...]:
        parts = [part.strip() for part in (text or "").split(",") if part.strip()]
        if text is not None and not parts:  # an empty variable of a script is no wish for the default
            raise click.BadParameter(
                "an empty value was given. Name one at least, or leave the flag out.", param=parameter
            )
        try:
            return tuple(kind(part) for part in parts)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no list of numbers separated by commas.", param=parameter) from error

    return read


def _photo_option(flag: str, what: str) -> Callable[[options.Command], options.Command]:
    return click.option(flag, type=click.Path(path_type=Path), help=f"coco: {what}")


build_options = options.several(
    click.option("--feature", help="Colour and shape that is planted; of coco, a category.  [default: red rectangle]"),
    click.option(
        "--class",
        "spurious",
        callback=_listed(str),
        help="Classes that the feature goes with, one per setting, with commas between.  [default: each in turn]",
    ),
    click.option(
        "--v",
        "values",
        callback=_listed(float),
        default="0.95",
        show_default=True,
        help="Strengths of the tie, Cramer's V from 0 to 1, with commas between.",
    ),
    click.option(
        "--seeds",
        callback=_listed(int),
        default="0",
        show_default=True,
        help="Of the choice of training images, one per setting, with commas between.",
    ),
    click.option("--n", type=_COUNT, help="Training images, at most.  [default: 4000; plant: all]"),
    click.option("--val", type=_COUNT, help="Validation images.  [default: 1000; plant: all]"),
    click.option("--test", type=_COUNT, help="Test images.  [default: 1000; plant: all]"),
    click.option("--canvas", type=int, help="Side of a canvas in pixels.  [default: 32 of digits, 56 of the others]"),
    click.option("--place", help="plant: top-left, ..., bottom-right, centre or random.  [default: top-left]"),
    click.option("--size", type=float, help="plant: side, as a fraction of the shorter side.  [default: 0.25]"),
    click.option("--class-names", callback=_listed(str), help="coco: categories to tell apart, with commas between."),
    _photo_option("--images", "folder of the photographs."),
    _photo_option("--instances", "JSON file of boxes and categories."),
    _photo_option("--captions", "JSON file of captions.  [default: class names in templates]"),
    _photo_option("--val-images", "folder of photographs for evaluation.  [default: 30 % of --images]"),
    _photo_option("--val-instances", "JSON file of their boxes and categories."),
    _photo_option("--val-captions", "JSON file of their captions."),
    options.data_root_option,
    click.option("--seed", type=click.IntRange(min=0), help="coco, plant: of splits and random places.  [default: 0]"),
    options.skip_unreadable_option,
)
"""Flags that make a `BuildChoice`."""
