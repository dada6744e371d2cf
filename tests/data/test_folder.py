import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.errors import CallError, DataLayoutError

Tree = Callable[[Iterable[str]], Path]


def names(*folders: str, n: int = 10) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(n)]


def load(folder: Path, **options: int) -> Benchmark:
    return load_benchmark(f"folder:{folder}", **options)


def sizes(benchmark: Benchmark) -> tuple[int, int, int]:
    return len(benchmark.train), len(benchmark.val), len(benchmark.test)


def refusal(folder: Path) -> str:
    with pytest.raises(DataLayoutError) as caught:
        load(folder)
    return str(caught.value)


def test_split_folders_and_shifts_are_read_as_they_are(image_tree: Tree):
    folder = image_tree(
        [
            *names("train/big_cat", "train/dog", n=3),
            *names("validation/big_cat", "validation/dog", n=2),
            *names("test/big_cat", "test/dog", n=1),
            *names("shifts/sketch/dog", n=2),
            *names("shifts/night/big_cat", "shifts/night/dog", n=1),
        ]
    )
    benchmark = load(folder)
    assert (benchmark.name, sizes(benchmark)) == ("photos", (6, 4, 2))
    assert benchmark.class_names == ("big cat", "dog")
    assert benchmark.templates == ("a photo of a {c}.",)
    assert benchmark.test.ids == ("test/big_cat/0.png", "test/dog/0.png")
    assert benchmark.test.labels.tolist() == [0, 1]
    sets = list(benchmark.evaluation_sets())
    assert [one.data for one in sets] == ["photos", "photos/night", "photos/sketch"]
    assert [(one.dataset.name, one.dataset.split, one.group) for one in sets[1:]] == [
        ("photos/night", "test", "natural"),
        ("photos/sketch", "test", "natural"),
    ]
    assert sets[2].dataset.labels.tolist() == [1, 1]
    assert sets[2].dataset.image(0).size == (12, 10)


def test_class_folders_alone_are_split_per_class(image_tree: Tree):
    folder = image_tree([*names("cat", n=20), *names("dog", n=30), *names("shifts/sketch/cat", n=3)])
    benchmark = load(folder)
    assert sizes(benchmark) == (40, 5, 5)
    for dataset, counts in ((benchmark.train, [16, 24]), (benchmark.val, [2, 3]), (benchmark.test, [2, 3])):
        assert np.bincount(dataset.labels).tolist() == counts
    everything = [*benchmark.train.ids, *benchmark.val.ids, *benchmark.test.ids]
    assert sorted(everything) == sorted(names("cat", n=20) + names("dog", n=30))
    assert [shift.name for shift in benchmark.shifts] == ["sketch"]


def test_the_draw_depends_on_the_seed_alone(image_tree: Tree):
    folder = image_tree(names("cat", "dog", n=20))
    first, again, other = load(folder, seed=3), load(folder, seed=3), load(folder, seed=4)
    assert first.test.ids == again.test.ids
    assert first.test.ids != other.test.ids


@pytest.mark.parametrize(
    ("present", "expected"),
    [(("train",), (16, 2, 2)), (("train", "val"), (18, 20, 2)), (("train", "test"), (18, 2, 20))],
)
def test_missing_splits_are_drawn_from_train(
    image_tree: Tree, present: tuple[str, ...], expected: tuple[int, int, int]
):
    folder = image_tree([name for split in present for name in names(f"{split}/cat", f"{split}/dog")])
    benchmark = load(folder)
    assert sizes(benchmark) == expected
    assert all(np.bincount(data.labels).tolist()[0] == len(data) // 2 for data in (benchmark.val, benchmark.test))
    assert not set(benchmark.train.ids) & {*benchmark.val.ids, *benchmark.test.ids}


def test_names_and_templates_may_be_given(image_tree: Tree):
    folder = image_tree(names("n01", "n02", n=3))
    (folder / "classnames.txt").write_text("n02\tgrey crane\nn01\tconstruction crane\n")
    (folder / "templates.txt").write_text("a drawing of a {c}.\n{c}\n")
    benchmark = load(folder)
    assert benchmark.class_names == ("construction crane", "grey crane")
    assert benchmark.templates == ("a drawing of a {c}.", "{c}")


def test_other_files_and_hidden_ones_are_passed_over(image_tree: Tree):
    folder = image_tree([*names("cat", "dog", n=3), "cat/.hidden.png", ".cache/0.png", "dog/.thumbs/0.png"])
    (folder / "cat" / "notes.txt").write_text("")
    (folder / "README.md").write_text("")
    (folder / "cat" / "0.png").rename(folder / "cat" / "0.PNG")
    benchmark = load(folder)
    assert sum(sizes(benchmark)) == 6
    assert "cat/0.PNG" in {*benchmark.train.ids, *benchmark.val.ids, *benchmark.test.ids}


def test_a_class_may_be_called_like_a_split_or_like_the_shifts(image_tree: Tree):
    benchmark = load(image_tree(names("train", "bus", "shifts", n=3)))
    assert benchmark.class_names == ("bus", "shifts", "train")
    assert benchmark.shifts == ()


def test_paths_start_at_the_root(image_tree: Tree):
    folder = image_tree(names("cat", "dog", n=3))
    assert load_benchmark("folder:photos", root=folder.parent).train.ids == load(folder).train.ids
    assert load_benchmark(f"folder:{folder}", root="/nowhere").train.ids == load(folder).train.ids
    assert load_benchmark("folder:.", root=folder).name == "photos"


def test_no_folder(tmp_path: Path):
    with pytest.raises(CallError, match=r"'folder' names no data; expected a path after a colon\. Write folder:PATH"):
        load_benchmark("folder")
    assert refusal(tmp_path / "photos").startswith(
        f"{tmp_path}/photos does not exist. Expected a folder with one folder"
    )
    (tmp_path / "photos").write_text("")
    assert refusal(tmp_path / "photos").startswith(f"{tmp_path}/photos is a file, not a folder.")


def test_no_images(image_tree: Tree):
    folder = image_tree([])
    assert "is not sorted into class folders: it holds no folders and no images" in refusal(folder)


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ([*names("cat", "dog"), "9.png"], "found 9.png. Expected photos/CLASS/*.jpg"),
        ([*names("train/cat", "train/dog"), "train/9.png"], "found 9.png. Expected train/CLASS/*.jpg"),
        (names("cat", "dog/small"), "found dog/small/0.png"),
        (names("data/train/cat", "data/train/dog", "data/val/cat"), "is half-empty: 1 of 1 class folders"),
    ],
)
def test_images_in_the_wrong_place(image_tree: Tree, tree: list[str], found: str):
    assert found in refusal(image_tree(tree))


