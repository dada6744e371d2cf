import dataclasses

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_data.few_shot import few_shot


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=300)


def reordered(dataset, order, relabelled=None):
    found = dataset.select(order)
    return found if relabelled is None else dataclasses.replace(found, labels=relabelled[found.labels])


def images_by_class(benchmark):
    """Ids of the drawn images by class name, for both splits."""
    return {
        (split.split, name): {split.ids[row] for row in np.flatnonzero(split.labels == label)}
        for split in (benchmark.train, benchmark.val)
        for label, name in enumerate(benchmark.class_names)
    }


@pytest.mark.parametrize("shots", [1, 4])
def test_every_class_has_that_many_images_in_both_splits_and_the_rest_stays(digits, shots):
    few = few_shot(digits, shots)
    for split, whole in ((few.train, digits.train), (few.val, digits.val)):
        assert np.bincount(split.labels, minlength=10).tolist() == [shots] * 10
        assert set(split.ids) <= set(whole.ids)
    assert not set(few.train.ids) & set(few.val.ids)
    assert few.test is digits.test and few.shifts is digits.shifts


def test_a_draw_is_reproducible_and_the_next_one_is_another(digits):
    first, again, other = (images_by_class(few_shot(digits, 3, draw)) for draw in (0, 0, 1))
    assert first == again
    assert sum(first[key] != other[key] for key in first) > 15


def test_neither_the_order_of_classes_nor_that_of_images_matters(digits):
    shuffled = np.random.default_rng(0).permutation(10)  # the new label of each old one
    names = [""] * 10
    for old, new in enumerate(shuffled):
        names[new] = digits.class_names[old]
    train, val = (
        reordered(split, np.random.default_rng(1).permutation(len(split)).tolist(), shuffled)
        for split in (digits.train, digits.val)
    )
    other = dataclasses.replace(digits, class_names=tuple(names), train=train, val=val)
    assert images_by_class(few_shot(other, 3, 7)) == images_by_class(few_shot(digits, 3, 7))


def test_further_classes_and_captions_do_not_change_the_images_of_a_class(digits):
    rows = np.flatnonzero(digits.train.labels < 2)
    val = np.flatnonzero(digits.val.labels < 2)
    captions = tuple((f"number {i}", "a second text") for i in range(len(rows)))  # no caption is shared
    binary = dataclasses.replace(
        digits,
        class_names=digits.class_names[:2],
        train=dataclasses.replace(digits.train.select(rows), captions=captions),
        val=digits.val.select(val),
    )
    whole = images_by_class(few_shot(digits, 4))
    assert images_by_class(few_shot(binary, 4)) == {k: v for k, v in whole.items() if k[1] in binary.class_names}


def test_images_without_label_are_never_drawn(digits):
    labels = digits.train.labels.copy()
    labels[:100] = -1
    other = dataclasses.replace(digits, train=dataclasses.replace(digits.train, labels=labels))
    assert not set(few_shot(other, 4).train.ids) & set(digits.train.ids[:100])


def test_too_few_images_are_told_with_their_classes(digits):
    with pytest.raises(CallError) as caught:
        few_shot(digits, 29)
    counts = np.bincount(digits.train.labels)
    message = str(caught.value)
    assert message.startswith("29 images of every class cannot be drawn from the train split of digits: ")
    short = [name for name, count in zip(digits.class_names, counts, strict=True) if count < 29]
    assert f"{len(short)} of 10 classes have fewer" in message
    assert f"{short[0]} ({counts[digits.class_names.index(short[0])]})" in message


def test_loading_draws_from_the_whole_splits_and_limits_the_rest():
    few = load_benchmark("digits", limit=20, shots=16, draw=2)
    whole = few_shot(load_benchmark("digits"), 16, 2)
    assert (few.train.ids, few.val.ids) == (whole.train.ids, whole.val.ids)
    assert len(few.train) == len(few.val) == 160 and len(few.test) == 20
    assert all(len(data) == 20 for shift in few.shifts for data in shift.datasets)
