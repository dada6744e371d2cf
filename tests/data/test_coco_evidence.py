"""Objects in the format of COCO beside somebody's own images."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specimens.own_evidence import BOX, NAMES, SIZE, TEST_CAT, TEST_DOG, coco, known, mask_of, rectangle
from vlm_data import load_benchmark
from vlm_data.description import describe
from vlm_data.errors import DataLayoutError
from vlm_data.evidence.own import own_evidence

Tree = Callable[[Iterable[str]], Path]


@pytest.fixture
def folder(image_tree: Tree) -> Path:
    """Two classes in three splits, two images of 12 x 10 pixels each."""
    return image_tree(NAMES)


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
