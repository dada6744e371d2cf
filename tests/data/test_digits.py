"""The embedded benchmark: what is promised about its splits, shifts and evidence."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch.nn import functional

from vlm_data import load_benchmark
from vlm_data.benchmark import Benchmark
from vlm_data.dataset import ArrayDataset
from vlm_data.digits.colours import PALETTE, luminance
from vlm_data.digits.corruptions import BLUR_SIGMA, CONTRAST_FACTOR, NOISE_SIGMA, gaussian_blur
from vlm_data.digits.sources import handwritten_digits, photograph
from vlm_data.errors import CallError

NATURAL = ["invert", "color", "rot", "canvas", "photo", "render"]
CORRUPTION = ["noise", "contrast", "blur"]
FINGERPRINTS = """
from vlm_data import load_benchmark
print(*[s.dataset.fingerprint for s in load_benchmark("digits").evaluation_sets()])
"""


@pytest.fixture(scope="module")
def digits() -> Benchmark:
    return load_benchmark("digits")


def shift(benchmark: Benchmark, name: str, severity: int = 1) -> ArrayDataset:
    found = next(s for s in benchmark.shifts if s.name == name).datasets[severity - 1]
    assert isinstance(found, ArrayDataset)
    return found


def test_sources_equal_those_of_scikit_learn():
    images, labels = handwritten_digits()
    assert np.array_equal(images, load_digits().images / 16)
    assert np.array_equal(labels, load_digits().target)
    assert np.array_equal(photograph(), load_sample_images().images[0])


def test_splits_follow_the_file_and_cover_it_once(digits: Benchmark):
    ids = [*digits.train.ids, *digits.val.ids, *digits.test.ids]
    assert ids == [f"digits/{row}" for row in range(1797)]
    assert [len(d) for d in (digits.train, digits.val, digits.test)] == [797, 400, 600]
    counts = [np.bincount(d.labels) for d in (digits.train, digits.val, digits.test)]
    assert [(c.min(), c.max()) for c in counts] == [(79, 81), (37, 43), (56, 62)]


def test_id_images_are_the_bicubic_enlargement(digits: Benchmark):
    source = torch.from_numpy(load_digits().images[:797] / 16)[:, None]
    expected = functional.pad(functional.interpolate(source, 28, mode="bicubic").clamp(0, 1), (2, 2, 2, 2))[:, 0]
    for channel in range(3):
        shown = digits.train.images[..., channel] / 255
        assert np.abs(shown - expected.numpy()).max() < 0.5 / 255 + 1e-5


def test_twenty_two_evaluation_sets_with_names_and_groups(digits: Benchmark):
    sets = list(digits.evaluation_sets())
    names = [f"digits/{name}" for name in NATURAL] + [f"digits/{name}-{i}" for name in CORRUPTION for i in range(1, 6)]
    assert [s.data for s in sets] == ["digits", *names]
    assert [s.dataset.name for s in sets] == ["digits", *names]
    assert {s.shift: s.group for s in sets[1:]} == dict.fromkeys(NATURAL, "natural") | dict.fromkeys(
        CORRUPTION, "corruption"
    )


def test_shifts_keep_ids_and_labels_of_their_originals(digits: Benchmark):
    for s in digits.evaluation_sets():
        assert s.dataset.ids == digits.test.ids
        assert s.dataset.split == "test"
        assert np.array_equal(s.dataset.labels, digits.test.labels)
        assert s.dataset.image(0).size == (32, 32)


def test_every_image_has_evidence_that_is_neither_empty_nor_all(digits: Benchmark):
    for s in digits.evaluation_sets():
        area = np.array([s.dataset.evidence(i).mean() for i in range(600)])
        assert area.min() > 0.01
        assert area.max() < 0.75


@pytest.mark.parametrize("name", ["rot", "canvas"])
def test_evidence_moves_with_the_digit(digits: Benchmark, name: str):
    moved = shift(digits, name)
    assert np.mean((moved.images[..., 0] > 63.75) == moved.masks) > 0.999
    assert np.mean(moved.masks == digits.test.masks) < 0.95


def test_evidence_of_corruptions_is_that_of_the_clean_image(digits: Benchmark):
    for name in ("invert", "color", "photo", *CORRUPTION):
        assert np.array_equal(shift(digits, name).masks, digits.test.masks)


def test_invert_is_the_negative(digits: Benchmark):
    difference = 255 - shift(digits, "invert").images.astype(int) - digits.test.images
    assert np.abs(difference).max() <= 1  # halves are rounded to even on both sides


def test_color_has_two_named_colours_of_different_luminance(digits: Benchmark):
    images = shift(digits, "color").images
    ground = images[:, 0, 0] / 255  # the border of every ID image is empty
    solid = (digits.test.images[..., 0] == 255).reshape(600, -1)
    palette = PALETTE[None]
    for i in np.flatnonzero(solid.any(axis=1)):
        ink = images[i].reshape(-1, 3)[solid[i]][0] / 255
        assert np.abs(palette - ink).max(axis=2).min() < 1 / 255
        assert np.abs(palette - ground[i]).max(axis=2).min() < 1 / 255
        assert abs(np.diff(luminance(np.stack([ink, ground[i]])))) > 0.24


def test_canvas_digits_are_small_and_everywhere(digits: Benchmark):
    ink = shift(digits, "canvas").images[..., 0] > 0
    rows, columns = ink.any(axis=2), ink.any(axis=1)
    for occupied in (rows, columns):
        first, last = occupied.argmax(axis=1), 31 - occupied[:, ::-1].argmax(axis=1)
        assert (last - first + 1).max() <= 0.65 * 32 + 2
        assert first.min() <= 1
        assert last.max() >= 30


def test_photo_shows_white_ink_over_a_dark_photograph(digits: Benchmark):
    images, clean = shift(digits, "photo").images, digits.test.images
    assert images[clean == 255].min() == 255
    assert images[clean == 0].max() <= 0.7 * 255 + 0.5
    assert images[:, :2].std(axis=(1, 2)).mean() > 5  # texture where the clean image is black


def test_render_prints_the_digit_of_the_label(digits: Benchmark):
    masks, labels = shift(digits, "render").masks, digits.test.labels
    means = np.stack([masks[labels == digit][::2].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    held_out = np.concatenate([masks[labels == digit][1::2].reshape(-1, 1024) for digit in range(10)])
    truth = np.concatenate([np.full(len(masks[labels == digit][1::2]), digit) for digit in range(10)])
    nearest = np.argmin(((held_out[:, None] - means[None]) ** 2).sum(axis=2), axis=1)
    assert (
        np.mean(nearest == truth) > 0.35
    )  # chance is 0.1; one mean per class cannot do much better with places and slants


def test_noise_levels_share_one_field_of_the_stated_strength(digits: Benchmark):
    clean = digits.test.images / 255
    inner = (clean > 0.3) & (clean < 0.7)  # at these strengths nothing is clamped here
    first, second = (shift(digits, "noise", i).images / 255 - clean for i in (1, 2))
    assert first[inner].std() == pytest.approx(NOISE_SIGMA[0], rel=0.02)
    assert (
        np.abs(first[inner] / NOISE_SIGMA[0] - second[inner] / NOISE_SIGMA[1])[np.abs(first[inner]) < 0.16].max() < 0.1
    )


def test_contrast_shrinks_the_deviation_from_the_mean(digits: Benchmark):
    clean = digits.test.images.std(axis=(1, 2, 3))
    for severity, factor in enumerate(CONTRAST_FACTOR, start=1):
        images = shift(digits, "contrast", severity).images
        assert np.allclose(images.std(axis=(1, 2, 3)) / clean, factor, atol=0.01)
        assert np.allclose(images.mean(axis=(1, 2, 3)), digits.test.images.mean(axis=(1, 2, 3)), atol=0.6)


def test_blur_spreads_a_point_by_its_sigma():
    point = np.zeros((1, 41, 41, 3), dtype=np.float32)
    point[0, 20, 20] = 1
    axis = np.arange(41) - 20
    for sigma in BLUR_SIGMA:
        spread = gaussian_blur(point, sigma)[0, ..., 0]
        assert spread.sum() == pytest.approx(1, abs=1e-5)
        assert (spread.sum(axis=0) * axis**2).sum() == pytest.approx(sigma**2, rel=0.05)


def test_severities_hurt_more_and_more(digits: Benchmark):
    for name in CORRUPTION:
        distance = [np.abs(shift(digits, name, i).images / 255 - digits.test.images / 255).mean() for i in range(1, 6)]
        assert distance == sorted(distance)
        assert distance[4] > 1.5 * distance[0]


def test_seed_draws_the_shifts_and_nothing_else(digits: Benchmark):
    other = load_benchmark("digits", seed=1)
    for split in ("train", "val", "test"):
        assert getattr(other, split).fingerprint == getattr(digits, split).fingerprint
    drawn = {"color", "rot", "canvas", "photo", "render", "noise"}
    for name in (*NATURAL, *CORRUPTION):
        same = shift(other, name).fingerprint == shift(digits, name).fingerprint
        assert same == (name not in drawn)


def test_pixels_do_not_depend_on_the_number_of_threads(digits: Benchmark):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "3")
    command = [sys.executable, "-c", FINGERPRINTS]
    found = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True).stdout
    assert found.split() == [s.dataset.fingerprint for s in digits.evaluation_sets()]


def test_a_source_after_the_name_is_refused():
    with pytest.raises(
        CallError, match="'digits:mine' names a source, but the digits are embedded; write --data digits"
    ):
        load_benchmark("digits:mine")
