import json

import numpy as np

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.dataset import ArrayDataset
from vlm_data.description import describe


def test_every_split_and_every_member_of_a_shift_is_described():
    digits = load_benchmark("digits", limit=30)
    sets = describe(digits)["sets"]
    assert [found["split"] for found in sets[:3]] == ["train", "val", "test"]
    assert {found["data"] for found in sets[2:]} == {found.data for found in digits.evaluation_sets()}
    noise = next(found for found in sets if found["data"] == "digits/noise-4")
    assert (noise["group"], noise["severity"], noise["role"]) == ("corruption", 4, "shift")


def test_labels_captions_and_evidence_are_counted():
    images, captions = np.zeros((3, 2, 2, 3), np.uint8), (("a", "b"), ("c",), ())
    made = ArrayDataset("made", "test", ("x", "y", "z"), np.array([1, -1, 1]), images, captions=captions)
    facts = describe(Benchmark("made", ("zero", "one"), ("{c}",), made, made, made))["sets"][-1]
    assert {key: facts[key] for key in ("images", "labelled", "classes", "captions", "evidence")} == {
        "images": 3,
        "labelled": 2,
        "classes": 1,
        "captions": 3,
        "evidence": 0,
    }


def test_a_description_is_plain_json_and_tells_the_hashes(image_tree):
    folder = image_tree([f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(4)])
    photos = load_benchmark(f"folder:{folder}")
    facts = json.loads(json.dumps(describe(photos)))
    assert facts["class_names_hash"] == photos.class_names_hash
    assert [found["hash"] for found in facts["sets"]] == [
        photos.train.fingerprint,
        photos.val.fingerprint,
        photos.test.fingerprint,
    ]
