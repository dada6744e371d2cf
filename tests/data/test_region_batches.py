"""Regions in batches: boxes stay on the pixels they were drawn around, whatever is done to the image."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_data.loading import epoch_order, training_batches, training_order
from vlm_data.preprocess import Preprocess
from vlm_data.region_batches import BatchRegions, RegionSource
from vlm_data.tables import Regions
from vlm_data.transforms import random_crop, training_transform, training_view

SIDE = 64


def drawn(box, width=SIDE, height=SIDE):
    """A black image with one white rectangle."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    return pixels


def extent(image):
    """Borders of what is white in a tensor (3, h, w)."""
    rows, columns = (image[0] > 127).numpy().any(axis=1).nonzero()[0], (image[0] > 127).numpy().any(axis=0).nonzero()[0]
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


BOXES = np.array([[8, 16, 24, 40], [30, 4, 60, 30], [10, 10, 50, 20], [20, 40, 44, 60], [0, 0, 20, 20]])


@pytest.fixture
def dataset():
    images = np.stack([drawn(box) for box in BOXES])
    ids = tuple(f"i{row}" for row in range(len(BOXES)))
    return ArrayDataset("boxes", "train", ids, np.array([0, 1, 2, 0, -1]), images)


@pytest.fixture
def source(dataset):
    """Each white rectangle, in mixed order; image 1 has two, image 4 none; one lies elsewhere."""
    ids = ("i3", "i1", "i0", "elsewhere", "i2", "i1")
    boxes = np.array([BOXES[3], BOXES[1], BOXES[0], [0, 0, 1, 1], BOXES[2], [0, 0, 9, 9]], dtype=np.float64)
    regions = Regions(ids, boxes, spurious=np.array([True, False, False, True, False, True]))
    return RegionSource.of(regions, dataset, dataset.labels)


@pytest.mark.parametrize("augmentation", ["none", "crop"])
@pytest.mark.parametrize("preprocess", [Preprocess(32), Preprocess(64), Preprocess(96, resize="squash")], ids=str)
def test_boxes_lie_around_the_same_pixels(dataset, source, preprocess, augmentation):
    order = [[0, 3, 1], [2, 4]]
    for epoch in range(3):
        for rows, batch in zip(
            order,
            training_batches(
                dataset, preprocess, order, seed=1, epoch=epoch, augmentation=augmentation, regions=source
            ),
            strict=True,
        ):
            regions = batch.regions
            assert regions.labels.tolist() == dataset.labels[rows].tolist()
            first = {int(image): regions.boxes[regions.image_of == image][0] for image in regions.image_of}
            assert set(first) == {place for place, row in enumerate(rows) if row != 4}
            for place, box in first.items():
                np.testing.assert_allclose(box, extent(batch.images[place]), atol=1.5)


def test_images_are_those_of_a_training_without_regions(dataset, source):
    for augmentation in ("none", "crop"):
        for size in (32, 64):
            given = {"seed": 3, "epoch": 2, "augmentation": augmentation}
            plain = next(training_batches(dataset, Preprocess(size), [[4, 0, 2]], **given))
            other = next(training_batches(dataset, Preprocess(size), [[4, 0, 2]], regions=source, **given))
            assert torch.equal(plain.images, other.images)
            assert plain.regions is None and other.regions is not None


def test_a_crop_draws_what_it_drew_without_boxes():
    image = Image.fromarray(drawn(BOXES[0], 80, 50))
    for seed in range(5):
        rngs = [np.random.default_rng(seed) for _ in range(3)]
        view = training_view(image, BOXES[:1].astype(float), Preprocess(32), "crop", rngs[0])[0]
        assert torch.equal(view, random_crop(image, Preprocess(32), rngs[1]))
        assert torch.equal(view, training_transform(image, Preprocess(32), "crop", rngs[2]))
        assert len({rng.random() for rng in rngs}) == 1


def test_facts_of_images_and_regions(source):
    assert source.bounds.tolist() == [0, 1, 3, 4, 5, 5]
    assert source.holds.tolist() == [False, True, False, True, False]
    whole = [(source.in_image(row)[0], np.ones(len(source.in_image(row)[0]))) for row in (1, 4, 3)]
    batch = source.batch(np.array([1, 4, 3]), whole)
    assert batch.image_of.tolist() == [0, 0, 2] and batch.spurious.tolist() == [False, True, True]
    assert batch.holds.tolist() == [True, False, True] and batch.boxes.dtype == torch.float32


def test_what_a_centre_crop_cuts_away_is_no_region_but_the_image_still_holds_it():
    images = np.stack([drawn([0, 0, 10, 32], 96, 32)])
    dataset = ArrayDataset("wide", "train", ("a",), np.array([0]), images)
    regions = Regions(("a", "a"), np.array([[0, 0, 10, 32], [40, 0, 60, 32]]), spurious=np.array([True, False]))
    source = RegionSource.of(regions, dataset, dataset.labels)
    (batch,) = training_batches(dataset, Preprocess(32), [[0]], seed=0, epoch=0, regions=source)
    assert batch.regions.boxes.tolist() == [[8.0, 0.0, 28.0, 32.0]]
    assert batch.regions.spurious.tolist() == [False] and batch.regions.holds.tolist() == [True]


def test_batches_joined_and_moved(source):
    rows = [np.array([1, 4]), np.array([3, 0])]
    whole = [(boxes, np.ones(len(boxes))) for boxes, _ in map(source.in_image, (1, 4, 3, 0))]
    parts = [source.batch(rows[0], whole[:2]), source.batch(rows[1], whole[2:])]
    joined, once = BatchRegions.joined(parts).to("cpu"), source.batch(np.concatenate(rows), whole)
    for field in dataclasses.fields(once):
        assert torch.equal(getattr(joined, field.name), getattr(once, field.name))


def test_a_table_without_flags_is_refused(dataset):
    with pytest.raises(CallError, match="does not say which of them are spurious"):
        RegionSource.of(Regions(("i0",), BOXES[:1].astype(float)), dataset, dataset.labels)


class TestWeightedOrder:
    def test_draws_follow_the_weights_and_nothing_else(self):
        weights = np.array([0.0, 1.0, 3.0, 0.0])
        drawn = np.concatenate([epoch_order(4, 0, epoch, weights) for epoch in range(500)])
        shares = np.bincount(drawn, minlength=4) / len(drawn)
        assert shares[[0, 3]].tolist() == [0, 0] and shares[2] == pytest.approx(0.75, abs=0.03)
        assert np.array_equal(epoch_order(4, 0, 7, weights), epoch_order(4, 0, 7, 10 * weights))
        assert not np.array_equal(epoch_order(50, 0, 7, np.ones(50)), epoch_order(50, 1, 7, np.ones(50)))

    def test_processes_share_each_batch(self):
        weights = np.linspace(0.1, 1, 10)
        whole = training_order(10, 4, 0, 3, weights=weights)
        halves = [training_order(10, 4, 0, 3, rank, 2, weights) for rank in (0, 1)]
        assert [a + b for a, b in zip(*halves, strict=True)] == whole
