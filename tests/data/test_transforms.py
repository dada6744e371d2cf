import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as published

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import AUGMENTATIONS, evaluation_transform, random_crop, training_transform

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = st.tuples(st.integers(8, 90), st.integers(8, 90))


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@settings(deadline=None, max_examples=40)
@given(
    size=SIZES,
    side=st.sampled_from([16, 32, 33]),
    more=st.sampled_from([0, 1, 5]),
    mode=st.sampled_from(["bicubic", "bilinear", "nearest"]),
)
def test_evaluation_is_the_published_pipeline(size: tuple[int, int], side: int, more: int, mode: str):
    preprocess = Preprocess(side, CLIP_MEAN, CLIP_STD, mode, resize_side=side + more)
    image = picture(size)
    expected = published.Compose(
        [
            published.Resize(side + more, interpolation=published.InterpolationMode(mode)),
            published.CenterCrop(side),
            published.ToTensor(),
            published.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )(image)
    ours = preprocess.normalise(evaluation_transform(image, preprocess)[None])[0]
    assert torch.equal(ours, expected)


def test_squash_ignores_the_aspect_ratio():
    halves = Image.new("RGB", (64, 16), "black")
    halves.paste("white", (32, 0, 64, 16))
    squashed = evaluation_transform(halves, Preprocess(16, resize="squash"))
    assert squashed.shape == (3, 16, 16)
    assert squashed[:, :, :6].max() == 0
    assert squashed[:, :, 10:].min() == 255


def crop_box(size: tuple[int, int], seed: int) -> tuple[int, int, int, int]:
    """Recover left, top, width, height of the crop from an image whose pixels are their own coordinates."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = Image.fromarray(np.stack([x, y, x * 0], axis=2).astype(np.uint8))
    crop = random_crop(image, Preprocess(256, interpolation="nearest"), np.random.default_rng(seed)).numpy()
    left, right = int(crop[0].min()), int(crop[0].max())
    top, bottom = int(crop[1].min()), int(crop[1].max())
    return left, top, right - left + 1, bottom - top + 1


@settings(deadline=None, max_examples=60)
@given(size=st.tuples(st.integers(20, 120), st.integers(20, 120)), seed=st.integers(0, 1000))
def test_a_crop_has_nine_tenths_of_the_area_or_the_allowed_ratio(size: tuple[int, int], seed: int):
    left, top, width, height = crop_box(size, seed)
    assert left >= 0
    assert top >= 0
    assert left + width <= size[0]
    assert top + height <= size[1]
    share = width * height / (size[0] * size[1])
    slack = 1 / min(width, height)  # sides are rounded to whole pixels
    assert 0.9 * (1 - slack) <= share <= 1 or size[0] / size[1] > 4 / 3 - 0.1 or size[0] / size[1] < 3 / 4 + 0.1
    assert 3 / 4 * (1 - 2 * slack) <= width / height <= 4 / 3 * (1 + 2 * slack)


@pytest.mark.parametrize(("size", "box"), [((100, 40), (23, 0, 53, 40)), ((40, 100), (0, 23, 40, 53))])
def test_an_image_too_long_for_any_draw_gives_its_largest_centred_part(
    size: tuple[int, int], box: tuple[int, int, int, int]
):
    assert {crop_box(size, seed) for seed in range(5)} == {box}


def test_crops_of_a_square_reach_every_side_and_follow_the_generator():
    boxes = [crop_box((100, 100), seed) for seed in range(200)]
    assert boxes == [crop_box((100, 100), seed) for seed in range(200)]
    shares = np.array([width * height / 1e4 for _, _, width, height in boxes])
    assert 0.89 < shares.min() < 0.91
    assert 0.99 < shares.max() <= 1
    assert 0.94 < shares.mean() < 0.96
    assert min(left for left, _, _, _ in boxes) == 0
    assert max(left + width for left, _, width, _ in boxes) == 100


def test_augmentations_are_found_by_name():
    image, preprocess = picture((40, 30)), Preprocess(16)
    rng = np.random.default_rng(0)
    assert torch.equal(training_transform(image, preprocess, "none", rng), evaluation_transform(image, preprocess))
    cropped = training_transform(image, preprocess, "crop", np.random.default_rng(1))
    assert torch.equal(cropped, random_crop(image, preprocess, np.random.default_rng(1)))
    assert AUGMENTATIONS == ("none", "crop")
    with pytest.raises(CallError, match=r"unknown augmentation 'corp'\. Did you mean 'crop'"):
        training_transform(image, preprocess, "corp", rng)
