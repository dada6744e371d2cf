import pytest
import torch
from torch import nn

from vlm_data.errors import CallError
from vlm_explain.rationale.perturbation import (
    Perturbation,
    area_under,
    ground,
    perturbation_curves,
    random_relevance,
)


class Counting(nn.Module):
    """The logit of class 1 is a known function of how many white pixels are in the left half."""

    def forward(self, images):
        white = (images[:, 0, :, :2].float() / 255).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(white), white], dim=1)


@pytest.fixture
def white_on_the_left():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    images[:, :, :, :2] = 255
    relevance = torch.zeros(2, 4, 4)
    relevance[0, :, :2], relevance[1, :, 2:] = 1, 1  # a map that knows, and one that points at nothing
    return images, relevance, torch.ones(2, dtype=torch.long)


def expected(counts):
    return torch.sigmoid(torch.tensor(counts, dtype=torch.float32))


def test_curves_of_a_model_worked_out_by_hand(white_on_the_left):
    images, relevance, targets = white_on_the_left
    images = images.float()  # so that the mean colour stays a half
    images[:, :, :, 2:] = 0
    curves = perturbation_curves(
        Counting(), images, relevance, targets, Perturbation(steps=2, insertion="mean", deletion="mean")
    )
    half = 4.0  # eight pixels of half the brightness
    torch.testing.assert_close(curves.insertion[0], expected([half, 8.0, 8.0]))
    torch.testing.assert_close(curves.insertion[1], expected([half, half, 8.0]))
    torch.testing.assert_close(curves.deletion[0], expected([8.0, half, half]))
    torch.testing.assert_close(curves.deletion[1], expected([8.0, 8.0, half]))
    assert curves.insertion_area[0] > curves.insertion_area[1]
    assert curves.deletion_area[0] < curves.deletion_area[1]


def test_patches_are_laid_over_the_pixels(white_on_the_left):
    images, _, targets = white_on_the_left
    pixels = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(3))
    fine = pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    options = Perturbation(steps=4)
    coarse = perturbation_curves(Counting(), images, pixels, targets, options)
    torch.testing.assert_close(
        coarse.deletion, perturbation_curves(Counting(), images, fine, targets, options).deletion
    )


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10_000])
def test_the_batch_size_does_not_matter(white_on_the_left, batch_size):
    images, relevance, targets = white_on_the_left
    whole = perturbation_curves(Counting(), images, relevance, targets)
    parts = perturbation_curves(Counting(), images, relevance, targets, batch_size=batch_size)
    torch.testing.assert_close(parts.insertion, whole.insertion)
    torch.testing.assert_close(parts.deletion, whole.deletion)


def test_the_curves_of_an_image_do_not_depend_on_the_others():
    images = torch.randint(0, 256, (3, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    relevance = torch.zeros(3, 6, 8)  # ties only: the order is all drawn
    whole = perturbation_curves(Counting(), images, relevance, torch.tensor([0, 1, 1]))
    for row in range(3):
        one = slice(row, row + 1)
        alone = perturbation_curves(Counting(), images[one], relevance[one], torch.tensor([0, 1, 1])[one])
        torch.testing.assert_close(alone.insertion, whole.insertion[one])


def test_more_steps_than_parts(white_on_the_left):
    images, relevance, targets = white_on_the_left
    curves = perturbation_curves(Counting(), images, relevance[:, :1, :2], targets, Perturbation(steps=5))
    assert curves.insertion.shape == (2, 6)


def test_the_seed_decides_between_ties_only(white_on_the_left):
    images, _, targets = white_on_the_left
    order = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    for relevance, same in ((order, True), (torch.zeros(2, 4, 4), False)):
        found = [
            perturbation_curves(Counting(), images, relevance, targets, Perturbation(seed=seed)).deletion
            for seed in (0, 1)
        ]
        assert torch.equal(*found) is same


def test_random_orders_differ_between_images_and_seeds():
    first = random_relevance(2, (3, 4), 0)
    assert torch.equal(first, random_relevance(2, (3, 4), 0))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, random_relevance(2, (3, 4), 1))


@pytest.mark.parametrize("kind", ["blur", "mean"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_even_image_is_its_own_ground(kind, dtype):
    images = torch.tensor([[30, 60, 90]]).view(1, 3, 1, 1).expand(1, 3, 5, 9).to(dtype)
    found = ground(images, kind)
    assert found.dtype == dtype
    torch.testing.assert_close(found, images)


def test_blur_is_local_and_the_mean_is_not():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 7, 7] = 256
    blurred = ground(images, "blur")[0, 0]
    assert blurred.argmax() == 7 * 16 + 7 and blurred[7, 7] > 10 * blurred[13, 13]
    assert (ground(images, "mean") == 1).all()


def test_the_area_is_by_the_trapezoid_rule():
    assert area_under(torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])).tolist() == [0.75, 1.0]


def test_what_does_not_fit_is_refused(white_on_the_left):
    images, relevance, targets = white_on_the_left
    with pytest.raises(CallError, match=r"targets \(1,\) do not fit"):
        perturbation_curves(Counting(), images, relevance, targets[:1])
    with pytest.raises(CallError, match="finer than images"):
        perturbation_curves(Counting(), images, torch.zeros(2, 5, 4), targets)
    with pytest.raises(CallError, match="in 0 steps"):
        Perturbation(steps=0)
    with pytest.raises(CallError, match=r"unknown ground of a perturbed image 'blurr'\. Did you mean 'blur'"):
        Perturbation(deletion="blurr")
