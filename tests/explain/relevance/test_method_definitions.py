"""The pure functions of the relevance methods against closed forms and slower ways to the same numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from specimens.towers import tower
from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_explain.relevance.methods.grad_cam import class_activation
from vlm_explain.relevance.methods.input_gradient import gradient_times_input
from vlm_explain.relevance.methods.pooling_attention import pooled_relevance
from vlm_explain.relevance.methods.rollout import rollout_row
from vlm_explain.relevance.recursion import relevance_row
from vlm_models.zero_shot import zero_shot_classifier

SEEDS = st.integers(0, 1000)


def layers(seed, count=3, tokens=5, heads=2):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, heads, tokens, tokens)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2 * count)]
    return [one.softmax(-1) for one in drawn[:count]], drawn[count:]


@given(SEEDS)
def test_rollout_is_the_first_row_of_the_normalised_product(seed):
    probabilities, _ = layers(seed)
    product = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    for attention in probabilities:
        step = attention.mean(dim=1) / 2 + torch.eye(5) / 2
        product = (step / step.sum(dim=-1, keepdim=True)) @ product
    row = rollout_row(probabilities)
    torch.testing.assert_close(row, product[:, 0])
    torch.testing.assert_close(row.sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_rollout_of_uniform_attention_is_uniform_but_for_the_token_itself():
    uniform = torch.full((1, 1, 4, 4), 0.25)
    torch.testing.assert_close(rollout_row([uniform]), torch.tensor([[0.625, 0.125, 0.125, 0.125]]))


@given(SEEDS)
def test_a_head_that_pools_like_the_class_token_gives_its_relevance(seed):
    probabilities, gradients = layers(seed)
    expected = relevance_row(probabilities, gradients)
    found = pooled_relevance(probabilities[-1][:, :, :1], gradients[-1][:, :, :1], probabilities[:-1], gradients[:-1])
    # In a tower the first factor is I + C_L: the class token also keeps its own state, which a head has not.
    start = torch.zeros_like(expected)
    start[:, 0] = 1
    own = start
    for attention, gradient in zip(probabilities[-2::-1], gradients[-2::-1], strict=True):
        own = own + (own[:, None] @ (gradient * attention).clamp_min(0).mean(dim=1))[:, 0]
    torch.testing.assert_close(found, expected - (own - start))


def test_queries_without_gradient_do_not_count():
    attention = torch.tensor([[[[0.5, 0.5], [0.9, 0.1]]]])
    gradient = torch.tensor([[[[1.0, 2.0], [0.0, 0.0]]]])
    torch.testing.assert_close(pooled_relevance(attention, gradient), torch.tensor([[0.5, 1.0]]))


def test_grad_cam_of_mean_pooling_is_the_class_activation_map():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, 3, 4, generator=generator).requires_grad_()
    weight = torch.randn(6, generator=generator)
    (gradient,) = torch.autograd.grad((maps.mean(dim=(2, 3)) @ weight).sum(), [maps])
    expected = torch.einsum("nkhw,k->nhw", maps.detach(), weight).clamp_min(0) / 12  # Zhou et al. 2016
    torch.testing.assert_close(class_activation(maps.detach(), gradient), expected)


def test_gradient_times_input_of_a_linear_model_is_what_each_pixel_adds():
    generator = torch.Generator().manual_seed(0)
    pixels, weight = (torch.rand(2, 3, 4, 4, generator=generator) for _ in range(2))
    found = gradient_times_input(pixels, weight)
    torch.testing.assert_close(found.sum(dim=(1, 2)), (pixels * weight).sum(dim=(1, 2, 3)))


def test_pooling_of_siglip_reads_further_layers_below_the_head(tmp_path):
    model = zero_shot_classifier(tower("siglip", tmp_path), ["c", "d"], ["a {c}"])
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = [
        explain_batch(model, images, torch.tensor([0, 1]), RelevanceOptions("pooling-attention", chosen)).raw
        for chosen in ("last", "3", "-2", "2", "all", "1")
    ]
    torch.testing.assert_close(found[0], found[1])  # two layers and the head: the third is the head
    torch.testing.assert_close(found[2], found[3])
    torch.testing.assert_close(found[4], found[5])
    assert (found[2] >= found[0] - 1e-7).all() and (found[4] >= found[2] - 1e-7).all()
    assert (found[4] - found[0]).abs().max() > 1e-4
