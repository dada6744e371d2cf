"""Every kind of image tower pools regions by every rule it can, and says so where it cannot."""

import pytest
import torch
from torch.nn import functional

from specimens.huggingface import write_folder
from specimens.towers import FURTHER_TOWERS, TOWERS, tower
from vlm_models import load_encoder
from vlm_models.capabilities import CapabilityError
from vlm_models.region_pooling import POOLINGS, features_with_regions, shares_head

LIBRARY = ("siglip2", "metaclip_2", "chinese_clip", "altclip")
IMPOSSIBLE = {
    "convnext": {"attention", "masked", "patch", "roi"},
    "resnet": {"masked"},
    "coca": {"patch", "roi"},
    "mean of patches": {"masked"},
    "norm after the mean": {"masked"},
    "timm mean": {"masked"},
}
"""What a tower cannot be pooled by; CoCa makes its tokens something else before it projects them."""


@pytest.fixture(scope="module", params=(*TOWERS, *FURTHER_TOWERS, *LIBRARY))
def named(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tower")
    if request.param in LIBRARY:
        write_folder(folder, request.param)
        return request.param, load_encoder(f"hf:{folder}")
    return request.param, tower(request.param, folder)


@pytest.fixture
def model(named):
    return named[1]


@pytest.fixture(params=POOLINGS)
def pooling(request, named):
    name, encoder = named
    if request.param in IMPOSSIBLE.get(name, ()):
        side = encoder.preprocess.size
        with pytest.raises(CapabilityError, match=r"cannot do|cannot be shown|projects vectors"):
            features_with_regions(encoder, images(encoder), whole(side), torch.tensor([0]), request.param)
        pytest.skip(f"{name} has no {request.param}, and says so")
    return request.param


def images(model, count=3):
    side = model.preprocess.size
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def whole(side):
    return torch.tensor([[0.0, 0, side, side]])


def parts(side):
    """The third image has two regions and the whole, the first one that lies across patches, the second none."""
    boxes = torch.tensor([[0.0, 0, 0.5, 0.5], [0.3, 0.1, 0.9, 0.45], [0.5, 0, 1, 1], [0, 0, 1, 1]]) * side
    return boxes, torch.tensor([2, 0, 2, 2])


def directions(features):
    return functional.normalize(features, dim=-1)  # CoCa gives its own so


@torch.no_grad()
def test_images_stay_and_the_whole_image_is_the_image(model, pooling):
    batch = images(model)
    plain = directions(model.encode_image(batch))
    features, regions = features_with_regions(model, batch, *parts(model.preprocess.size), pooling)
    assert regions.shape == (4, model.embedding_dim) and torch.isfinite(regions).all()
    torch.testing.assert_close(directions(features), plain, atol=1e-6, rtol=1e-5)
    if pooling in ("attention", "crop", "masked"):
        assert shares_head(model, pooling)
        torch.testing.assert_close(directions(regions[3]), plain[2], atol=1e-6, rtol=1e-5)
    assert (directions(regions[:3]) - plain[[2, 0, 2]]).abs().amax(dim=1).min() > 1e-3


@torch.no_grad()
def test_a_region_does_not_depend_on_others(model, pooling):
    batch = images(model)
    boxes, image_of = parts(model.preprocess.size)
    _, regions = features_with_regions(model, batch, boxes, image_of, pooling)
    for number in range(4):
        alone = batch[image_of[number]][None]
        _, found = features_with_regions(model, alone, boxes[number][None], torch.tensor([0]), pooling)
        torch.testing.assert_close(directions(found[0]), directions(regions[number]), atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_only_crops_and_masked_towers_are_blind_to_the_surroundings(model, pooling):
    """Another right half: of a tower of transformers the left one, seen within its image, becomes another vector."""
    first, second = images(model, 2), images(model, 2)
    side = model.preprocess.size
    second[:, :, :, side // 2 :] = 255 - second[:, :, :, side // 2 :]
    left = torch.tensor([[0.0, 0, side / 2, side]]).repeat(2, 1)
    found = [features_with_regions(model, batch, left, torch.arange(2), pooling)[1] for batch in (first, second)]
    difference = (directions(found[0]) - directions(found[1])).abs().max()
    assert difference < 1e-6 if pooling in ("crop", "masked") else difference > 1e-4


def test_gradients_and_hooks(model, pooling):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    _, regions = features_with_regions(model, images(model), *parts(model.preprocess.size), pooling)
    directions(regions)[:, 0].sum().backward()
    gradients = [parameter.grad for parameter in model.image_tower().parameters() if parameter.grad is not None]
    model.zero_grad()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().max()) > 0 for gradient in gradients) > 2
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]


def test_hooks_are_removed_after_an_error(model):
    wrong = torch.zeros(1, 3, 7, 7)
    for name in POOLINGS:
        with pytest.raises(Exception):  # noqa: B017 - every library has its own for such images
            features_with_regions(model, wrong, torch.tensor([[0.0, 0, 7, 7]]), torch.tensor([0]), name)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision(model, pooling, dtype):
    side = model.preprocess.size
    expected = directions(features_with_regions(model, images(model), *parts(side), pooling)[1])
    model.to(dtype)
    try:
        regions = features_with_regions(model, images(model), *parts(side), pooling)[1]
    finally:
        model.to(torch.float32)
    assert regions.dtype == dtype and torch.isfinite(regions).all()
    assert (directions(regions.float()) - expected).norm(dim=1).max() < 0.2


@torch.no_grad()
def test_autocast(model, pooling):
    side = model.preprocess.size
    expected = directions(features_with_regions(model, images(model), *parts(side), pooling)[1])
    with torch.autocast("cpu", torch.bfloat16):
        regions = features_with_regions(model, images(model), *parts(side), pooling)[1]
    assert (directions(regions.float()) - expected).norm(dim=1).max() < 0.2
