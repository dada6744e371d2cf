from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier, LinearHead
from vlm_models.zero_shot import head_weights, load_classifier, zero_shot_classifier, zero_shot_head

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "wise" / "zeroshot_head.npz")
NAMES = ("zero", "one", "two", "three")
TEMPLATES = ("the digit {c}", "a picture of a {c}")


@pytest.fixture(scope="module")
def tiny():
    return load_encoder("tiny")


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def test_published_head():
    weight = head_weights(golden("text_embeddings"), golden("logit_scale").exp())
    torch.testing.assert_close(weight, golden("head_weight"), rtol=0, atol=1e-5)
    directions = head_weights(golden("text_embeddings"), torch.tensor(1.0))
    for name in ("clip_benchmark_weight", "open_clip_weight"):
        torch.testing.assert_close(directions.T, golden(name), rtol=0, atol=1e-6)


def test_published_logits():
    head = LinearHead(golden("head_weight"))
    torch.testing.assert_close(head.bias.detach(), golden("head_bias"), rtol=0, atol=0)
    found = head(golden("image_features"))
    torch.testing.assert_close(found.detach(), golden("head_logits"), rtol=0, atol=2e-5)


@st.composite
def text_features(draw):
    classes, templates = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return torch.randn(classes, templates, 8, generator=generator)


@given(text_features(), st.randoms(use_true_random=False))
def test_classes_can_be_permuted(features, random):
    order = random.sample(range(len(features)), len(features))
    scale = torch.tensor(100.0)
    torch.testing.assert_close(head_weights(features[order], scale), head_weights(features, scale)[order])


@given(text_features(), st.floats(0.1, 100))
def test_lengths_of_prompts_do_not_matter_and_rows_have_the_length_of_the_scale(features, scale):
    weight = head_weights(features, torch.tensor(scale))
    stretched = features * torch.linspace(0.5, 9.0, features.shape[1])[:, None]
    torch.testing.assert_close(head_weights(stretched, torch.tensor(scale)), weight)
    torch.testing.assert_close(weight.norm(dim=1), torch.full((len(features),), scale))


def test_a_head_of_text_without_length_is_zero_and_not_nan():
    assert head_weights(torch.zeros(2, 3, 4), torch.tensor(100.0)).eq(0).all()


def test_the_head_is_its_definition_written_out(tiny):
    head = zero_shot_head(tiny, NAMES, TEMPLATES)
    for row, name in zip(head.weight, NAMES, strict=True):
        units = [functional.normalize(tiny.encode_text(tiny.tokenize([t.replace("{c}", name)])))[0] for t in TEMPLATES]
        expected = tiny.logit_scale * functional.normalize(torch.stack(units).mean(0), dim=0)
        torch.testing.assert_close(row, expected)
    assert head.bias.eq(0).all()


def test_one_class_and_one_template(tiny):
    head = zero_shot_head(tiny, ["seven"], ["{c}"])
    assert head.weight.shape == (1, tiny.embedding_dim)
    torch.testing.assert_close(head.weight.norm(), tiny.logit_scale)


def test_more_prompts_than_one_batch_of_text(tiny):
    templates = [f"the digit {{c}} {i}" for i in range(200)]
    many = zero_shot_head(tiny, NAMES, templates)
    alone = zero_shot_head(tiny, NAMES[2:3], templates)
    torch.testing.assert_close(many.weight[2:3], alone.weight)


def test_building_a_head_changes_neither_mode_nor_gradients(tiny):
    model = load_encoder("tiny").train()
    head = zero_shot_head(model, NAMES, TEMPLATES)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert head.weight.requires_grad and head.weight.is_leaf


def test_no_classes_or_templates_without_a_place_for_them_are_refused(tiny):
    with pytest.raises(CallError, match="no class names were given"):
        zero_shot_head(tiny, [], TEMPLATES)
    with pytest.raises(CallError, match="no prompt templates were given"):
        zero_shot_head(tiny, NAMES, [])
    with pytest.raises(CallError, match=r"template 'a digit' has no \{c\}"):
        zero_shot_head(tiny, NAMES, ["a digit"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_model_in_half_precision_classifies_like_in_single(precision):
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    single = load_classifier("tiny", NAMES, TEMPLATES)
    half = load_classifier("tiny", NAMES, TEMPLATES, precision=precision)
    with torch.inference_mode():
        expected, found = single(images), half(images)
    assert half.encoder.logit_scale.dtype != torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.5)  # logits are in single precision


class TestLoadClassifier:
    def test_a_saved_head_for_the_same_names_is_kept(self, tmp_path, tiny):
        trained = LinearHead(torch.full((4, 64), 0.5))
        save_model(Classifier(tiny, trained, LINEAR, NAMES, TEMPLATES), tmp_path)
        found = load_classifier(f"file:{tmp_path}", NAMES, ["another {c}"])
        assert found.head_kind == LINEAR
        assert found.head.weight.eq(0.5).all()

    def test_a_saved_head_stays_in_single_precision(self, tmp_path, tiny):
        weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)) * 30
        save_model(Classifier(tiny, LinearHead(weight), LINEAR, NAMES, TEMPLATES), tmp_path)
        found = load_classifier(f"file:{tmp_path}", NAMES, TEMPLATES, precision="bf16")
        torch.testing.assert_close(found.head.weight.detach(), weight, rtol=0, atol=0)
        assert found.encoder.clip.visual.proj.dtype == torch.bfloat16

    def test_a_trained_head_for_other_names_is_refused(self, tmp_path, tiny):
        save_model(Classifier(tiny, LinearHead(torch.zeros(4, 64)), LINEAR, NAMES, TEMPLATES), tmp_path)
        with pytest.raises(CallError, match=r"trained for 4 classes \(zero, one, two, \.\.\.\)"):
            load_classifier(f"file:{tmp_path}", NAMES[::-1], TEMPLATES)

    def test_a_zero_shot_head_is_built_again_for_other_names(self, tmp_path, tiny):
        save_model(zero_shot_classifier(tiny, NAMES, TEMPLATES), tmp_path)
        found = load_classifier(f"file:{tmp_path}", ["nine"], TEMPLATES)
        assert found.class_names == ("nine",) and found.head_kind == ZERO_SHOT
        torch.testing.assert_close(found.head.weight, zero_shot_head(tiny, ["nine"], TEMPLATES).weight)

    def test_towers_alone_get_a_zero_shot_head(self, tmp_path, tiny):
        save_model(tiny, tmp_path)
        assert not isinstance(load_model(f"file:{tmp_path}"), Classifier)
        found = load_classifier(f"file:{tmp_path}", NAMES, TEMPLATES)
        torch.testing.assert_close(found.head.weight, zero_shot_head(tiny, NAMES, TEMPLATES).weight)
