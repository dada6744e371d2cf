"""Low-rank adapters in the dual encoders of transformers: where they go, and that merging them changes nothing."""

import pytest
import torch

from vlm_models import load_encoder
from vlm_models.adapters import add_adapters

KINDS = ("clip", "metaclip_2", "siglip", "siglip2", "chinese_clip", "altclip")


@pytest.fixture(params=KINDS)
def encoder(request, published):
    return load_encoder(f"hf:{published(request.param)[0]}")


def features(encoder):
    size = encoder.preprocess.size
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    return encoder.encode_image(images), encoder.encode_text(encoder.tokenize(["photo of cat", "dog"]))


def test_they_go_to_every_map_of_the_blocks(encoder):
    targets = add_adapters(encoder, rank=2, alpha=8)
    groups = [encoder.parameter_group(f"{target}.base_layer.weight") for target in targets]
    assert {group: groups.count(group) for group in groups} == {"vision": 12, "text": 12}  # two blocks of six maps


def test_every_adapter_receives_a_gradient(encoder):
    add_adapters(encoder, rank=2, alpha=8)
    sum(found.square().sum() for found in features(encoder.train())).backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert len(trained) == 48 and all(p.grad is not None for p in trained.values())
    assert all(p.grad.any() for name, p in trained.items() if "lora_B" in name)


def test_merged_it_is_the_same_function_and_loads_like_the_base(encoder, assert_merging_changes_nothing):
    assert_merging_changes_nothing(encoder, features)
