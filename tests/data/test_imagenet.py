"""ImageNet and its shifts, read from a miniature that lies on disk as the originals do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from specimens.published import IMAGENET_CLASSES, write_classes, write_imagenet
from vlm_data import load_benchmark
from vlm_data.benchmark import Shift
from vlm_data.errors import DataLayoutError
from vlm_data.imagenet.classes import objectnet_classes, official_names, subset_ids, wnids

CLASS_MAPS = json.loads((Path(__file__).parents[1] / "golden" / "wise" / "class_maps.json").read_text())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_imagenet(tmp_path)
    return tmp_path


def shifts_of(tree: Path, name: str = "imagenet") -> dict[str, Shift]:
    return {shift.name: shift for shift in load_benchmark(name, tree).shifts}


def test_class_lists_are_the_published_ones():
    assert subset_ids("r") == tuple(CLASS_MAPS["imagenet_r"])
    assert subset_ids("a") == tuple(CLASS_MAPS["imagenet_a"])
    published = [(one["folder"], one["name"], tuple(one["imagenet_ids"])) for one in CLASS_MAPS["objectnet"]]
    assert [(one.folder, one.name, one.ids) for one in objectnet_classes()] == published
    assert len({number for one in objectnet_classes() for number in one.ids}) == 125
    assert len(set(wnids())) == 1000 and sorted(wnids()) == list(wnids())
    assert len(official_names()) == 1000 and len(set(official_names())) == 998
    assert official_names()[836] == official_names()[837] == "sunglasses"


def test_classes_are_the_folders_of_train_under_their_official_names(tree: Path):
    benchmark = load_benchmark("imagenet", tree)
    assert benchmark.class_names == tuple(official_names()[number] for number in IMAGENET_CLASSES)
    assert len(benchmark.templates) == 80 and benchmark.templates[0] == "a bad photo of a {c}."
    assert np.bincount(benchmark.train.labels).tolist() == [11] * 5  # a tenth of twelve is held out
    assert np.bincount(benchmark.val.labels).tolist() == [1] * 5
    assert benchmark.test.ids[0].startswith("val/n01498041/") and len(benchmark.test) == 20
    assert "5 of the 1000 classes" in benchmark.notes[0]
    assert "13 corruptions (ImageNet-C: brightness" in benchmark.notes[1]


def test_no_more_than_26_images_of_a_class_are_held_out(tree: Path):
    write_classes(tree / "imagenet" / "train", ["n01498041"], 300)
    assert np.bincount(load_benchmark("imagenet", tree).val.labels).tolist() == [26, 1, 1, 1, 1]
    write_classes(tree / "imagenet" / "val_heldout", list(IMAGENET_CLASSES.values()), 2)
    given = load_benchmark("imagenet", tree)
    assert (len(given.val), len(given.train)) == (10, 300 + 4 * 12)


def test_every_shift_has_the_labels_of_its_classes(tree: Path):
    shifts = shifts_of(tree)
    assert list(shifts) == ["v2", "r", "a", "sketch", "objectnet", "gaussian_noise", "snow"]
    assert (
        shifts["sketch"].classes == ()
        and shifts["sketch"].datasets[0].labels.tolist() == np.repeat(range(5), 2).tolist()
    )
    assert shifts["r"].classes == ((0,), (1,), (3,))  # of the class numbers 6, 11 and 414
    assert shifts["r"].datasets[0].labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert shifts["a"].classes == ((0,), (1,), (4,))
    assert shifts["objectnet"].classes == ((2, 4), (3,))  # an alarm clock is an analog or a digital clock
    assert shifts["objectnet"].datasets[0].ids[-1] == "objectnet/backpack/2.png"
    names = load_benchmark("imagenet", tree).names_of(shifts["objectnet"].classes)
    assert names == ("analog clock or digital clock", "backpack")


def test_the_number_a_folder_of_v2_is_called_is_its_class_not_its_place(tree: Path):
    v2 = shifts_of(tree)["v2"].datasets[0]  # sorted as text: 11, 409, 414, 530, 6, 7
    assert v2.ids[0].startswith("v2/6/") and v2.labels.tolist() == np.repeat(range(5), 2).tolist()
    (tree / "ImageNetV2-matched-frequency").rename(tree / "imagenetv2-matched-frequency-format-val")
    assert shifts_of(tree)["v2"].datasets[0].ids == v2.ids


def test_severities_of_a_corruption_show_the_same_images(tree: Path):
    noise = shifts_of(tree)["gaussian_noise"]
    assert (noise.group, len(noise.datasets)) == ("corruption", 5)
    assert len({level.ids for level in noise.datasets}) == 1
    assert set(noise.datasets[0].ids) <= set(load_benchmark("imagenet", tree).test.ids)
    shutil.rmtree(tree / "ImageNet-C" / "snow" / "3")
    with pytest.raises(DataLayoutError, match=r"snow lacks severity 3. Expected folders 1 to 5"):
        load_benchmark("imagenet", tree)


def test_the_red_frame_of_objectnet_is_cut_or_kept_under_another_name(tree: Path):
    cut = shifts_of(tree)["objectnet"].datasets[0]
    kept = shifts_of(tree, "imagenet:border")["objectnet-border"].datasets[0]
    assert cut.image_size(0) == cut.image(0).size == (16, 12)
    assert kept.image_size(0) == kept.image(0).size == (20, 16)
    np.testing.assert_array_equal(np.asarray(cut.image(1)), np.asarray(kept.image(1))[2:-2, 2:-2])
    assert cut.fingerprint != kept.fingerprint


def test_shifts_that_are_not_there_are_told(tree: Path):
    for folder in ("imagenet-a", "objectnet-1.0", "ImageNet-C"):
        shutil.rmtree(tree / folder)
    benchmark = load_benchmark("imagenet", tree)
    assert [shift.name for shift in benchmark.shifts] == ["v2", "r", "sketch"]
    missing = f"{tree} has not, or of other classes only: a (imagenet-a), objectnet (objectnet-1.0/images), 15 corrup"
    assert missing in benchmark.notes[1]


def test_folders_that_are_no_classes_are_named(tree: Path):
    write_classes(tree / "imagenet-r", ["n01440764"], 1)  # of ImageNet, not of ImageNet-R
    with pytest.raises(
        DataLayoutError, match=r"imagenet-r has folders that are no classes: 'n01440764'. .*200 classes of r"
    ):
        load_benchmark("imagenet", tree)
    shutil.rmtree(tree / "imagenet-r")
    write_classes(tree / "imagenet" / "train", ["cat"], 1)
    with pytest.raises(DataLayoutError, match=r"train has folders that are no classes: 'cat'. Expected WordNet ids"):
        load_benchmark("imagenet", tree)


def test_the_other_layout_is_read_too(tree: Path):
    before = load_benchmark("imagenet", tree)
    (tree / "imagenet" / "val").rename(tree / "imagenet" / "val_dirs")
    (tree / "imagenet").rename(tree / "ILSVRC2012")
    assert load_benchmark("imagenet", tree).test.ids == before.test.ids


def test_too_few_classes_and_images_outside_class_folders_are_refused(tree: Path):
    for wnid in list(IMAGENET_CLASSES.values())[1:]:
        shutil.rmtree(tree / "imagenet" / "train" / wnid)
    with pytest.raises(DataLayoutError, match=r"has 1 class folders. Expected 1000"):
        load_benchmark("imagenet", tree)
    write_imagenet(tree)
    shutil.copy(next((tree / "imagenet" / "val").rglob("*.JPEG")), tree / "imagenet" / "val" / "a.JPEG")
    with pytest.raises(DataLayoutError, match=r"not sorted into class folders: found a.JPEG"):
        load_benchmark("imagenet", tree)
