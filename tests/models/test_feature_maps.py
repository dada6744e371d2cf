"""The last feature map is in the graph of the features, and nothing stays behind on the model."""

import pytest
import torch
from torch.nn import functional

from specimens.towers import TOWERS, tower
from vlm_models.capabilities import CapabilityError
from vlm_models.feature_maps import last_feature_map


@pytest.fixture(scope="module", params=TOWERS)
def model(request, tmp_path_factory):
    return tower(request.param, tmp_path_factory.mktemp("tower")).requires_grad_(False)


def images(model, count=2):
    side = model.preprocess.size
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def test_features_stay_and_follow_from_the_map(model):
    batch = images(model)
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    plain = model.encode_image(batch)
    found = last_feature_map(model, batch)
    directions = [functional.normalize(features, dim=1) for features in (found.features, plain)]  # CoCa gives those
    torch.testing.assert_close(*directions, atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(functional.normalize(found.features, dim=1)[:, 0].sum(), [found.node])
    places = found.places(gradient)
    assert found.node.is_leaf and places.shape == (2, found.places(found.node).shape[1], *found.grid)
    assert all(float(of_image.abs().max()) > 0 for of_image in places)
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]


def test_hooks_are_removed_after_an_error(model):
    with pytest.raises(Exception):  # noqa: B017 - every library has its own for images it cannot cut into patches
        last_feature_map(model, torch.zeros(1, 3, 7, 9))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_of_a_resnet_it_is_the_output_of_the_last_stage():
    model = tower("resnet", None)
    expected = []
    handle = model.clip.visual.layer4.register_forward_hook(lambda *all: expected.append(all[2]))
    found = last_feature_map(model, images(model))
    handle.remove()
    assert torch.equal(found.node, expected[0]) and found.grid == (2, 2)
    torch.testing.assert_close(model.clip.visual.attnpool(found.node), found.features)


def test_what_has_no_map_is_said():
    model = tower("resnet", None)
    model.capabilities = frozenset({"image"})
    with pytest.raises(CapabilityError, match=r"resnet has no map of features .*input-gradient"):
        last_feature_map(model, images(model))
    with pytest.raises(CapabilityError, match="cannot do feature map"):
        tower("class token", None).last_stage()
