"""`vlm spurious discover` on data of any kind: what it writes, what it says where nothing is, what it refuses."""

import dataclasses

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.tables import Predictions, Regions

SMALL = ("--limit", "60")
FOLDER = "runs/spurious/tiny-on-digits"


@pytest.fixture(scope="module")
def digits():
    """The validation images that the calls of this file search."""
    return load_benchmark("digits", limit=60).val


def _quadrants(ids, skipped=()):
    """Return the four quadrants of every image, without some rows."""
    boxes = np.tile([[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]], (len(ids), 1))
    table = Regions(tuple(np.repeat(ids, 4).tolist()), boxes.astype(np.float64))
    return table.select(np.setdiff1d(np.arange(4 * len(ids)), skipped))


def _answers(dataset, predicted):
    """Return a table in which every image is answered this class."""
    logits = 5 * np.eye(10, dtype=np.float32)[np.asarray(predicted)]
    return Predictions(dataset.ids, dataset.labels, logits, {"data": dataset.name, "split": dataset.split})


def test_nothing_found_is_an_answer_with_a_reason(vlm, digits, tmp_path):
    _answers(digits, digits.labels).save("right.parquet")
    answer = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "right.parquet", "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    assert document["found"] is False and document["reason"] and document["train_regions"] is None
    assert document["images"] == 60 and document["regions"] == 240
    written = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert {"discovery.json", "regions.parquet", "clusters.parquet", "predictions.parquet"} <= written
    assert "train-regions.parquet" not in written
    text = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "right.parquet")
    assert text.code == 0 and "nothing found among 240 regions of 60 images" in text.out
    assert document["reason"] in text.out


@pytest.mark.parametrize("predicted", [0, 9])
def test_a_model_that_is_always_wrong_or_has_one_answer_is_no_finding(vlm, digits, predicted):
    wrong = _answers(digits, (digits.labels + 1) % 10 if predicted else np.zeros(60, dtype=int))
    wrong.save("wrong.parquet")
    answer = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "wrong.parquet", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["found"] is False and answer.document["reason"]


def test_ragged_regions_and_images_without_any(vlm, digits):
    table = _quadrants(digits.ids, skipped=[0, 1, 2, 3, 5, 9, 10, 11])
    table.save("ragged.parquet")
    answer = vlm("spurious", "discover", "tiny", *SMALL, "--regions", "ragged.parquet", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["regions"] == len(table) == 232 and answer.document["images"] == 60
    assert "Traceback" not in answer.err


def test_answers_on_data_that_names_its_images_alike(vlm, digits, tmp_path):
    table = _answers(digits, digits.labels)
    dataclasses.replace(table, labels=np.roll(table.labels, 1)).save("alike.parquet")
    answer = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "alike.parquet")
    assert answer.code == 2 and "alike.parquet tells other classes than digits (val) for" in answer.paragraph
    assert not (tmp_path / FOLDER).exists()


def test_a_search_of_one_image_says_that_nothing_can_be_found(vlm):
    answer = vlm("spurious", "discover", "tiny", "--limit", "1", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["found"] is False and answer.document["images"] == 1 and answer.document["reason"]


def test_an_earlier_search_leaves_nothing_beside_a_new_one(vlm, digits, tmp_path):
    assert vlm("spurious", "discover", "tiny", *SMALL).code == 0
    stale = [tmp_path / FOLDER / name for name in ("train-regions.parquet", "validity.json", "sheets/cluster-999.png")]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of an earlier search")
    mine = [tmp_path / FOLDER / name for name in ("notes.txt", "sheets/mine.png")]
    for path in mine:
        path.write_text("mine")
    _answers(digits, digits.labels).save("right.parquet")
    assert vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "right.parquet").code == 0
    assert not any(path.exists() for path in stale) and all(path.exists() for path in mine)


def test_a_table_that_no_search_wrote_is_not_replaced(vlm, digits, tmp_path):
    _quadrants(digits.ids).save("setting/regions.parquet")
    before = (tmp_path / "setting" / "regions.parquet").read_bytes()
    answer = vlm("spurious", "discover", "tiny", *SMALL, "--out", "setting")
    assert answer.code == 2 and "setting holds a regions.parquet that no discovery wrote" in answer.paragraph
    assert (tmp_path / "setting" / "regions.parquet").read_bytes() == before
    assert [path.name for path in (tmp_path / "setting").iterdir()] == ["regions.parquet"]


