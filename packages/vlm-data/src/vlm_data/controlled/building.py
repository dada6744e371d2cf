"""Controlled settings of quadrant canvases, from the name of a source to folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from vlm_data.controlled.grid import Grid
from vlm_data.controlled.plans import plan_canvases
from vlm_data.progress import Progress, silent

PathLike = str | os.PathLike[str]


def build_settings(
    source: str,
    out: PathLike,
    *,
    root: PathLike | None = None,
    feature: str = "red rectangle",
    values: Sequence[float] = (0.95,),
    classes: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    n: int = 4000,
    val: int = 1000,
    test: int = 1000,
    canvas: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Build every setting of a grid: each class in turn tied to the feature, at each strength, by each seed.

    An image is a canvas of four quadrants with an object in one and, in half of the pool, the feature in another
    (RaVL, NeurIPS 2024, appendix). Training canvases are chosen so that class and feature have the wanted Cramer's V;
    in validation and test the feature is in half of the canvases of every class. Objects are split before canvases are
    made, so none is in two splits.

    Args:
        source: `digits`, `mnist` or `fashion-mnist`.
        out: folder of the settings; one with settings of the same images gets these beside them.
        root: folder that the files of a source lie below.
        feature: colour and shape, for example `blue disc`.
        values: of Cramer's V, from 0 to 1.
        classes: names of the classes that the feature is tied to; empty: all, one after the other.
        seeds: of the choice of training canvases.
        n: training images of a setting.
        val: validation images.
        test: test images.
        canvas: side of a canvas in pixels; None: 32 for digits, 56 for MNIST and FashionMNIST.
        overwrite: replace what is there.
        progress: called after each picture and setting.

    Returns:
        The folder of each setting, `OUT/SOURCE-CLASS-vV-sSEED`.

    Raises:
        CallError: for a name, number or size that cannot be, or a setting that is there already.
        DataLayoutError: if the files of the source are missing or damaged.

    Example:
        >>> import tempfile
        >>> out = tempfile.mkdtemp()
        >>> [path.name for path in build_settings("digits", out, classes=["nine"], n=40, val=20, test=20)]
        ['digits-nine-v0.95-s0']
    """
    grid = Grid(tuple(values), tuple(classes), tuple(seeds), n, val, test)
    plan = plan_canvases(source, Path(root) if root else None, feature, grid, canvas, progress)
    return [Path(one["setting"]) for one in plan.write(out, overwrite=overwrite, progress=progress)]
