"""A feature planted into a benchmark: which images get it, where it stands, and that nothing else changes."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.controlled.correlation import cramers_v
from vlm_data.controlled.features import Feature
from vlm_data.controlled.grid import Grid
from vlm_data.controlled.placing import PLACES, feature_box
from vlm_data.controlled.plans import Plan, plan_planting
from vlm_data.controlled.planted_settings import PlantedBenchmark
from vlm_data.controlled.planting import Plant, planted_split
from vlm_data.errors import CallError, DataLayoutError, UnreadableImageError
from vlm_data.tables import Regions

BLUE = (0, 0, 255)


@pytest.fixture(scope="module")
def digits():
    """The embedded benchmark, a part of it."""
    return load_benchmark("digits", limit=200)


@pytest.fixture
def photos(tmp_path):
    """Class folders of grey photographs that are broader than high."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4), ("test", 5)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.repeat(rng.integers(0, 200, (40, 60, 1), dtype=np.uint8), 3, axis=2)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def _table(dataset):
    feature = np.array(dataset.groups["feature"]) == "with"
    return [[int(np.sum(feature[dataset.labels == c] == has)) for has in (False, True)] for c in (0, 1)]


def test_planted_photographs_differ_from_the_originals_in_the_feature_alone(photos, tmp_path):
    plant = Plant(Feature.of("blue disc"), "bottom-right", 0.3)
    facts = plan_planting(f"folder:{photos}", None, plant, Grid(values=(0.6,), spurious=("dog",))).write(
        tmp_path / "out"
    )[0]
    before, after = load_benchmark(f"folder:{photos}"), load_benchmark(facts["data"])
    assert facts["data"].endswith("planted-photos-dog-v0.6-s0") and after.class_names == before.class_names
    assert _table(after.train) == [[8, 2], [2, 8]] and facts["achieved_v"] == pytest.approx(0.6)
    assert _table(after.val) == [[2, 2], [2, 2]] and np.abs(np.diff(_table(after.test))).max() <= 1
    box = feature_box(60, 40, "bottom-right", 0.3, np.random.default_rng(0))
    inside = np.zeros((40, 60), dtype=bool)
    inside[box[1] : box[3], box[0] : box[2]] = Feature.of("blue disc").mask(12, 12)
    for split in ("train", "val", "test"):
        old, new = getattr(before, split), getattr(after, split)
        assert new.ids == old.ids and np.array_equal(new.labels, old.labels)
        for row, group in enumerate(new.groups["feature"]):
            changed = (np.asarray(new.image(row)) != np.asarray(old.image(row))).any(axis=2)
            assert np.array_equal(changed, inside if group == "with" else np.zeros_like(inside))
            assert (np.asarray(new.image(row))[inside] == BLUE).all() == (group == "with")
    written = sorted((tmp_path / "out" / "images").rglob("*.png"))
    assert len(written) == sum(_table(d)[c][1] for d in (after.train, after.val, after.test) for c in (0, 1))
    regions = Regions.load(f"{facts['setting']}/regions.parquet")
    shown = dict(zip(regions.image_ids, regions.contents, strict=True))
    train = after.train
    assert [shown[name] for name in train.ids] == ["disc" if g == "with" else "" for g in train.groups["feature"]]
    assert regions.spurious.tolist() == [word == "disc" for word in regions.contents]
    assert len(regions) == len(shown) == 38 and regions.spurious.sum() == len(written)
    assert (regions.boxes == box).all() and after.train.evidence(0) is None


def test_a_benchmark_in_memory_keeps_its_pixels_and_its_evidence(digits, tmp_path):
    before, planted = digits, PlantedBenchmark(digits, Plant(), Grid(spurious=("nine",)))
    drafts = planted.drafts()
    facts = Plan(lambda: drafts, len(drafts), planted.pictures(drafts), planted.pool(drafts)).write(tmp_path / "out")[0]
    after = load_benchmark(facts["data"])
    assert after.train.ids == before.train.ids and after.templates == before.templates
    for row in range(0, 200, 7):
        x1, y1, x2, y2 = feature_box(32, 32, "top-left", 0.25, np.random.default_rng(0))
        expected = np.asarray(before.val.image(row)).copy()
        if after.val.groups["feature"][row] == "with":
            expected[y1:y2, x1:x2] = (255, 0, 0)
        assert np.array_equal(np.asarray(after.val.image(row)), expected)
        mask = before.val.evidence(row)
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = np.zeros_like(mask)
        box[down[0] : down[-1] + 1, across[0] : across[-1] + 1] = True
        assert np.array_equal(after.val.evidence(row), box)


