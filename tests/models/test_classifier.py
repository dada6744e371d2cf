import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead
from vlm_models.interface import freeze, parameter_count


@pytest.fixture(scope="module")
def tiny():
    return load_encoder("tiny")


@given(st.integers(0, 2**31), st.floats(0.01, 1e3))
def test_the_length_of_features_does_not_matter(seed, length):
    generator = torch.Generator().manual_seed(seed)
    head = LinearHead(torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator))
    features = torch.randn(4, 5, generator=generator)
    torch.testing.assert_close(head(features * length), head(features), rtol=1e-4, atol=1e-4)


def test_a_feature_without_length_gets_the_bias_and_a_finite_gradient():
    head = LinearHead(torch.eye(3), torch.tensor([1.0, 2.0, 3.0]))
    features = torch.zeros(1, 3, requires_grad=True)
    logits = head(features)
    assert logits.tolist() == [[1.0, 2.0, 3.0]]
    logits.sum().backward()
    assert features.grad.isfinite().all()


def test_the_head_holds_copies_of_what_it_was_made_from():
    weight, bias = torch.ones(2, 3), torch.ones(2)
    head = LinearHead(weight, bias)
    weight.zero_(), bias.zero_()
    assert head.weight.eq(1).all() and head.bias.eq(1).all()


def test_logits_are_the_head_on_image_features(tiny):
    model = Classifier(tiny, LinearHead(torch.randn(3, 64)), LINEAR, ["a", "b", "c"], ["{c}"])
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = functional.normalize(tiny.encode_image(images), dim=-1) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_in_the_mode_of_its_encoder(training):
    encoder = load_encoder("tiny").train(training)
    model = Classifier(encoder, LinearHead(torch.zeros(1, 64)), LINEAR, ["a"], ["{c}"])
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("shape", [(2, 64), (3, 63)])
def test_a_head_of_another_size_is_refused(tiny, shape):
    with pytest.raises(CallError, match=rf"shape \({shape[0]}, {shape[1]}\) does not fit 3 classes and embeddings of"):
        Classifier(tiny, LinearHead(torch.zeros(shape)), LINEAR, ["a", "b", "c"], ["{c}"])


def test_counting_and_freezing_parameters():
    model = torch.nn.Linear(3, 4)
    assert parameter_count(model) == 16
    freeze(model.parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