def test_split_folders_without_class_folders(image_tree: Tree):
    message = refusal(image_tree(names("train", "test")))
    assert "has 'test', 'train' but no 'train' with class folders. Expected DIR/train/CLASS/*.jpg" in message
    message = refusal(image_tree(names("val/cat", "val/dog")))
    assert "but no 'train' with class folders" in message


@pytest.mark.parametrize("split", ["test", "valid"])
@pytest.mark.parametrize("images", [names("{}"), []])
def test_a_split_without_class_folders_is_not_drawn_instead(image_tree: Tree, split: str, images: list[str]):
    folder = image_tree([*names("train/cat", "train/dog"), *(image.format(split) for image in images)])
    (folder / split).mkdir(exist_ok=True)
    assert refusal(folder).startswith(
        f"{folder}/{split} has no class folders, unlike {folder}/train. Expected {split}/CLASS/*.jpg."
    )


def test_a_half_empty_folder(image_tree: Tree):
    folder = image_tree(names("train/cat", "train/dog", "train/owl"))
    shutil.rmtree(folder / "train" / "cat")
    (folder / "train" / "cat").mkdir()
    (folder / "train" / "cat" / "list.txt").write_text("")
    message = refusal(folder)
    assert message.startswith(
        f"{folder}/train is half-empty: 1 of 3 class folders hold no images: 'cat' ('cat' holds '.txt')"
    )
    assert "Expected files ending in .jpg .jpeg .png .webp .bmp .gif .tif .tiff in each" in message


def test_class_folders_that_differ_between_splits(image_tree: Tree):
    folder = image_tree(names("train/cat", "train/dog", "test/cat", "test/dogs", "test/owl"))
    message = refusal(folder)
    assert "the class folders of train and test in" in message
    assert "differ; only in train: 'dog'; only in test: 'dogs', 'owl'." in message


def test_a_shift_with_classes_of_its_own(image_tree: Tree):
    message = refusal(image_tree(names("cat", "dog", "shifts/sketch/cat", "shifts/sketch/owl")))
    assert "shift 'sketch' of" in message
    assert "has class folders that train has not: 'owl'" in message


def test_two_folders_for_one_split(image_tree: Tree):
    tree = names(*(f"{split}/{kind}" for split in ("train", "val", "valid") for kind in ("cat", "dog")))
    assert "two folders for the val split, val and valid" in refusal(image_tree(tree))


def test_one_class(image_tree: Tree):
    assert "has one class folder, 'cat'. Expected two or more classes" in refusal(image_tree(names("cat")))


def test_two_classes_with_the_same_display_name(image_tree: Tree):
    message = refusal(image_tree(names("big_cat", "big cat")))
    assert "classes 'big cat' and 'big_cat' have the same display name 'big cat'" in message


def test_too_few_images_to_draw_from(image_tree: Tree):
    message = refusal(image_tree([*names("cat", "dog"), *names("owl", n=2)]))
    assert "too few training images to draw val and test from: class 'owl'" in message
    assert "Expected at least 3 images of each class" in message
