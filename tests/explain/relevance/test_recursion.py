import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_explain.relevance.recursion import relevance_row


def layers_of(seed: int, count: int, tokens: int = 6, heads: int = 3, images: int = 2):
    draws = torch.Generator().manual_seed(seed)
    shape = (count, images, heads, tokens, tokens)
    attention = torch.randn(shape, generator=draws, dtype=torch.float64).softmax(-1)
    gradients = torch.randn(shape, generator=draws, dtype=torch.float64)
    return list(attention), list(gradients)


def by_matrices(attention, gradients):
    """R <- R + C_l R from the first layer up, R = I at first."""
    product = torch.eye(attention[0].shape[-1], dtype=torch.float64).expand(len(attention[0]), -1, -1)
    for a, g in zip(attention, gradients, strict=True):
        product = product + (a * g).clamp_min(0).mean(dim=1) @ product
    return product - torch.eye(product.shape[-1], dtype=torch.float64)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_row_is_a_row_of_the_product_of_matrices(seed, count):
    attention, gradients = layers_of(seed, count)
    expected = by_matrices(attention, gradients)
    torch.testing.assert_close(relevance_row(attention, gradients), expected[:, 0])
    at = torch.tensor([4, 2])
    torch.testing.assert_close(relevance_row(attention, gradients, at), expected[[0, 1], at])


def test_of_one_layer_the_other_rows_do_not_matter():
    attention, gradients = layers_of(1, 1)
    expected = relevance_row(attention, gradients)
    gradients[0][:, :, 1:] = torch.inf
    torch.testing.assert_close(relevance_row(attention, gradients), expected)


def test_negative_products_are_dropped_head_by_head():
    attention = torch.full((1, 2, 2, 2), 0.5)
    gradients = torch.tensor([[[[2.0, 4.0], [0, 0]], [[-2.0, -4.0], [0, 0]]]])  # the mean over heads is zero
    assert relevance_row([attention], [gradients]).tolist() == [[0.5, 1.0]]
