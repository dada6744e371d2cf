"""What every family must do, on a small random model in its published format; a new one is tested by being there."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from specimens import FAMILIES
from vlm_data.dataset import ArrayDataset
from vlm_models import load_encoder, load_model, save_model
from vlm_models.attention import record_attention
from vlm_models.capabilities import CAPABILITIES, CapabilityError
from vlm_models.catalog import REGISTRY, family_info
from vlm_models.checkpoint import weights_hash
from vlm_models.features import extract_features
from vlm_models.interface import MatchingModel
from vlm_models.region_pooling import POOLINGS
from vlm_models.regions import region_features
from vlm_models.weight_space import interpolate
from vlm_models.zero_shot import zero_shot_classifier

TEXTS = ["a photo of a cat", "the digit two", "a"]


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def model(family, specimen):
    return load_encoder(specimen(family))


def images(model, count=3):
    draws = torch.Generator().manual_seed(0)
    size = model.preprocess.size
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=draws)


def pictures(model, count=4):
    pixels = images(model, count).permute(0, 2, 3, 1).numpy()
    return ArrayDataset("noise", "test", tuple(map(str, range(count))), np.zeros(count, dtype=np.int64), pixels)


def test_every_family_has_a_specimen():
    assert {*FAMILIES, "run"} == set(REGISTRY.names())


def test_capabilities_are_known_and_promised(family, model):
    promised = family_info(family).capabilities
    assert model.capabilities <= set(CAPABILITIES)
    assert set(promised) <= set(CAPABILITIES)
    assert not promised or model.capabilities <= set(promised)
    assert isinstance(model, MatchingModel) == ("matching" in model.capabilities)


@torch.no_grad()
def test_a_batch_of_one_is_a_row_of_a_batch(model):
    batch, tokens = images(model), model.tokenize(TEXTS)
    features, text = model.encode_image(batch), model.encode_text(tokens)
    assert features.shape == text.shape == (3, model.embedding_dim)
    for row in range(3):
        torch.testing.assert_close(model.encode_image(batch[row : row + 1])[0], features[row], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(model.encode_text(tokens[row : row + 1])[0], text[row], atol=2e-5, rtol=1e-4)
    normalised = model.preprocess.normalise(batch)
    torch.testing.assert_close(model.encode_image(normalised), features)


def test_tokens_have_one_length_and_are_cut(model):
    lengths = {model.tokenize([text]).shape[1] for text in ("a", "a photo of", "a " * 500)}
    assert len(lengths) == 1
    assert model.tokenize(TEXTS).dtype == torch.int64


def test_the_scale_is_positive_and_the_preprocessing_can_be_changed(family, model, specimen):
    assert model.logit_scale.shape == () and model.logit_scale > 0
    spec = specimen(family) + ",mean=0.3/0.2/0.1,interpolation=bilinear"
    changed = load_encoder(spec)
    assert changed.spec == spec
    assert (changed.preprocess.mean, changed.preprocess.interpolation) == ((0.3, 0.2, 0.1), "bilinear")
    assert changed.preprocess.hash != model.preprocess.hash


def test_parameter_groups_are_disjoint_and_complete(model):
    groups = model.parameter_groups()
    found = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    tower = {id(parameter) for parameter in model.image_tower().parameters()}
    assert {id(p) for group in ("vision", "vision projection") for p in groups[group]} == tower


def test_a_contrastive_loss_reaches_what_is_not_idle(model):
    model.train()
    idle = {id(parameter) for parameter in model.idle_parameters()}
    image = functional.normalize(model.encode_image(images(model)), dim=-1)
    text = functional.normalize(model.encode_text(model.tokenize(TEXTS)), dim=-1)
    functional.cross_entropy(model.logit_scale * image @ text.T, torch.arange(3)).backward()
    unreached = [
        name for name, p in model.named_parameters() if id(p) not in idle and p.requires_grad and p.grad is None
    ]
    reached = [name for name, p in model.named_parameters() if id(p) in idle and p.grad is not None]
    assert (unreached, reached) == ([], [])


@torch.no_grad()
def test_saved_and_loaded_again_it_is_the_same(family, model, tmp_path):
    classifier = zero_shot_classifier(model, ["cat", "dog"], ["a photo of a {c}"])
    save_model(classifier, tmp_path)
    again = load_model(f"file:{tmp_path}")
    torch.testing.assert_close(again(images(model)), classifier(images(model)), atol=1e-6, rtol=1e-6)
    assert weights_hash(again.state_dict()) == weights_hash(classifier.state_dict())
    assert again.encoder.preprocess == model.preprocess and again.encoder.capabilities == model.capabilities
    assert torch.equal(again.encoder.tokenize(TEXTS), model.tokenize(TEXTS))


@torch.no_grad()
def test_weights_can_be_interpolated(family, model, specimen):
    other = load_encoder(specimen(family))
    for parameter in other.parameters():
        parameter.mul_(1.1)
    start, end = model.state_dict(), other.state_dict()
    for alpha, expected in ((0.0, start), (1.0, end)):
        mixed = interpolate(start, end, alpha)
        assert all(torch.equal(mixed[name], expected[name]) for name in expected)
    other.load_state_dict(interpolate(start, end, 0.5))
    assert other.encode_image(images(model)).isfinite().all()


@torch.no_grad()
def test_half_precision(family, specimen):
    model = load_encoder(specimen(family), precision="bf16")
    found = model.encode_image(images(model)), model.encode_text(model.tokenize(TEXTS))
    single = load_encoder(specimen(family))
    expected = single.encode_image(images(model)), single.encode_text(model.tokenize(TEXTS))
    for half, whole in zip(found, expected, strict=True):
        cosine = functional.cosine_similarity(half.float(), whole, dim=-1)
        assert half.isfinite().all() and cosine.min() > 0.99


TOWERS = {
    "vision": lambda model: model.encode_image(images(model)),
    "pooling": lambda model: model.encode_image(images(model)),
    "text": lambda model: model.encode_text(model.tokenize(TEXTS)),
    "cross": lambda model: model.match(model.vision_tokens(images(model)), model.tokenize(TEXTS))[0],
}


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("frozen", [True, False])
def test_attention_is_recorded_where_it_is_promised(model, tower, frozen):
    run = TOWERS[tower]
    if f"{tower} attention" not in model.capabilities:
        with pytest.raises(CapabilityError, match=f"cannot do {tower} attention"):
            record_attention(model, tower).__enter__()
        return
    model.requires_grad_(not frozen)
    plain = run(model)
    with record_attention(model, tower) as attention:
        recorded = run(model)
    torch.testing.assert_close(recorded, plain, atol=1e-6 * max(1.0, plain.abs().max().item()), rtol=0)
    assert len(attention.probabilities) == len(model.attention_modules(tower))
    for probabilities in attention.probabilities:
        torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))
    score = recorded[:, 0].sum()
    assert any(gradient.abs().max() > 0 for gradient in attention.gradients(score))
    assert not any("forward" in module.__dict__ for module in model.modules())
    torch.testing.assert_close(run(model), plain, rtol=0, atol=0)


def test_tokens_features_and_regions(model):
    if "tokens" not in model.capabilities:
        with pytest.raises(CapabilityError, match="cannot do tokens"):
            model.vision_tokens(images(model))
        return
    data = pictures(model)
    found = extract_features(model, data, ["feature", "pooled", "tokens.patches", "layer-1.mean"])
    with torch.no_grad():
        output = model.vision_tokens(images(model, 4))
        assert output.features is not None
        torch.testing.assert_close(output.features, model.encode_image(images(model, 4)), atol=1e-5, rtol=1e-4)
    rows, columns = output.grid
    assert found["tokens.patches"].shape[1] == rows * columns == output.tokens.shape[1] - output.prefix_tokens
    size = float(model.preprocess.size)
    boxes = np.array([[0, 0, size, size], [0, 0, size / 2, size / 2]])
    for pooling in POOLINGS:
        if pooling == "attention" and "region attention" not in model.capabilities:
            continue
        regions = region_features(model, data, np.array([0, 1]), boxes, pooling)
        assert regions.shape == (2, model.embedding_dim) and np.isfinite(regions).all()
        if pooling in ("attention", "crop"):
            np.testing.assert_allclose(regions[0], found["feature"][0], atol=1e-5)


def test_adapter_targets_lie_in_both_towers(model):
    if "adapters" not in model.capabilities:
        return
    pattern = re.compile(model.adapter_targets())
    found = [name for name, _ in model.named_modules() if pattern.fullmatch(name)]
    groups = {model.parameter_group(f"{name}.{parameter}") for name in found
              for parameter, _ in model.get_submodule(name).named_parameters()}  # fmt: skip
    assert {"vision", "text"} <= groups
