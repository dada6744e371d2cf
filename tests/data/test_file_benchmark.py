import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import DataLayoutError
from vlm_data.file_benchmark import complete_splits

NAMES = ("cat", "dog", "owl")
COUNTS = st.lists(st.integers(3, 45), min_size=1, max_size=3)


def everything(counts: list[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.array(["train"] * len(labels), dtype=object), labels, [f"{i:03d}" for i in range(len(labels))]


@given(COUNTS, st.integers(0, 5))
def test_a_tenth_of_each_class_goes_to_val_and_to_test(counts: list[int], seed: int):
    splits, labels, ids = everything(counts)
    drawn = complete_splits(splits, labels, ids, NAMES, seed)
    for label, count in enumerate(counts):
        tenth = max(1, round(count / 10))
        in_class = drawn[labels == label].tolist()
        assert [in_class.count(split) for split in ("train", "val", "test")] == [count - 2 * tenth, tenth, tenth]


@given(COUNTS, st.permutations(range(5)), st.integers(0, 5))
def test_the_draw_does_not_depend_on_the_order_of_the_list(counts: list[int], blocks: list[int], seed: int):
    splits, labels, ids = everything(counts)
    order = np.concatenate([np.arange(len(ids))[block::5] for block in blocks])
    drawn = complete_splits(splits, labels, ids, NAMES, seed)
    shuffled = complete_splits(splits, labels[order], [ids[i] for i in order], NAMES, seed)
    assert shuffled.tolist() == drawn[order].tolist()


@given(COUNTS)
def test_images_without_a_label_are_one_class(counts: list[int]):
    splits, labels, ids = everything(counts)
    drawn = complete_splits(splits, np.full_like(labels, UNLABELLED), ids, (), 0).tolist()
    tenth = max(1, round(len(ids) / 10))
    assert drawn.count("val") == drawn.count("test") == tenth


def test_given_splits_are_kept():
    splits = np.array(["train", "val", "test", "shift:night"], dtype=object)
    assert complete_splits(splits, np.zeros(4, np.int64), list("abcd"), NAMES, 0).tolist() == splits.tolist()


def test_too_few_images_are_refused():
    splits, labels, ids = everything([2])
    with pytest.raises(DataLayoutError, match="to draw val and test from: class 'cat'"):
        complete_splits(splits, labels, ids, NAMES, 0)
    with pytest.raises(DataLayoutError, match="to draw val and test from: 2 in all"):
        complete_splits(splits, np.full_like(labels, UNLABELLED), ids, (), 0)
