import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_finetune.losses import cross_norm, orthogonality


def random_matrix(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


shapes = st.tuples(st.integers(1, 8), st.integers(1, 6))


@given(st.integers(0, 2**31), shapes)
def test_it_is_the_definition_in_singular_values(seed, shape):
    projection = random_matrix(seed, *shape)
    gram = torch.zeros(shape[1], dtype=torch.float64)
    gram[: min(shape)] = torch.linalg.svdvals(projection).square()
    torch.testing.assert_close(orthogonality(projection), (gram - 1).square().sum().sqrt())
    torch.testing.assert_close(orthogonality(projection, squared=True), (gram - 1).square().sum())


@given(st.integers(0, 2**31), shapes)
def test_rotations_on_either_side_do_not_matter(seed, shape):
    projection = random_matrix(seed, *shape)
    left, right = (torch.linalg.qr(random_matrix(seed + 1, size, size)).Q for size in shape)
    torch.testing.assert_close(orthogonality(left @ projection @ right), orthogonality(projection))


@given(st.integers(0, 2**31), shapes, st.integers(1, 7))
def test_cross_norm_is_the_norm_of_the_product(seed, shape, text_width):
    visual, text = random_matrix(seed, *shape), random_matrix(seed + 1, text_width, shape[1])
    expected = (visual @ text.T).square().sum().sqrt()
    torch.testing.assert_close(cross_norm(visual, text), expected)
    torch.testing.assert_close(cross_norm(text, visual), expected)


def test_too_few_rows_keep_it_above_zero():
    torch.testing.assert_close(orthogonality(torch.eye(2, 5)), torch.tensor(3.0).sqrt())


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_orthonormal_matrix_has_value_and_gradient_zero(dtype, squared):
    projection = torch.eye(6, 4, dtype=dtype, requires_grad=True)
    value = orthogonality(projection, squared=squared)
    value.backward()
    assert value == 0
    assert not projection.grad.any()


def test_a_zero_matrix_has_finite_values_and_gradients():
    visual, text = torch.zeros(5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    total = orthogonality(visual) + cross_norm(visual, text)
    torch.testing.assert_close(total, torch.tensor(2.0))
    total.backward()
    assert not visual.grad.any()
    assert not text.grad.any()


def test_descending_the_gradient_makes_columns_orthonormal():
    projection = random_matrix(0, 6, 4).div_(3).requires_grad_()
    optimizer = torch.optim.SGD([projection], lr=0.05)
    before = orthogonality(projection).item()
    for _ in range(200):
        optimizer.zero_grad()
        orthogonality(projection, squared=True).backward()
        optimizer.step()
    assert orthogonality(projection).item() < 1e-3 < before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_multiplied_in_single(dtype):
    visual, text = random_matrix(0, 8, 5).to(dtype), random_matrix(1, 7, 5).to(dtype)
    assert orthogonality(visual) == orthogonality(visual.float())
    assert cross_norm(visual, text) == cross_norm(visual.float(), text.float())


def test_autocast_does_not_lower_the_precision():
    visual, text = random_matrix(0, 8, 5).float(), random_matrix(1, 7, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = orthogonality(visual), cross_norm(visual, text)
    assert inside == (orthogonality(visual), cross_norm(visual, text))
