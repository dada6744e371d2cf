from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.soups import held_out_order
from vlm_models.weight_space import greedy_soup, interpolate, interpolate_layers, uniform_soup

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "wise" / "soups.npz")
MODELS = [
    {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
    for weight, bias in zip(GOLDEN["weights"], GOLDEN["biases"], strict=True)
]


def accuracy(state, data="ImageNet2p"):
    logits = GOLDEN[f"x_{data}"] @ state["weight"].numpy().T + state["bias"].numpy()
    return float((logits.argmax(1) == GOLDEN[f"y_{data}"]).mean())


def assert_published(state, kind):
    for name, tensor in state.items():
        np.testing.assert_allclose(tensor.numpy(), GOLDEN[f"{kind}_{name}"], rtol=0, atol=1e-5)
    assert [accuracy(state), accuracy(state, "ImageNet")] == GOLDEN[f"{kind}_acc"].tolist()


def test_published_order_with_ties():
    scores = [accuracy(state) for state in MODELS]
    assert scores == GOLDEN["individual_val_acc"].tolist()
    assert len(set(scores)) < len(scores)
    assert held_out_order(scores) == GOLDEN["order"].tolist()


def test_published_uniform_soup():
    assert_published(uniform_soup(MODELS), "uniform")


@pytest.mark.parametrize("known", [False, True])
def test_published_greedy_soup(known):
    soup = greedy_soup(MODELS, accuracy, GOLDEN["individual_val_acc"].tolist() if known else None)
    assert soup.ingredients == GOLDEN["ingredients"].tolist()
    assert soup.tried == GOLDEN["candidate_val_acc"].tolist()
    assert_published(soup.state, "greedy")


def test_a_model_is_read_when_its_turn_comes_and_not_kept():
    alive, most = [], 0

    def reader(number):
        def read():
            nonlocal most
            state = dict(MODELS[number])
            alive.append(number)
            most = max(most, len(alive))
            return state

        return read

    def score(state):
        alive.clear()
        return accuracy(state)

    soup = greedy_soup([reader(number) for number in range(72)], score)
    assert soup.ingredients == GOLDEN["ingredients"].tolist()
    assert most == 2  # the best one again, and the first that is tried with it


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.floats(-10, 10))
def test_a_greedy_soup_is_the_mean_of_its_ingredients_and_never_worse_than_the_best(values, target):
    states = [{"w": torch.tensor([value], dtype=torch.float64)} for value in values]

    def score(state):
        return -abs(state["w"].item() - target)

    soup = greedy_soup(states, score)
    mean = uniform_soup(states[i] for i in soup.ingredients)["w"]
    torch.testing.assert_close(soup.state["w"], mean, rtol=1e-12, atol=1e-12)
    assert score(soup.state) >= max(map(score, states))
    assert len(soup.tried) == len(values) - 1


def test_a_model_that_changes_nothing_is_not_taken():
    assert greedy_soup([MODELS[0]] * 3, accuracy).ingredients == [2]  # equal is not better


def test_half_precision_is_summed_in_single_and_counters_are_those_of_the_last_ingredient():
    states = [
        {"w": torch.tensor([value], dtype=torch.float16), "steps": torch.tensor(steps)}
        for value, steps in ((6e4, 1), (5e4, 2), (6e4, 3))
    ]
    seen = []

    def score(state):
        seen.append(state["w"].dtype)
        return float(len(seen))

    soup = greedy_soup(states, score)
    assert soup.ingredients == [2, 1, 0] and set(seen) == {torch.float16}
    assert soup.state["w"] == uniform_soup(states)["w"] and soup.state["w"].dtype == torch.float16
    assert soup.state["steps"] == 1


def test_a_greedy_soup_shares_no_memory_with_its_only_model():
    state = {"w": torch.zeros(1)}
    greedy_soup([state], lambda _: 1.0).state["w"].add_(1)
    assert state["w"] == 0


def test_what_makes_no_greedy_soup_is_refused():
    with pytest.raises(CheckpointError, match="at least one model"):
        greedy_soup([], accuracy)
    with pytest.raises(CallError, match="2 scores were given for 72 models"):
        greedy_soup(MODELS, accuracy, [0.5, 0.5])
    with pytest.raises(VlmModelsError, match="score of model 2 is nan"):
        greedy_soup(MODELS[:2], accuracy, [0.5, float("nan")])
    with pytest.raises(VlmModelsError, match="score of a candidate is nan"):
        greedy_soup(MODELS[:2], lambda _: float("nan"), [0.5, 0.6])
    with pytest.raises(CheckpointError, match="1 unexpected: bias"):
        greedy_soup([MODELS[0], {"weight": MODELS[1]["weight"]}], lambda _: 0.0)


A = {f"{part}.w": torch.zeros(2) for part in ("stem", "blocks.1", "blocks.10", "blocks.1.norm")} | {
    "scale": torch.ones(())
}
B = {name: torch.full_like(tensor, 4.0) for name, tensor in A.items()}


def test_every_layer_has_its_alpha_and_the_longest_name_counts():
    found = interpolate_layers(A, B, {"blocks": 0.5, "blocks.1": 0.25, "scale": 1.0, "stem.w": 0.75}, 0.0)
    values = {name: tensor.flatten()[0].item() for name, tensor in found.items()}
    assert values == {"stem.w": 3.0, "blocks.1.w": 1.0, "blocks.10.w": 2.0, "blocks.1.norm.w": 1.0, "scale": 4.0}


@given(st.floats(0, 1))
def test_without_parts_all_layers_are_interpolated_alike(alpha):
    found, plain = interpolate_layers(A, B, {}, alpha), interpolate(A, B, alpha)
    assert all(torch.equal(found[name], plain[name]) for name in A)


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(CallError, match=r"unknown part of the model 'block\.1'\. Did you mean 'blocks\.1'\?"):
        interpolate_layers(A, B, {"block.1": 0.5}, 0.0)
