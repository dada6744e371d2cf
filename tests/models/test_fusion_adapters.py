"""Low-rank adapters in ALBEF and BLIP: where they go, and that merging them changes nothing."""

import pytest
import torch

from vlm_models import load_encoder
from vlm_models.adapters import adapter_targets, add_adapters
from vlm_models.interface import freeze


@pytest.fixture(params=["albef", "blip"])
def encoder(request, fusion_folder):
    return load_encoder(fusion_folder(request.param))


def features(encoder):
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return encoder.encode_image(images), encoder.encode_text(encoder.tokenize(["abc", "a b"]))


def contrastive_targets(encoder):
    """Where a contrastive loss reaches: not the layers that see an image and a text together."""
    encoder.requires_grad_(True)
    freeze(encoder.idle_parameters())
    return [
        target
        for target in adapter_targets(encoder)
        if all(parameter.requires_grad for parameter in encoder.get_submodule(target).parameters())
    ]


def test_they_go_to_every_layer_of_both_towers(encoder, small_fusion_sizes):
    targets = contrastive_targets(encoder)
    layers = small_fusion_sizes.text_layers
    if encoder.spec.startswith("blip"):
        layers += small_fusion_sizes.fusion_layers  # BLIP reads text with all of its layers
    groups = [encoder.parameter_group(f"{target}.weight") for target in targets]
    assert groups.count("vision") == 4 * small_fusion_sizes.vision_layers
    assert groups.count("text") == 3 * layers
    assert len(groups) == groups.count("vision") + groups.count("text")


def test_every_adapter_receives_a_gradient(encoder):
    add_adapters(encoder, rank=2, alpha=8, targets=contrastive_targets(encoder))
    sum(found.square().sum() for found in features(encoder.train())).backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained and all(p.grad is not None for p in trained.values())
    assert all(p.grad.any() for name, p in trained.items() if "lora_B" in name)


def test_merged_it_is_the_same_function_and_loads_like_the_base(encoder, assert_merging_changes_nothing):
    assert_merging_changes_nothing(encoder, features, contrastive_targets(encoder))