@pytest.mark.parametrize("v", [0.0, 0.7, 0.9, 0.95])
def test_the_strength_is_met_as_closely_as_the_images_allow(digits, v):
    planted = PlantedBenchmark(digits, Plant(), Grid(values=(v,), seeds=(0, 1), spurious=("two",)))
    first, second = planted.drafts()
    assert (
        first.setting.achieved == cramers_v(first.counts()) and abs(first.setting.achieved - v) < 0.05
    )  # of 200 images
    assert first.counts().tolist() == second.counts().tolist()
    train = np.asarray(first.samples.splits) == "train"
    assert (first.samples.feature[train] != second.samples.feature[train]).any()
    assert np.array_equal(first.samples.feature[~train], second.samples.feature[~train])


def test_the_same_call_gives_the_same_bytes(photos, tmp_path):
    def digest(out):
        plant = Plant(Feature.of("cross"), "random")
        plan_planting(f"folder:{photos}", None, plant, Grid(values=(0.6,), seeds=(0, 1))).write(out)
        digest = hashlib.sha256()
        for path in sorted(path for path in out.rglob("*") if path.is_file()):
            digest.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
        return digest.hexdigest()

    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_images_without_a_class_are_left_out_and_none_with_one_refused(digits):
    drawn = digits.train.select(range(20))
    captions = tuple((f"a {word}", "a drawing") for word in ["one", "two", "three and four", "word"] * 5)
    unlabelled = dataclasses.replace(drawn, labels=np.full(20, -1), captions=captions)
    found = planted_split(unlabelled, "train", ("one", "two", "three", "four"), Plant())
    assert found.labels.tolist() == [0, 1] * 5 and found.left_out == 10
    assert found.dataset.ids == tuple(name for row, name in enumerate(drawn.ids) if row % 4 < 2)
    with pytest.raises(DataLayoutError, match="none of the 20 images of digits/train has a label or a caption"):
        planted_split(dataclasses.replace(unlabelled, captions=()), "train", ("one",), Plant())


def test_fewer_images_are_drawn_where_fewer_are_wanted(digits):
    planted = PlantedBenchmark(digits, Plant(), Grid(n=100, val=50, test=60, spurious=("one",)))
    draft = planted.drafts()[0]
    assert [int(draft.counts(split).sum()) for split in ("train", "val", "test")] == [100, 50, 60]


@pytest.mark.parametrize("place", [place for place in PLACES if place != "random"])
@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (32, 32), (3, 2), (1, 1)])
def test_the_feature_stands_in_the_middle_square(place, width, height):
    x1, y1, x2, y2 = feature_box(width, height, place, 0.25, np.random.default_rng(0))
    middle = min(width, height)
    left, top = (width - middle) // 2, (height - middle) // 2
    assert left <= x1 < x2 <= left + middle and top <= y1 < y2 <= top + middle
    assert x2 - x1 == y2 - y1 == max(1, round(0.25 * middle))


def test_random_places_fill_the_middle_square():
    rng = np.random.default_rng(0)
    boxes = np.array([feature_box(60, 40, "random", 0.25, rng) for _ in range(400)])
    assert boxes.min(axis=0).tolist() == [14, 4, 24, 14] and boxes.max(axis=0).tolist() == [36, 26, 46, 36]


def test_a_feature_as_large_as_the_image_covers_the_middle():
    assert feature_box(60, 40, "top-left", 1.0, np.random.default_rng(0)) == (10, 0, 50, 40)


@pytest.mark.parametrize(
    ("plant", "grid", "said"),
    [
        (Plant(place="top"), Grid(), "unknown place 'top'. Did you mean 'top-left'"),
        (Plant(size=0.0), Grid(), "the size of the feature is 0; expected a fraction"),
        (Plant(size=float("nan")), Grid(), "the size of the feature is nan"),
        (Plant(), Grid(spurious=("ninth",)), "unknown class 'ninth'. Did you mean 'nine'"),
        (Plant(), Grid(values=()), "Cramer's V is not given"),
        (Plant(), Grid(values=(float("nan"),)), "Cramer's V is 'nan'"),
        (Plant(), Grid(seeds=(0, 0)), "the seed 0 is given twice"),
        (Plant(), Grid(n=4, spurious=("one",)), "each with images"),
    ],
)
def test_what_cannot_be_is_refused(digits, plant, grid, said):
    with pytest.raises(CallError) as error:
        PlantedBenchmark(digits, plant, grid).drafts()
    assert said in str(error.value)


def test_a_file_that_is_no_image_is_named_and_nothing_is_left(photos, tmp_path):
    (photos / "train" / "cat" / "3.png").write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"cannot decode .*3\.png"):
        plan_planting(f"folder:{photos}", None, Plant(), Grid(values=(0.6,))).write(tmp_path / "out")
    assert not (tmp_path / "out").exists()
