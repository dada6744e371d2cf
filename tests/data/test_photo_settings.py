"""Settings of photographs: which are chosen, what is written, and what the reader makes of it."""

import numpy as np
import pytest

from specimens.coco_photos import CAT, COUCH, SIZE, write_coco
from vlm_data import load_benchmark
from vlm_data.controlled.correlation import cramers_v
from vlm_data.controlled.grid import Grid
from vlm_data.controlled.photo_settings import PhotoFiles, PhotoSettings
from vlm_data.controlled.plans import plan_photos
from vlm_data.errors import CallError, DataLayoutError
from vlm_data.tables import Regions

CAT_ONLY, CAT_COUCH, DOG_ONLY, DOG_COUCH = (17,), (17, 63), (18,), (18, 63)
COUNTS = {CAT_ONLY: 30, CAT_COUCH: 30, DOG_ONLY: 40, DOG_COUCH: 20, (17, 18): 5, (): 3, (63,): 2}
CLASSES = ("cat", "dog")
GRID = Grid(values=(0.8,), spurious=("cat",), n=1000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return PhotoFiles(*write_coco(tmp_path_factory.mktemp("coco"), COUNTS, captions=True))


@pytest.fixture(scope="module")
def written(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("settings") / "out"
    return plan_photos(files, None, CLASSES, "couch", GRID).write(out)[0]


def test_the_strength_is_that_of_the_images_read(written):
    benchmark = load_benchmark(written["data"])
    assert benchmark.name == "coco-cat-v0.8-s0" and benchmark.class_names == CLASSES
    assert benchmark.templates == ("there is a {c}", "a photo of the {c}", "a photo of a {c}", "{c}")
    train = benchmark.train
    feature = np.array(train.groups["feature"]) == "with"
    table = np.array([[np.sum(~feature[train.labels == c]), np.sum(feature[train.labels == c])] for c in (0, 1)])
    assert cramers_v(table) == pytest.approx(written["achieved_v"], abs=1e-12)
    assert abs(written["achieved_v"] - 0.8) < 0.05
    assert written["images"]["train"] == dict(zip(CLASSES, table.tolist(), strict=True))
    assert table.sum(axis=1)[0] == table.sum(axis=1)[1] and table[0, 1] > 17  # 21 of 30 are for training


def test_evaluation_has_the_feature_in_half_of_every_class(written):
    benchmark = load_benchmark(written["data"])
    for dataset, side in ((benchmark.val, (3, 2)), (benchmark.test, (6, 4))):
        feature = np.array(dataset.groups["feature"]) == "with"
        for label, count in enumerate(side):
            chosen = feature[dataset.labels == label]
            assert (chosen.sum(), (~chosen).sum()) == (count, count)


def test_photographs_stay_where_they_are_and_are_what_they_were_annotated_as(files, written):
    train = load_benchmark(written["data"]).train
    row = int(np.flatnonzero((train.labels == 0) & (np.array(train.groups["feature"]) == "with"))[0])
    assert train.image(row).size == SIZE and train.captions[row] == ("a cat and couch.",) * 2
    assert train.image(row).getpixel((3, 5)) == (200, 180, 40)
    assert train.paths[row].parent == files.images.resolve()
    x, y, width, height = CAT
    expected = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    expected[y : y + height, x : x + width] = True
    assert np.array_equal(train.evidence(row), expected)
    regions = Regions.load(f"{written['setting']}/regions.parquet")
    mine = regions.select([i for i, name in enumerate(regions.image_ids) if name == train.ids[row]])
    assert mine.contents == ("cat", "couch") and mine.spurious.tolist() == [False, True]
    assert mine.labels.tolist() == [0, -1]
    assert mine.boxes[1].tolist() == [COUCH[0], COUCH[1], COUCH[0] + COUCH[2], COUCH[1] + COUCH[3]]


def test_no_photograph_is_in_two_splits_and_those_of_both_classes_in_none(written):
    benchmark = load_benchmark(written["data"])
    names = [name.partition("/")[2] for split in ("train", "val", "test") for name in getattr(benchmark, split).ids]
    assert len(set(names)) == len(names)
    assert not {f"{number:012d}.png" for number in range(120, 130)} & set(names)


def test_one_setting_of_a_grid_can_be_made_alone_and_equal_calls_give_equal_draws(files):
    def drawn(grid):
        return {
            draft.setting.name: draft.samples.ids
            for draft in PhotoSettings(files, None, CLASSES, "couch", grid).drafts()
        }

    many = drawn(Grid(values=(0.5, 0.8), seeds=(0, 1), n=30))
    assert len(many) == 8 and drawn(Grid(values=(0.8,), spurious=("cat",), seeds=(1,), n=30)).items() <= many.items()
    assert many["coco-cat-v0.8-s0"] != many["coco-cat-v0.8-s1"]
    held = {tuple(name for name in ids if not name.startswith("train")) for ids in many.values()}
    assert len(held) == 1


def test_photographs_for_evaluation_alone_are_halved(files, tmp_path):
    others = PhotoFiles(*write_coco(tmp_path, {CAT_ONLY: 4, CAT_COUCH: 5, DOG_ONLY: 6, DOG_COUCH: 4}, name="val2017"))
    plain = PhotoFiles(others.images, others.instances)
    facts = plan_photos(files, plain, CLASSES, "couch", GRID).write(tmp_path / "out")[0]
    benchmark = load_benchmark(facts["data"])
    assert benchmark.test.paths[0].parent == others.images.resolve() and benchmark.val.captions == ()
    assert [len(benchmark.val), len(benchmark.test)] == [8, 8]
    assert facts["images"]["train"]["cat"][1] > 27  # all 30 are for training


def test_what_the_user_should_know_is_told(files):
    notes = PhotoSettings(files, None, CLASSES, "couch", GRID).notes
    assert notes == ("120 of 130 photographs show exactly one of the classes; the others are left out.",)


@pytest.mark.parametrize(
    ("classes", "feature", "grid", "said"),
    [
        (("cat", "dgo"), "couch", GRID, "unknown category of the instances 'dgo'. Did you mean 'dog'"),
        (("cat",), "couch", GRID, "expected two different categories"),
        (("cat", "cat"), "couch", GRID, "expected two different categories"),
        (CLASSES, "dog", GRID, "expected two different categories"),
        (CLASSES, "sofa", GRID, "unknown category of the instances 'sofa'"),
        (CLASSES, "chair", GRID, "val would have no photographs of 'cat', 'dog': of 'cat' it could have 6 without"),
        (CLASSES, "couch", Grid(spurious=("bird",)), "unknown class 'bird'"),
        (CLASSES, "couch", Grid(values=(1.5,)), "Cramer's V is '1.5'"),
    ],
)
def test_what_cannot_be_is_refused(files, classes, feature, grid, said):
    with pytest.raises(CallError) as error:
        list(PhotoSettings(files, None, classes, feature, grid).drafts())
    assert said in str(error.value)


def test_photographs_that_are_not_there_are_counted(files, tmp_path):
    with pytest.raises(DataLayoutError, match=r"there is no folder .*nothing\. .* Name their folder"):
        PhotoSettings(PhotoFiles(tmp_path / "nothing", files.instances), None, CLASSES, "couch", GRID)
    with pytest.raises(DataLayoutError, match=r"120 of 120 photographs .* '000000000000\.png', .* and 117 more"):
        PhotoSettings(PhotoFiles(tmp_path, files.instances), None, CLASSES, "couch", GRID)
