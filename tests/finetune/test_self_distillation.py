from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vlm_finetune.losses import (
    contrastive,
    cross_norm,
    orthogonality,
    pair_logits,
    self_distillation,
    self_distillation_from_logits,
    teacher_entropy,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "losses"
FILES = sorted(path.name for path in GOLDEN.glob("carot_terms_*.npz"))
LEAVES = ("image_features", "text_features", "logit_scale", "visual_proj", "text_proj")
TEACHER = ("teacher_image_features", "teacher_text_features", "teacher_logit_scale")


def assert_close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def unit_rows(seed, *shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


def carot_terms(golden):
    """Every published term as a function of the stored inputs, and the inputs that take gradients."""
    leaves = {name: torch.tensor(golden[name], requires_grad=True) for name in LEAVES}
    teacher = [torch.tensor(golden[name]) for name in TEACHER]
    student = [leaves[name] for name in LEAVES[:3]]
    terms = {
        "clip_loss": contrastive(*student),
        "sd_loss": self_distillation(*student, *teacher),
        "orth_term": orthogonality(leaves["visual_proj"]),
        "fnorm_term": cross_norm(leaves["visual_proj"], leaves["text_proj"]),
    }
    coefficients = {"fnorm_term": "coef_fnorm", "orth_term": "coef_orth", "sd_loss": "coef_distill"}
    weighted = (float(golden[coefficient]) * terms[name] for name, coefficient in coefficients.items())
    return {**terms, "total": terms["clip_loss"] + sum(weighted)}, leaves


@pytest.mark.parametrize("name", FILES)
def test_published_values_of_all_terms(name):
    golden = np.load(GOLDEN / name)
    for term, value in carot_terms(golden)[0].items():
        assert_close(value, golden[term])


@pytest.mark.parametrize("name", FILES)
def test_published_gradients_of_all_terms(name):
    golden = np.load(GOLDEN / name)
    terms, leaves = carot_terms(golden)
    for term, value in terms.items():
        gradients = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            key = f"grad_{term}_wrt_{leaf}"
            if key in golden:
                assert_close(gradient, golden[key], 1e-8)
            else:
                assert gradient is None or not gradient.any()


@pytest.mark.parametrize("name", FILES)
def test_published_teacher_logits(name):
    golden = np.load(GOLDEN / name)
    pairs = pair_logits(*(torch.tensor(golden[key]) for key in TEACHER))
    assert_close(pairs.logits_per_image, golden["teacher_logits_per_image"])
    assert_close(pairs.logits_per_text, golden["teacher_logits_per_text"])


@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(0.01, 100), st.floats(0.01, 100))
def test_it_exceeds_the_entropy_by_a_divergence(seed, rows, scale, teacher_scale):
    images, texts, teacher_images, teacher_texts = unit_rows(seed, 4, rows, 5)
    student, teacher = pair_logits(images, texts, scale), pair_logits(teacher_images, teacher_texts, teacher_scale)
    value = self_distillation_from_logits(student, teacher)
    divergence = sum(
        functional.kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean", log_target=True)
        for own, other in (
            (student.logits_per_image, teacher.logits_per_image),
            (student.logits_per_text, teacher.logits_per_text),
        )
    )
    torch.testing.assert_close(value - teacher_entropy(teacher), divergence, rtol=1e-9, atol=1e-9)
    assert divergence >= -1e-12


@given(st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_order_rotation_and_exchange_of_towers_do_not_matter(seed, random):
    images, texts, teacher_images, teacher_texts = unit_rows(seed, 4, 5, 4)
    rotation = torch.linalg.qr(unit_rows(seed + 1, 4, 4)).Q
    order = list(range(5))
    random.shuffle(order)
    value = self_distillation(images, texts, 20.0, teacher_images, teacher_texts, 30.0)
    same = [
        self_distillation(images[order], texts[order], 20.0, teacher_images[order], teacher_texts[order], 30.0),
        self_distillation(images @ rotation, texts @ rotation, 20.0, teacher_images, teacher_texts, 30.0),
        self_distillation(texts, images, 20.0, teacher_texts, teacher_images, 30.0),
    ]
    for other in same:
        torch.testing.assert_close(other, value)


def test_a_teacher_equal_to_the_student_asks_for_nothing():
    images, texts = unit_rows(0, 2, 5, 4)
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    images.requires_grad_()
    self_distillation(images, texts, scale, images, texts, scale).backward()
    torch.testing.assert_close(images.grad, torch.zeros_like(images), rtol=0, atol=1e-12)
    assert abs(scale.grad) < 1e-12


def test_the_teacher_gets_no_gradient():
    images, texts, *teacher = unit_rows(0, 4, 5, 4).requires_grad_()
    leaf = torch.tensor(3.0, requires_grad=True)
    self_distillation(images.detach(), texts, 20.0, *teacher, leaf).backward()
    assert leaf.grad is None


def test_opposite_features_at_scale_100_are_finite_in_single_precision():
    images = torch.eye(4, requires_grad=True)
    value = self_distillation(images, -torch.eye(4), 100.0, torch.eye(4), torch.eye(4), 100.0)
    torch.testing.assert_close(value, torch.tensor(2 * (100 + np.log(3)), dtype=torch.float32))
    value.backward()
    assert images.grad.isfinite().all()


def test_one_pair_and_identical_rows():
    one, rows = torch.ones(1, 4) / 2, torch.ones(3, 4) / 2
    assert self_distillation(one, one, 100.0, one, -one, 1.0) == 0
    torch.testing.assert_close(self_distillation(rows, rows, 100.0, rows, rows, 100.0), 2 * torch.tensor(3.0).log())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype):
    features = unit_rows(0, 4, 6, 8, dtype=torch.float32).to(dtype)
    images, texts, *teacher = features
    value = self_distillation(images, texts, 100.0, *teacher, 100.0)
    wide = features.float()
    torch.testing.assert_close(value, self_distillation(*wide[:2], 100.0, *wide[2:], 100.0), rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision():
    images, texts, *teacher = unit_rows(0, 4, 6, 8, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = self_distillation(images, texts, 100.0, *teacher, 100.0)
    torch.testing.assert_close(inside, self_distillation(images, texts, 100.0, *teacher, 100.0), rtol=0, atol=0)
