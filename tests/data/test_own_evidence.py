"""Masks and boxes beside somebody's own images, and evidence that a table names."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specimens.own_evidence import BOX, NAMES, SIZE, coco, known, mask_of, rectangle, write_mask
from vlm_data import load_benchmark
from vlm_data.errors import DataLayoutError, VlmDataError

Tree = Callable[[Iterable[str]], Path]


@pytest.fixture
def folder(image_tree: Tree) -> Path:
    """Two classes in three splits, two images of 12 x 10 pixels each."""
    return image_tree(NAMES)


class TestMaskFolder:
    @pytest.mark.parametrize("white", [255, 1, 200])
    def test_masks_mirror_the_images(self, folder: Path, white: int):
        write_mask(folder / "evidence/test/cat/1.png", rectangle(2, 3, 7, 9), white)
        mask = mask_of(folder, "test/cat/1.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))
        assert known(load_benchmark(f"folder:{folder}").test) == ["test/cat/1.png"]

    def test_without_split_folders_it_is_no_class(self, image_tree: Tree):
        folder = image_tree(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(5))
        write_mask(folder / "evidence/dog/4.png", rectangle(0, 0, 3, 3))
        assert load_benchmark(f"folder:{folder}").class_names == ("cat", "dog")
        assert mask_of(folder, "dog/4.png") is not None

    def test_a_class_may_be_called_evidence(self, image_tree: Tree):
        folder = image_tree(f"{kind}/{i}.png" for kind in ("cat", "evidence") for i in range(5))
        assert load_benchmark(f"folder:{folder}").class_names == ("cat", "evidence")
        assert mask_of(folder, "cat/0.png") is None

    def test_colours_are_evidence_and_black_is_not(self, folder: Path):
        path = folder / "evidence/test/cat/0.png"
        path.parent.mkdir(parents=True)
        picture = Image.new("RGB", SIZE)
        picture.paste((0, 40, 0), (2, 3, 7, 9))
        for image in (picture, picture.quantize(4)):
            image.save(path)
            mask = mask_of(folder, "test/cat/0.png")
            assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))

    def test_sixteen_bits(self, folder: Path):
        path = folder / "evidence/test/cat/0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(rectangle(2, 3, 7, 9).astype(np.uint16) * np.uint16(65535)).save(path)
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("test/cat/7.png", "holds masks of no image: 'test/cat/7.png'. Expected one mask for an image"),
            ("cat/0.png", "holds masks of no image: 'cat/0.png'"),
            ("test/cat/0.jpg", "holds no PNG files: 'test/cat/0.jpg'"),
        ],
    )
    def test_files_that_belong_to_no_image(self, folder: Path, name: str, message: str):
        write_mask(folder / "evidence" / name, rectangle(0, 0, 3, 3))
        with pytest.raises(DataLayoutError, match=message):
            load_benchmark(f"folder:{folder}")

    def test_one_mask_for_two_images(self, image_tree: Tree):
        folder = image_tree([*NAMES, "test/cat/0.bmp"])
        write_mask(folder / "evidence/test/cat/0.png", rectangle(0, 0, 3, 3))
        with pytest.raises(DataLayoutError, match=r"holds masks of several images: 'test/cat/0\.png'"):
            load_benchmark(f"folder:{folder}")

    def test_no_masks(self, folder: Path):
        (folder / "evidence/test").mkdir(parents=True)
        with pytest.raises(DataLayoutError, match=r"evidence holds no masks. Expected train/cat/0\.png for"):
            load_benchmark(f"folder:{folder}")

    def test_another_size_than_the_image(self, folder: Path):
        write_mask(folder / "evidence/test/cat/0.png", np.ones((12, 10), dtype=bool))
        with pytest.raises(VlmDataError, match="has 10 x 12 pixels, its image 12 x 10"):
            mask_of(folder, "test/cat/0.png")

    def test_levels_that_are_numbers_of_classes(self, folder: Path):
        write_mask(folder / "evidence/test/cat/0.png", rectangle(0, 0, 3, 3), 7)
        with pytest.raises(DataLayoutError, match="has grey levels up to 7; expected 0 and 255"):
            mask_of(folder, "test/cat/0.png")

    def test_a_black_mask_is_an_empty_one(self, folder: Path):
        write_mask(folder / "evidence/test/cat/0.png", rectangle(0, 0, 0, 0))
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and not mask.any()

    def test_broken_and_transparent_masks(self, folder: Path):
        path = folder / "evidence/test/cat/0.png"
        write_mask(path, rectangle(0, 0, 3, 3))
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(DataLayoutError, match=r"cannot read the mask .*0\.png"):
            mask_of(folder, "test/cat/0.png")
        Image.new("RGBA", SIZE).save(path)
        with pytest.raises(DataLayoutError, match="it has transparency"):
            mask_of(folder, "test/cat/0.png")

    def test_two_kinds_of_evidence(self, folder: Path):
        write_mask(folder / "evidence/test/cat/0.png", rectangle(0, 0, 3, 3))
        (folder / "evidence.csv").write_text("image,x1,y1,x2,y2\n")
        with pytest.raises(DataLayoutError, match=r"has evidence\.csv and evidence. Expected one of them"):
            load_benchmark(f"folder:{folder}")


class TestBoxes:
    def test_boxes_of_the_class_of_the_image(self, folder: Path):
        rows = ["2,3,7,9,cat", "8,1,10,3,CAT", "0,0,1,1,great_dane", "0,0,1,1,"]
        lines = [f"test/cat/0.png,{row}" for row in rows]
        (folder / "evidence.csv").write_text("image,x1,y1,x2,y2,class\n" + "\n".join(lines) + "\n\n")
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9) | rectangle(8, 1, 10, 3))
        assert mask_of(folder, "test/cat/1.png") is None

    def test_without_classes_every_box_counts_and_fractions_touch_pixels(self, folder: Path):
        (folder / "evidence.csv").write_bytes(
            b"\xef\xbb\xbfY2;X2;Y1;X1;Image;by\r\n8.1;6.5;3.9;2;test\\cat\\0.png;me\r\n0,5;1;0;0;test/cat/1.png;me\r\n"
        )
        with pytest.raises(DataLayoutError, match="broken row 2: could not convert string to float: '0,5'"):
            load_benchmark(f"folder:{folder}")
        path = folder / "evidence.csv"
        path.write_bytes(path.read_bytes().replace(b"0,5", b"0.5"))
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))

    def test_a_box_of_the_whole_image(self, folder: Path):
        (folder / "evidence.csv").write_text("image,x1,y1,x2,y2\ntest/cat/0.png,0,0,12,10\n")
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and mask.all()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has not exactly one column 'image', 'x1'"),
            ("image,x1,y1,x2\n", "has not exactly one column 'y2'; it has 'image', 'x1', 'y1', 'x2'"),
            ("image,x1,y1,x2,y2,x1\n", "has not exactly one column 'x1'"),
            ("image,x1,y1,x2,y2\n", "has no rows, so it is evidence for no image"),
            ("image,x1,y1,x2,y2\na.png,1,2,3\n", "has 4 cells in row 1, its header 5"),
            ("image,x1,y1,x2,y2\n,1,2,3,4\n", "broken row 1: the image is not named"),
            ("image,x1,y1,x2,y2\na.png,1,2,nan,4\n", "broken row 1: the box 1, 2, nan, 4 has no area"),
            ("image,x1,y1,x2,y2\na.png,3,2,1,4\n", "broken row 1: the box 3, 2, 1, 4 has no area"),
            ('image,x1,y1,x2,y2\n"a.png,1,2,3,4\n', "cannot be read"),
            ("image,x1,y1,x2,y2\ntest/cat/9.png,1,2,3,4\n", "names 1 images that are not in the data set"),
            ("image,x1,y1,x2,y2\ntest/cat/0.png,1,2,3,4\n./test/cat/0.png,1,2,3,4\n", "two names for one image"),
        ],
    )
    def test_what_is_wrong_is_said(self, folder: Path, text: str, message: str):
        (folder / "evidence.csv").write_text(text)
        with pytest.raises(DataLayoutError, match=message) as caught:
            load_benchmark(f"folder:{folder}")
        assert "evidence.csv" in str(caught.value)


class TestTables:
    def table(self, folder: Path, masks: Iterable[str] = ()) -> Path:
        columns = [NAMES, [name.split("/")[1] for name in NAMES], [name.split("/")[0] for name in NAMES]]
        header = ["image", "label", "split"]
        if masks:
            columns, header = [*columns, list(masks)], [*header, "mask"]
        lines = [",".join(cells) for cells in (header, *zip(*columns, strict=True))]
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        return folder / "table.csv"

    def test_a_column_of_masks(self, folder: Path):
        masks = ["evidence/one.png" if name == "test/cat/0.png" else "" for name in NAMES]
        write_mask(folder / "evidence/one.png", rectangle(2, 3, 7, 9))
        table = self.table(folder, masks)
        mask = mask_of(table, "test/cat/0.png", "csv:")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))
        assert known(load_benchmark(f"csv:{table}").test) == ["test/cat/0.png"]
        (folder / "evidence.csv").write_text("image,x1,y1,x2,y2\ntest/cat/0.png,1,2,3,4\n")
        with pytest.raises(DataLayoutError, match=r"has a column of masks, and evidence\.csv beside it"):
            load_benchmark(f"csv:{table}")

    def test_masks_that_are_not_there(self, folder: Path):
        table = self.table(folder, ["masks/one.png"] * len(NAMES))
        with pytest.raises(DataLayoutError, match=r"12 of the 12 masks in .* do not exist"):
            load_benchmark(f"csv:{table}")

    def test_an_empty_column_is_no_evidence(self, folder: Path):
        table = self.table(folder, [""] * len(NAMES))
        assert known(load_benchmark(f"csv:{table}").test) == []

    def test_what_lies_beside_the_table(self, folder: Path):
        table = self.table(folder)
        (folder / "evidence.json").write_text(coco(BOX))
        assert known(load_benchmark(f"csv:{table}").test) == ["test/cat/0.png"]

    def test_json_lines_and_parquet(self, folder: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"image": name, "label": name.split("/")[1], "split": name.split("/")[0]} for name in NAMES]
        for row in rows:
            row["evidence"] = "one.png" if row["image"] == "test/cat/0.png" else None  # type: ignore[assignment]
        write_mask(folder / "one.png", rectangle(2, 3, 7, 9))
        (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
        pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
        for spec in ("jsonl", "parquet"):
            assert known(load_benchmark(f"{spec}:{folder}/table.{spec}").test) == ["test/cat/0.png"]

    def test_a_table_may_be_called_as_the_boxes_are(self, folder: Path):
        table = self.table(folder).rename(folder / "evidence.csv")
        assert known(load_benchmark(f"csv:{table}").test) == []
