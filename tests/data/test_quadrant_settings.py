"""Quadrant canvases: what is drawn is what the tables say, and nothing leaks between splits or settings."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.caption_labels import caption_label
from vlm_data.controlled import build_settings, load_setting
from vlm_data.controlled.canvases import compose, draw_canvases, quadrant_boxes
from vlm_data.controlled.correlation import cramers_v
from vlm_data.controlled.features import Feature
from vlm_data.controlled.grid import Grid
from vlm_data.controlled.objects import SOURCES, ObjectPictures, Objects
from vlm_data.controlled.quadrant_settings import QuadrantPool, quadrant_drafts
from vlm_data.controlled.setting import load_samples
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, DataLayoutError
from vlm_data.tables import Regions

NINE = Grid(spurious=("nine",), n=200, val=40, test=60)


def digits() -> Objects:
    return SOURCES.load("digits").load(None)


def pool(grid: Grid = NINE, feature: str = "red rectangle", canvas: int | None = None) -> QuadrantPool:
    return QuadrantPool(digits(), grid, Feature.of(feature), canvas)


@given(st.integers(0, 99), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=5))
def test_canvases_have_the_counts_that_were_asked_for(seed: int, counts: list[tuple[int, int]]):
    labels = np.arange(17) % len(counts)
    drawn = draw_canvases(labels, np.array(counts), np.random.default_rng(seed))
    assert [[int(((drawn.labels == c) & (drawn.feature == f)).sum()) for f in (0, 1)] for c in range(len(counts))] == [
        list(row) for row in counts
    ]
    assert np.array_equal(labels[drawn.objects], drawn.labels)
    assert (drawn.places != drawn.feature_places).all()
    assert drawn.shows_object.sum() == len(drawn)
    assert drawn.shows_feature.sum() == drawn.feature.sum()


def test_places_and_objects_are_drawn_alike():
    drawn = draw_canvases(np.array([0, 1] * 5), np.full((2, 2), 1000), np.random.default_rng(0))
    assert np.bincount(drawn.places) / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert np.bincount(drawn.feature_places) / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert np.bincount(drawn.objects) / len(drawn) == pytest.approx(0.1, abs=0.03)
    assert drawn.feature[: len(drawn) // 2].mean() == pytest.approx(0.5, abs=0.05)  # and in random order


@pytest.mark.parametrize(("canvas", "feature"), [(16, "red rectangle"), (32, "blue disc"), (56, "green cross")])
def test_each_quadrant_shows_what_is_said(canvas: int, feature: str):
    objects = np.random.default_rng(0).integers(1, 256, (6, 8, 8), dtype=np.uint8)
    drawn = draw_canvases(np.arange(6) % 3, np.full((3, 2), 5), np.random.default_rng(1))
    pictures = compose(drawn, objects, Feature.of(feature), canvas)
    assert pictures.shape == (30, canvas, canvas, 3)
    for picture, shows_object, shows_feature in zip(pictures, drawn.shows_object, drawn.shows_feature, strict=True):
        for number, (x1, y1, x2, y2) in enumerate(quadrant_boxes(canvas).astype(int)):
            part = picture[y1:y2, x1:x2].astype(int)
            if shows_object[number]:
                assert (np.ptp(part, axis=2) == 0).all() and part.max() > 0  # grey
            elif shows_feature[number]:
                mask = Feature.of(feature).mask(x2 - x1, y2 - y1)
                assert (part[mask] == Feature.of(feature).rgb).all() and not part[~mask].any()
            else:
                assert not part.any()


def test_boxes_are_those_of_the_paper():
    assert quadrant_boxes(56).tolist() == [[0, 0, 28, 28], [28, 0, 56, 28], [0, 28, 28, 56], [28, 28, 56, 56]]


def test_an_object_of_the_size_of_a_quadrant_stays_as_it_is():
    objects = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    drawn = draw_canvases(np.arange(2), np.array([[1, 0], [1, 0]]), np.random.default_rng(0))
    pictures = compose(drawn, objects, Feature(), 16)
    for picture, place, row in zip(pictures, drawn.places, drawn.objects, strict=True):
        x1, y1, x2, y2 = quadrant_boxes(16)[place].astype(int)
        assert np.array_equal(picture[y1:y2, x1:x2, 0], objects[row])


@pytest.mark.parametrize("v", [0.0, 0.7, 0.9, 0.95, 0.99])
def test_a_setting_of_4000_has_the_wanted_correlation(v: float):
    grid = Grid(values=(v,), spurious=("three",), n=4000, val=100, test=100)
    (draft,) = quadrant_drafts(pool(grid))
    counts = draft.counts("train")
    assert draft.setting.achieved == cramers_v(counts) == pytest.approx(v, abs=0.005)
    assert counts.sum(axis=1).tolist() == [400] * 10
    assert cramers_v(draft.counts("val")) == 0
    assert (draft.counts("test") == 5).all()


def test_settings_are_drawn_by_themselves():
    whole = {
        draft.setting.name: draft
        for draft in quadrant_drafts(pool(Grid((0.7, 0.9), ("one", "nine"), (0, 1), 200, 40, 60)))
    }
    (alone,) = quadrant_drafts(pool(Grid((0.9,), ("nine",), (1,), 200, 40, 60)))
    assert len(whole) == 8
    assert whole[alone.setting.name].samples.ids == alone.samples.ids
    train = [tuple(name for name in draft.samples.ids if name.startswith("train")) for draft in whole.values()]
    assert len(set(train)) == 8
    assert len({draft.samples.ids[200:] for draft in whole.values()}) == 1  # one validation and one test set for all


def test_the_table_of_regions_tells_what_the_canvas_shows():
    (draft,) = quadrant_drafts(pool())
    samples, regions = draft.samples, draft.regions
    rows = regions.rows_of(samples.ids)
    assert len(regions) == 4 * 300 and np.array_equal(np.bincount(rows), np.full(300, 4))
    assert regions.labels is not None and regions.spurious is not None
    words, core = np.array(regions.contents), regions.labels != UNLABELLED
    assert core.sum() == 300 and np.array_equal(regions.labels[core], samples.labels[rows[core]])
    assert words[core].tolist() == [draft.setting.class_names[label] for label in regions.labels[core]]
    assert set(words[regions.spurious]) == {"rectangle"} and set(words[~core & ~regions.spurious]) == {"empty"}
    assert np.array_equal(np.bincount(rows[regions.spurious], minlength=300) == 1, samples.feature)
    test = np.array([name.startswith("test") for name in regions.image_ids])
    assert regions.spurious[test].mean() == 0.125  # what a random order of regions finds


def test_no_object_is_in_two_splits():
    objects = digits()
    pictures = [{image.tobytes() for image in objects.splits[split].images} for split in ("train", "val", "test")]
    assert [len(each) for each in pictures] == [797, 400, 600]
    assert not pictures[0] & pictures[1] and not pictures[0] & pictures[2] and not pictures[1] & pictures[2]


def test_captions_name_the_class_and_never_the_feature():
    (draft,) = quadrant_drafts(pool())
    captions = draft.samples.captions
    assert {len(each) for each in captions[:200]} == {1} and not any(captions[200:])
    texts = [each[0] for each in captions[:200]]
    assert all(
        draft.setting.class_names[label] in text for text, label in zip(texts, draft.samples.labels, strict=False)
    )
    read = [caption_label(text, draft.setting.class_names) for text in texts]
    assert read == draft.samples.labels[:200].tolist()
    assert not any("red" in text.split() or "rectangle" in text for text in texts)
    for start in ("the image shows a", "the digit appears to be", "there is an image showing a", "the number is a"):
        assert sum(text.startswith(start) for text in texts) > 25


def test_the_same_call_writes_the_same_bytes(tmp_path: Path, digit_setting: Path):
    build_settings("digits", tmp_path / "again", classes=["nine"], n=200, val=40, test=60)
    files = sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file())
    assert len(files) == 4 + 700
    for path in files:
        assert (tmp_path / "again" / path).read_bytes() == (digit_setting.parent / path).read_bytes(), path


def test_another_feature_changes_the_feature_and_nothing_else():
    red, blue = pool(), pool(feature="blue disc")
    (one,), (other,) = quadrant_drafts(red), quadrant_drafts(blue)
    assert one.samples.ids == other.samples.ids and np.array_equal(one.samples.feature, other.samples.feature)
    assert other.regions.contents == tuple(word.replace("rectangle", "disc") for word in one.regions.contents)
    assert (one.setting.feature, other.setting.feature) == ("red rectangle", "blue disc")


def test_the_folder_tells_what_it_is(digit_setting: Path):
    setting = load_setting(digit_setting)
    assert (setting.spurious_class, setting.spurious_label, setting.v) == ("nine", 9, 0.95)
    assert setting.name == digit_setting.name == "digits-nine-v0.95-s0"
    assert len(Regions.load(setting.regions)) == 4 * len(load_samples(setting).ids) == 1200
    facts = json.loads((digit_setting.parent / "pool.json").read_text())
    assert facts["sizes"] == {"train": 200, "val": 40, "test": 60}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 19}, "train has 19 images; expected at least 20"),
        ({"test": 5}, "test has 5 images"),
        ({"canvas": 33}, "canvas is 33 pixels wide; expected an even number"),
        ({"canvas": 4}, "canvas is 4 pixels"),
        ({"classes": ["nien"]}, "unknown class 'nien'. Did you mean 'nine'"),
        ({"values": [1.2]}, "Cramer's V is '1.2'; expected numbers from 0"),
        ({"seeds": [0, 0]}, "the seed 0 is given twice"),
        ({"feature": "red squid"}, "unknown shape 'squid'"),
    ],
)
def test_what_cannot_be_built_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict, message: str):
    sizes = {"n": 40, "val": 20, "test": 20}
    with pytest.raises(CallError, match=message):
        build_settings("digits", tmp_path / "out", **{**sizes, **changes})
    assert not list(tmp_path.iterdir())


def test_an_unknown_source_gets_the_nearest_one(tmp_path: Path):
    with pytest.raises(CallError, match=r"unknown source of controlled settings 'minst'. Did you mean 'mnist'"):
        build_settings("minst", tmp_path / "out")


def test_objects_of_every_class_are_needed():
    whole = digits()
    few = ObjectPictures(whole.splits["val"].images[:3], whole.splits["val"].labels[:3])
    objects = Objects("few", whole.class_names, whole.templates, whole.captions, {**whole.splits, "val": few}, 32)
    with pytest.raises(DataLayoutError, match=r"the val part of few shows no 'zero', .* and 2 more"):
        QuadrantPool(objects, NINE, Feature())
