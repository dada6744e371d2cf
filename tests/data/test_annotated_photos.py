"""Objects and captions read from files of COCO."""

import json

import numpy as np
import pytest

from specimens.coco_photos import CAT, COUCH, annotation, write_coco
from vlm_data.controlled.annotated_photos import read_annotated_photos
from vlm_data.errors import CallError, DataLayoutError


@pytest.fixture
def files(tmp_path):
    return write_coco(tmp_path, {(17,): 1, (17, 63): 1, (): 1}, captions=True)


def _changed(path, **changes):
    """Write the file again with other lists; functions change the list that is there."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {key: change(document[key]) for key, change in changes.items()}))
    return path


def test_objects_boxes_and_captions(files):
    photos = read_annotated_photos(files[1], files[2])
    assert photos.files == tuple(f"{number:012d}.png" for number in range(3))
    assert photos.categories == ("cat", "dog", "couch", "chair")
    assert photos.present.tolist() == [[True, False, False, False], [True, False, True, False], [False] * 4]
    assert photos.captions[1] == ("a cat and couch.",) * 2
    assert photos.objects_of([2, 1]).tolist() == [1, 2]
    x, y, width, height = COUCH
    assert photos.boxes[2].tolist() == [x, y, x + width, y + height]
    assert photos.category("couch") == 2


def test_the_order_of_the_files_entries_changes_nothing(files):
    before = read_annotated_photos(files[1])
    after = read_annotated_photos(_changed(files[1], images=lambda entries: entries[::-1]))
    assert after.files == before.files and np.array_equal(after.boxes, before.boxes)
    assert np.array_equal(after.image_of, before.image_of) and before.captions == ()


def test_boxes_end_at_the_border_and_empty_ones_only_tell_that_something_is_there(files):
    more = [annotation(1002, 18, [40, 30, 20, 20.5]), annotation(1002, 62, [5, 5, 0, 3])]
    photos = read_annotated_photos(_changed(files[1], annotations=lambda entries: entries + more))
    assert photos.boxes[photos.objects_of([2])].tolist() == [[40, 30, 48, 40]]
    assert photos.present[2].tolist() == [False, True, False, True] and photos.unboxed == 1


def test_an_unknown_category_offers_the_nearest(files):
    with pytest.raises(CallError, match=r"unknown category of the instances 'coach'\. Did you mean 'couch'\?"):
        read_annotated_photos(files[1]).category("coach")


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([1, 2, 3], r"no bbox of four numbers in annotation 1: \[1, 2, 3\]"),
        ([1, 2, float("nan"), 3], "no bbox of four numbers in annotation 1"),
        (None, "no bbox of four numbers in annotation 1: None"),
        ([1, 2, "3", 4], "no bbox of four numbers in annotation 1"),
        ([1, 2, 10**400, 4], "no bbox of four numbers in annotation 1"),
    ],
)
def test_a_broken_box_is_named(files, box, said):
    _changed(files[1], annotations=lambda entries: [entries[0], annotation(1001, 17, box)])
    with pytest.raises(DataLayoutError, match=said):
        read_annotated_photos(files[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": lambda _: [annotation(7, 17, CAT)]}, "lacks or does not know 7 of annotation 0"),
        ({"annotations": lambda _: [annotation(1001, 5, CAT)]}, "lacks or does not know 5 of annotation 0"),
        ({"annotations": lambda _: ["cat"]}, "has a broken annotation 0"),
        ({"annotations": lambda _: []}, "has no annotations"),
        ({"categories": lambda _: []}, "has no categories"),
        ({"categories": lambda entries: [*entries, {"id": 1, "name": "cat"}]}, "two categories called 'cat'"),
        ({"images": lambda entries: entries[:1] * 2}, "has the id 1000 twice in images"),
    ],
)
def test_a_file_that_is_not_in_the_format_is_refused(files, changes, said):
    with pytest.raises(DataLayoutError, match=said):
        read_annotated_photos(_changed(files[1], **changes))


def test_a_file_that_is_not_there_or_no_json_is_refused(files, tmp_path):
    with pytest.raises(DataLayoutError, match="cannot be read: No such file"):
        read_annotated_photos(tmp_path / "nothing.json")
    files[1].write_text("{")
    with pytest.raises(DataLayoutError, match="is no JSON"):
        read_annotated_photos(files[1])


def test_captions_of_other_photographs_are_refused_and_broken_ones_named(files):
    with pytest.raises(DataLayoutError, match="'caption' of annotation 0"):
        read_annotated_photos(files[1], files[1])
    _changed(files[2], annotations=lambda entries: [entries[0] | {"caption": 7}])
    with pytest.raises(DataLayoutError, match="no text as the caption of annotation 0: 7"):
        read_annotated_photos(files[1], files[2])
    _changed(
        files[2],
        annotations=lambda entries: [entries[0] | {"caption": "a cat"}],
        images=lambda entries: [entries[0] | {"file_name": "other.png"}, *entries[1:]],
    )
    with pytest.raises(CallError, match=r"no caption of .* belongs to a photograph"):
        read_annotated_photos(files[1], files[2])
