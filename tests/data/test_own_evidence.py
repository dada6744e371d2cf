"""Masks, COCO files and boxes beside somebody's own images."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.dataset import ImageDataset
from vlm_data.description import describe
from vlm_data.errors import DataLayoutError, VlmDataError
from vlm_data.evidence.own import own_evidence
from vlm_data.evidence.run_lengths import decode_counts, runs_mask

Tree = Callable[[Iterable[str]], Path]
NAMES = [
    f"{split}/{kind}/{i}.png" for split in ("train", "val", "test") for kind in ("cat", "great_dane") for i in "01"
]
SIZE = (12, 10)


@pytest.fixture
def folder(image_tree: Tree) -> Path:
    """Two classes in three splits, two images of 12 x 10 pixels each."""
    return image_tree(NAMES)


def mask_of(folder: Path, sample_id: str, spec: str = "folder:") -> Bool[np.ndarray, "h w"] | None:
    benchmark = load_benchmark(f"{spec}{folder}")
    for dataset in (benchmark.train, benchmark.val, benchmark.test):
        if sample_id in dataset.ids:
            return dataset.evidence(dataset.ids.index(sample_id))
    raise AssertionError(f"{sample_id} is in no split")


def rectangle(x1: int, y1: int, x2: int, y2: int) -> Bool[np.ndarray, "h w"]:
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def write_mask(path: Path, mask: Bool[np.ndarray, "h w"], white: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(white)).save(path)


def known(dataset: ImageDataset) -> list[str]:
    return [name for row, name in enumerate(dataset.ids) if dataset.evidence(row) is not None]


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


def coco(*annotations: dict[str, Any], names: Iterable[str] = NAMES, **changes: Any) -> str:
    images = [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(names)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "Great Dane"}, {"id": 3, "name": "ball"}]
    document = {"images": images, "annotations": list(annotations), "categories": categories}
    return json.dumps({key: value for key, value in (document | changes).items() if value is not None})


TEST_CAT, TEST_DOG = NAMES.index("test/cat/0.png"), NAMES.index("test/great_dane/0.png")
BOX = {"image_id": TEST_CAT, "category_id": 1, "bbox": [2, 3, 5, 6]}


class TestCoco:
    @pytest.mark.parametrize(
        "marked",
        [
            {"bbox": [2, 3, 5, 6]},
            {"bbox": [2, 3, 5, 6], "segmentation": []},
            {"segmentation": [[2, 3, 6, 3, 6, 8, 2, 8]]},
            {"segmentation": [[2, 3, 3, 3, 3, 8, 2, 8], [3, 3, 6, 3, 6, 8, 3, 8]]},
            {"segmentation": {"counts": [23, 6, 4, 6, 4, 6, 4, 6, 4, 6, 51], "size": [10, 12]}, "bbox": [0, 0, 1, 1]},
            {"segmentation": {"counts": "g0640000000_1", "size": [10, 12]}},
        ],
    )
    def test_every_form_of_a_shape(self, folder: Path, marked: dict[str, Any]):
        (folder / "evidence.json").write_text(coco({"image_id": TEST_CAT, "category_id": 1, **marked}))
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9))
        assert mask_of(folder, "test/cat/1.png") is None

    def test_the_union_of_objects_of_the_class_of_the_image(self, folder: Path):
        others = [
            BOX | {"bbox": [8, 1, 2, 2]},
            BOX | {"category_id": 3, "bbox": [0, 0, 1, 1]},
            BOX | {"category_id": 2, "bbox": [1, 0, 1, 1]},
            BOX | {"image_id": TEST_DOG, "category_id": 2, "bbox": [4, 4, 1, 1]},
            BOX | {"image_id": TEST_DOG + 1},
        ]
        (folder / "evidence.json").write_text(coco(BOX, *others))
        mask = mask_of(folder, "test/cat/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9) | rectangle(8, 1, 10, 3))
        mask = mask_of(folder, "test/great_dane/0.png")
        assert mask is not None and np.array_equal(mask, rectangle(4, 4, 5, 5))
        benchmark = load_benchmark(f"folder:{folder}")
        assert known(benchmark.test) == ["test/cat/0.png", "test/great_dane/0.png"]
        assert [one["evidence"] for one in describe(benchmark)["sets"]] == [0, 0, 2]

    def test_categories_that_are_no_classes_all_count(self, folder: Path):
        categories = [{"id": 1, "name": "head"}, {"id": 2, "name": "tail"}]
        other = BOX | {"category_id": 2, "bbox": [8, 1, 2, 2]}
        for text in (coco(BOX, other, categories=categories), coco(BOX, other, categories=None)):
            (folder / "evidence.json").write_text(text)
            mask = mask_of(folder, "test/cat/0.png")
            assert mask is not None and np.array_equal(mask, rectangle(2, 3, 7, 9) | rectangle(8, 1, 10, 3))

    def test_ends_of_names_are_enough_where_they_are_unique(self, image_tree: Tree):
        folder = image_tree(f"{kind}/{kind}-{i}.png" for kind in ("cat", "dog") for i in range(5))
        text = coco(BOX | {"image_id": 0}, names=["cat-3.png"])
        (folder / "evidence.json").write_text(text)
        assert mask_of(folder, "cat/cat-3.png") is not None
        assert mask_of(folder, "cat/cat-2.png") is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is no JSON"),
            ("[]", "has no list of images or annotations"),
            (coco(BOX, images=None), "has no list of images"),
            (coco(BOX, categories=7), "has no list of categories"),
            (coco(BOX | {"bbox": [0, 0, 10**400, 1]}), "broken annotation 0: int too large"),
            (coco(), "has no annotations, so it is evidence for no image"),
            (coco(BOX | {"image_id": 99}), "lacks or does not know 99 of annotation 0"),
            (coco(BOX | {"category_id": 9}), "lacks or does not know 9 of annotation 0"),
            (coco({"image_id": TEST_CAT, "category_id": 1}), "lacks or does not know 'bbox' of annotation 0"),
            (coco(BOX, BOX | {"bbox": [2, 3, 0, 6]}), "broken annotation 1: the box 2, 3, 2, 9 has no area"),
            (coco(BOX | {"bbox": [2, 3, 4]}), "broken annotation 0"),
            (coco(BOX | {"bbox": "here"}), "broken annotation 0"),
            (coco(BOX | {"segmentation": [[1, 2, 3]]}), "an outline is no list of x and y in turn"),
            (coco(BOX | {"segmentation": [[1, 2, 3, 4]]}), "an outline has 2 points; expected three or more"),
            (coco(BOX | {"segmentation": {"counts": [1.5], "size": [1, 1]}}), "neither a text nor whole numbers"),
            (coco(BOX, names=["a.png"] * 12), "has the file name 'a.png' twice in images"),
            (coco(BOX, images=[{"id": 1}]), "has no id or no file_name in entry 0 of images"),
            (coco(BOX, names=[f"{i}.jpg" for i in range(12)]), "names 1 images that are not in the data set: '8.jpg'"),
            (coco(BOX | {"image_id": 0}, names=["0.png"]), "has names that fit several images: '0.png'; '0.png' fits"),
            (coco(BOX | {"category_id": 2}), "marks no object that is evidence: its categories are 'great dane'"),
        ],
    )
    def test_what_is_wrong_is_said(self, folder: Path, text: str, message: str):
        (folder / "evidence.json").write_text(text)
        with pytest.raises(DataLayoutError, match=message) as caught:
            load_benchmark(f"folder:{folder}")
        assert "Expected" in str(caught.value) and "evidence.json" in str(caught.value)

    @pytest.mark.parametrize(
        ("marked", "message"),
        [
            ({"bbox": [2, 3, 50, 6]}, "the box 2, 3, 52, 9 leaves the image of 12 x 10 pixels"),
            ({"bbox": [20, 30, 5, 6]}, "the box 20, 30, 25, 36 leaves the image"),
            ({"segmentation": [[-9, 0, 3, 3, 0, 5]]}, "the outline within -9, 0, 3, 5 leaves the image"),
            ({"segmentation": {"counts": [5, 1], "size": [3, 2]}}, "are those of an image of 2 x 3 pixels"),
            ({"segmentation": {"counts": [5, 1], "size": [10, 12]}}, "run lengths cover 6 pixels; expected 12 x 10"),
            ({"segmentation": {"counts": "zz\u00e9", "size": [10, 12]}}, "does not occur in compressed run lengths"),
            ({"segmentation": {"counts": [10**30, -(10**30), 120], "size": [10, 12]}}, "cover 120 pixels"),
            ({"segmentation": {"counts": "5P", "size": [10, 12]}}, "the last run length is cut off"),
        ],
    )
    def test_shapes_that_do_not_fit_their_image(self, folder: Path, marked: dict[str, Any], message: str):
        (folder / "evidence.json").write_text(coco({"image_id": TEST_CAT, "category_id": 1, **marked}))
        with pytest.raises(DataLayoutError, match=message) as caught:
            mask_of(folder, "test/cat/0.png")
        assert "evidence.json does not fit the image 'test/cat/0.png'" in str(caught.value)

    def test_the_file_was_made_for_images_of_another_size(self, folder: Path):
        images = [{"id": TEST_CAT, "file_name": "test/cat/0.png", "width": 24, "height": 20}]
        (folder / "evidence.json").write_text(coco(BOX, images=images))
        with pytest.raises(DataLayoutError, match="is said to have 24 x 20 pixels, but it has 12 x 10"):
            mask_of(folder, "test/cat/0.png")

    def test_the_fingerprint_follows_the_file(self, folder: Path):
        found = [load_benchmark(f"folder:{folder}").test.fingerprint]
        for box in ([2, 3, 5, 6], [2, 3, 5, 5]):
            (folder / "evidence.json").write_text(coco(BOX | {"bbox": box}))
            found.append(load_benchmark(f"folder:{folder}").test.fingerprint)
        assert len(set(found)) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, max_examples=150)
@given(value=JSON, keys=st.lists(st.integers(0, 5), min_size=1, max_size=5), form=st.integers(0, 2))
def test_whatever_stands_in_a_coco_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: Any, keys: list[int], form: int
):
    runs = {"counts": [23, 6, 91], "size": [10, 12]}
    marked = [{}, {"segmentation": runs}, {"segmentation": [[2, 3, 6, 3, 6, 8, 2, 8]]}][form]
    document = json.loads(
        coco(BOX | marked, names=["a.png", "b.png"]).replace(f'"image_id": {TEST_CAT}', '"image_id": 1')
    )
    place = document
    for key in keys:  # walk to some place in the file, and put the value there
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        name = names[key % len(names)]
        if key == keys[-1] or not isinstance(place[name], (dict, list)) or not place[name]:
            place[name] = value
            break
        place = place[name]
    path = tmp_path_factory.mktemp("coco") / "evidence.json"
    path.write_text(json.dumps(document))
    try:
        found = own_evidence(path.parent, ["a.png", "b.png"], np.zeros(2, dtype=np.int64), {"cat": 0})
        mask = found.mask("b.png", SIZE) if found else None
    except DataLayoutError as error:
        assert "evidence.json" in str(error)
    else:
        assert mask is None or (mask.dtype, mask.shape) == (np.bool_, (10, 12))


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


def compressed(counts: list[int]) -> str:
    """Write run lengths as COCO files do: the inverse of `decode_counts`."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            low, value = value & 31, value >> 5
            done = value == (-1 if low & 16 else 0)
            text += chr(48 + (low if done else low | 32))
            if done:
                break
    return text


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_compressed_run_lengths_return(counts: list[int]):
    assert decode_counts(compressed(counts)) == counts


def test_run_lengths_that_the_library_of_coco_wrote():
    """Of pycocotools 2.0.11: a rectangle with a hole, and its first pixel."""
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:30, 10:50] = True
    mask[10:12, 20:22] = False
    mask[0, 0] = True
    text = "01d<h0kC000000000000000000\\OC==CC==7000000000000000000000000000000000000000000000000000000[<"
    assert np.array_equal(runs_mask(decode_counts(text), (60, 40)), mask)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_runs_are_the_mask_they_were_counted_in(width: int, height: int, seed: int):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    pixels = [False, *mask.T.reshape(-1).tolist()]
    edges = [i - 1 for i in range(1, len(pixels)) if pixels[i] != pixels[i - 1]]
    counts = np.diff([0, *edges, width * height]).tolist()
    assert np.array_equal(runs_mask(counts, (width, height)), mask)
