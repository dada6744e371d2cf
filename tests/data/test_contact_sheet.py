import numpy as np
import pytest
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark, Shift
from vlm_data.contact_sheet import contact_sheet, write_contact_sheet
from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError, UnreadableImageError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _plain(name, split, colours, ids, labels):
    images = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])
    return ArrayDataset(name, split, tuple(ids), np.array(labels), images)


def _row_colours(sheet, row, columns):
    """Colours in the middle of the tiles of one row, read from the right: the width of the names does not matter."""
    step = 68
    return [
        sheet.getpixel((sheet.width - step * (columns - column) + 32, 4 + row * step + 32)) for column in range(columns)
    ]


def _benchmark():
    test = _plain("made", "test", [RED, RED, GREEN, BLUE], "abcd", [0, 0, 1, 2])
    shift = _plain("made/dark", "test", [BLUE, GREEN, RED, RED], "dcba", [2, 1, 0, 0])
    return Benchmark("made", ("r", "g", "b"), ("{c}",), test, test, test, (Shift("dark", "natural", (shift,)),))


def test_columns_take_the_classes_in_turn():
    assert _row_colours(contact_sheet(_benchmark(), columns=4), 0, 4) == [RED, GREEN, BLUE, RED]


def test_a_shift_shows_the_images_of_the_test_row_whatever_its_order():
    sheet = contact_sheet(_benchmark(), columns=4)
    assert _row_colours(sheet, 3, 4) == _row_colours(sheet, 2, 4) == [RED, GREEN, BLUE, RED]


def test_a_small_set_leaves_the_rest_of_its_row_empty():
    sheet = contact_sheet(_benchmark(), columns=6)
    paper = _row_colours(sheet, 0, 6)[-1]
    assert paper not in (RED, GREEN, BLUE) and _row_colours(sheet, 0, 6)[4] == paper


def test_images_keep_their_shape(image_tree):
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]
    folder = image_tree(names)
    for name in names:
        Image.new("RGB", (200, 50), RED).save(folder / name)
    sheet = contact_sheet(load_benchmark(f"folder:{folder}"), columns=1)
    middle, above = (sheet.getpixel((sheet.width - 36, 4 + y)) for y in (32, 10))
    assert middle == RED and above != RED


def test_an_image_that_cannot_be_decoded_is_named(image_tree, tmp_path):
    names = [f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(4)]
    folder = image_tree(names)
    (folder / "cat/0.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"cat/0\.jpg"):
        write_contact_sheet(load_benchmark(f"folder:{folder}"), tmp_path / "sheet.png")
    assert not list(tmp_path.glob("*.png"))


def test_what_is_written_is_a_png_and_says_so(tmp_path):
    with Image.open(write_contact_sheet(_benchmark(), tmp_path / "sheet.png")) as sheet:
        assert sheet.format == "PNG"
    with pytest.raises(CallError, match=r"sheet\.jpg does not end in \.png"):
        write_contact_sheet(_benchmark(), tmp_path / "sheet.jpg")
    with pytest.raises(CallError, match="expected at least 1"):
        contact_sheet(_benchmark(), columns=0)
