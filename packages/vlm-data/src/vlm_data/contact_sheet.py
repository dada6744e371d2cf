"""Some images of every data set of a benchmark on one picture: a look before a number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import CallError
from vlm_data.files import replacing

_TILE, _GAP, _FONT_SIZE = 64, 4, 13
_PAPER, _INK = (228, 228, 228), (40, 40, 40)  # grey, so that images on black and on white both show their edge


def contact_sheet(benchmark: Benchmark, columns: int = 10) -> Image.Image:
    """Draw one row of images for each split and each member of a shift.

    The columns take the classes in turn. A shift whose images are versions of test images shows the same ones, so that
    a column is one image under every shift.

    Args:
        benchmark: what to look at.
        columns: images per row, at least 1.

    Raises:
        CallError: if `columns` is below 1.
        UnreadableImageError: names the file that cannot be decoded.

    Example:
        >>> from vlm_data import load_benchmark
        >>> contact_sheet(load_benchmark("digits", limit=40), columns=4).mode
        'RGB'
    """
    if columns < 1:
        raise CallError(f"a contact sheet of {columns} columns shows nothing; expected at least 1.")
    training = [(f"{benchmark.name} {data.split}", data) for data in (benchmark.train, benchmark.val)]
    tested = [(found.data + ("" if found.shift else " test"), found.dataset) for found in benchmark.evaluation_sets()]
    wanted = [benchmark.test.ids[row] for row in _one_of_each_class(benchmark.test, columns)]
    rows = [(name, data, _chosen(data, wanted, columns)) for name, data in (*training, *tested)]
    font = ImageFont.load_default(_FONT_SIZE)
    margin = round(max(font.getlength(name) for name, _ in (*training, *tested))) + 2 * _GAP
    step = _TILE + _GAP
    sheet = Image.new("RGB", (margin + columns * step, _GAP + len(rows) * step), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, (name, dataset, chosen) in enumerate(rows):
        top = _GAP + line * step
        draw.text((_GAP, top + _TILE // 2), name, fill=_INK, font=font, anchor="lm")
        for column, index in enumerate(chosen):
            sheet.paste(_tile(dataset.image(index)), (margin + column * step, top))
    return sheet


def write_contact_sheet(benchmark: Benchmark, path: str | Path, columns: int = 10) -> Path:
    """Write the contact sheet of a benchmark as a PNG file, atomically, and return its path.

    Raises:
        CallError: if the name does not end in `.png`.
        VlmError: if it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise CallError(f"{target} does not end in .png; a contact sheet is a PNG file. Write {target}.png.")
    sheet = contact_sheet(benchmark, columns)
    with replacing(target) as temporary:
        sheet.save(temporary, format="PNG")
    return target


def _one_of_each_class(dataset: ImageDataset, count: int) -> list[int]:
    """Return up to `count` positions: the first image of every class, then the second of every class, and so on."""
    labels = dataset.labels
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    turn = np.arange(len(order)) - starts
    turn[labels[order] == UNLABELLED] += 1  # after the first of every class
    return order[np.lexsort((labels[order], turn))][:count].tolist()


def _chosen(dataset: ImageDataset, wanted: Sequence[str], count: int) -> list[int]:
    position = {name: row for row, name in enumerate(dataset.ids)}
    same = [position[name] for name in wanted if name in position]
    return same if len(same) == len(wanted) else _one_of_each_class(dataset, count)


def _tile(image: Image.Image) -> Image.Image:
    """Fit an image into a square: small ones enlarged by whole pixels, large ones reduced, the shape kept."""
    scale = _TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    tile = Image.new("RGB", (_TILE, _TILE), _PAPER)
    resized = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    tile.paste(resized, ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    return tile