def test_the_same_call_gives_the_same_bytes(vlm, tmp_path):
    for name in ("a", "b"):
        assert vlm("spurious", "discover", "tiny", *SMALL, "--out", name).code == 0
    made = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    files = [name for name in made if name.parts[0] != "cache"]  # safetensors orders what it notes as it likes
    assert len(files) > 5
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--strategy", "ravel"), "Did you mean 'ravl'?"),
        (("--clustering", "altern"), "Did you mean 'alternate'?"),
        (("--silhouette", "exakt"), "unknown silhouette 'exakt'"),
        (("--pooling", "cropp"), "Did you mean 'crop'?"),
        (("--regions", "gird:2x2"), "Did you mean 'grid'?"),
        (("--regions", "grid:0x2"), "grid:0x2 is no grid"),
        (("--regions", "boxes"), "digits has no regions of its own"),
        (("--clusters", "20,many"), "no list of numbers of clusters"),
        (("--min-gap", "10"), "expected a number from 0 to 1"),
        (("--level", "2"), "expected a number from 0 to 1"),
        (("--level", "0.0001"), "1000 permutations cannot show significance at the level 0.0001"),
        (("--permutations", "0"), "permutations"),
    ],
)
def test_wrong_words(vlm, tmp_path, words, said):
    answer = vlm("spurious", "discover", "tiny", "--limit", "4", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.paragraph
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("*.json"))


class TestFilesThatDoNotFit:
    def test_regions_of_another_data_set(self, vlm, tmp_path):
        _quadrants(("other/1", "other/2")).save("other.parquet")
        answer = vlm("spurious", "discover", "tiny", *SMALL, "--regions", "other.parquet")
        assert (
            answer.code == 2 and "none of the 8 regions of other.parquet lies in an image of digits" in answer.paragraph
        )
        assert not (tmp_path / FOLDER / "discovery.json").exists()

    def test_boxes_outside_of_the_images(self, vlm, digits):
        table = _quadrants(digits.ids)
        table.replace(boxes=table.boxes + 1000).save("outside.parquet")
        answer = vlm("spurious", "discover", "tiny", *SMALL, "--regions", "outside.parquet")
        assert answer.code == 2 and "none of 240 regions" in answer.paragraph

    def test_a_table_of_predictions_in_place_of_regions(self, vlm, digits):
        _answers(digits, digits.labels).save("answers.parquet")
        answer = vlm("spurious", "discover", "tiny", *SMALL, "--regions", "answers.parquet")
        assert answer.code == 1 and "answers.parquet" in answer.paragraph

    def test_a_file_that_is_not_there(self, vlm):
        for flag in ("--regions", "--predictions"):
            answer = vlm("spurious", "discover", "tiny", *SMALL, flag, "absent.parquet")
            assert answer.code == 1 and "absent.parquet" in answer.paragraph

    def test_predictions_on_other_images(self, vlm, digits):
        _answers(digits, digits.labels).save("answers.parquet")
        answer = vlm("spurious", "discover", "tiny", "--limit", "50", "--predictions", "answers.parquet")
        assert answer.code == 2 and "holds answers on 60 images, digits (val) has 50" in answer.paragraph

    def test_predictions_of_other_classes(self, vlm, digits):
        few = _answers(digits, digits.labels)
        dataclasses.replace(few, logits=few.logits[:, :3]).save("few.parquet")
        answer = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "few.parquet")
        assert answer.code != 0 and "3" in answer.paragraph

    def test_a_broken_number_among_the_answers(self, vlm, digits):
        broken = _answers(digits, digits.labels)
        broken.logits[7, 2] = np.nan
        broken.save("broken.parquet")
        answer = vlm("spurious", "discover", "tiny", *SMALL, "--predictions", "broken.parquet")
        assert answer.code == 2 and "the answers on 1 of 60 images are no finite numbers" in answer.paragraph
