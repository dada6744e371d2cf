import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError
from vlm_models.weight_space import differences, fisher_merge, interpolate, uniform_soup

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"
WEIGHTS = load_file(GOLDEN / "weights.safetensors")
GROUPS = sorted({name.rpartition("/")[0] for name in WEIGHTS})
HALF = [torch.float16, torch.bfloat16]


def group(name):
    return {key.rpartition("/")[2]: tensor for key, tensor in WEIGHTS.items() if key.rpartition("/")[0] == name}


def number(name, text):
    return float(re.search(rf"{name}=([0-9.e+-]+)", text)[1])


def assert_states_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith("merge/")])
def test_published_merges(name):
    merged = interpolate(group("theta0"), group("theta1"), number("alpha", name))
    assert_states_close(merged, group(name), 5e-6)


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith("fisher_merge/")])
def test_published_fisher_merges(name):
    fishers = [{k: f for k, f in group(g).items() if k != "image_encoder.fc1.bias"} for g in ("fisher0", "fisher1")]
    merged = fisher_merge(
        group("theta0"), group("theta1"), number("alpha", name), *fishers, floor=number("floor", name)
    )
    assert_states_close(merged, group(name), 1e-5)


def random_state(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "tower.weight": torch.randn(3, 4, generator=generator).to(dtype),
        "tower.bias": torch.randn(4, generator=generator).mul(1e3).to(dtype),
        "scale": torch.randn((), generator=generator).to(dtype),
    }


seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF])
@given(seed=seeds)
def test_the_end_points_are_the_models_themselves(seed, dtype):
    a, b = random_state(seed, dtype), random_state(seed + 1, dtype)
    fishers = [{k: t.abs() for k, t in random_state(seed + i).items()} for i in (2, 3)]
    assert_states_close(interpolate(a, b, 0.0), a, 0)
    assert_states_close(interpolate(a, b, 1.0), b, 0)
    assert_states_close(fisher_merge(a, b, 0.0, *fishers), a, 0)
    assert_states_close(fisher_merge(a, b, 1.0, *fishers), b, 0)


@given(seeds, st.floats(0, 1))
def test_exchanging_the_models_exchanges_the_weights(seed, alpha):
    a, b = random_state(seed), random_state(seed + 1)
    assert_states_close(interpolate(a, b, alpha), interpolate(b, a, 1 - alpha), 1e-3)  # of values up to 1e4


@given(seeds, st.floats(0, 1))
def test_equal_models_stay_equal(seed, alpha):
    a = random_state(seed)
    assert_states_close(interpolate(a, a, alpha), a, 0)


@given(seeds, st.floats(0, 1))
def test_equal_fisher_information_is_plain_interpolation(seed, alpha):
    a, b = random_state(seed), random_state(seed + 1)
    flat = {name: torch.full_like(tensor, 2.0) for name, tensor in a.items()}
    assert_states_close(fisher_merge(a, b, alpha, flat, flat), interpolate(a, b, alpha), 1e-3)


@given(seeds, st.floats(0, 1))
def test_fisher_information_for_no_tensor_is_plain_interpolation(seed, alpha):
    a, b = random_state(seed), random_state(seed + 1)
    assert_states_close(fisher_merge(a, b, alpha, {}, {}), interpolate(a, b, alpha), 0)


def test_a_floor_of_zero_where_nobody_has_information_is_plain_interpolation():
    none = {"w": torch.zeros(2)}
    merged = fisher_merge({"w": torch.zeros(2)}, {"w": torch.ones(2)}, 0.25, none, none, floor=0.0)
    torch.testing.assert_close(merged["w"], torch.full((2,), 0.25))


def test_counters_and_index_tables_are_those_of_the_last_model():
    a = {"steps": torch.tensor(3), "mask": torch.tensor([True, False]), "w": torch.zeros(1)}
    b = {"steps": torch.tensor(10), "mask": torch.tensor([False, True]), "w": torch.ones(1)}
    ones = {name: torch.ones_like(tensor) for name, tensor in a.items()}
    for merged in (interpolate(a, b, 0.3), fisher_merge(a, b, 0.3, ones, ones), uniform_soup([a, b])):
        assert merged["steps"].dtype == torch.int64 and merged["steps"] == 10
        assert merged["mask"].tolist() == [False, True]


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_mixed_in_single_and_keeps_its_type(dtype):
    a, b = random_state(0, dtype), random_state(1, dtype)
    wide_a, wide_b = ({name: t.float() for name, t in state.items()} for state in (a, b))
    fishers = [{k: t.abs() for k, t in random_state(seed).items()} for seed in (2, 3)]
    pairs = [
        (interpolate(a, b, 0.3), interpolate(wide_a, wide_b, 0.3)),
        (fisher_merge(a, b, 0.3, *fishers), fisher_merge(wide_a, wide_b, 0.3, *fishers)),
        (uniform_soup([a, b]), uniform_soup([wide_a, wide_b])),
    ]
    for found, expected in pairs:
        assert_states_close(found, {name: t.to(dtype) for name, t in expected.items()}, 0)


def test_a_floor_below_what_half_precision_can_hold_still_counts():
    none = {"w": torch.zeros(1, dtype=torch.float16)}
    merged = fisher_merge({"w": torch.zeros(1)}, {"w": torch.ones(1)}, 0.5, none, none)
    torch.testing.assert_close(merged["w"], torch.tensor([0.5]))


def test_a_soup_of_large_half_precision_weights_does_not_overflow():
    full = {"w": torch.tensor([6e4], dtype=torch.float16)}
    assert uniform_soup([full] * 4)["w"] == full["w"]


@given(st.permutations(range(4)))
def test_a_soup_does_not_depend_on_the_order(order):
    states = [random_state(seed) for seed in range(4)]
    assert_states_close(uniform_soup(states[i] for i in order), uniform_soup(states), 1e-3)


def test_a_soup_of_one_is_that_model_and_shares_no_memory():
    state = random_state(0)
    soup = uniform_soup([state])
    assert_states_close(soup, state, 0)
    soup["scale"].add_(1)
    assert state["scale"] != soup["scale"]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_result_shares_no_memory_with_either_model(alpha):
    a, b = random_state(0), random_state(1)
    found = interpolate(a, b, alpha)
    for tensor in found.values():
        tensor.fill_(7.0)
    assert_states_close(a, random_state(0), 0)
    assert_states_close(b, random_state(1), 0)


def test_a_soup_of_nothing_is_refused():
    with pytest.raises(CheckpointError, match="at least one model"):
        uniform_soup([])


@pytest.mark.parametrize("combine", [lambda a, b: interpolate(a, b, 0.5), lambda a, b: uniform_soup([a, b])])
def test_models_that_do_not_fit_are_listed(combine):
    a = {"kept": torch.zeros(1), "gone": torch.zeros(1), "shape": torch.zeros(2, 3)}
    b = {"kept": torch.zeros(1), "new": torch.zeros(1), "shape": torch.zeros(3, 2)}
    with pytest.raises(CheckpointError) as caught:
        combine(a, b)
    message = str(caught.value)
    for part in ("1 missing: gone", "1 unexpected: new", "1 misshapen: shape has shape (3, 2), expected (2, 3)"):
        assert part in message


def test_long_lists_are_cut():
    many = {f"layer.{i}": torch.zeros(1) for i in range(8)}
    (problem,) = differences(many, {})
    assert problem == "8 missing: layer.0, layer.1, layer.2, layer.3, layer.4 and 3 more"


def test_fisher_information_that_does_not_fit_is_refused():
    w = {"w": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="w is in one file only"):
        fisher_merge(w, w, 0.5, {"w": torch.ones(2)}, {})
    with pytest.raises(CheckpointError, match=r"1 misshapen: w has shape \(3,\), expected \(2,\)"):
        fisher_merge(w, w, 0.5, {"w": torch.ones(2)}, {"w": torch.ones(3)})


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_fisher_information_that_is_no_mean_of_squares_is_refused(value, side):
    w, fishers = {"w": torch.ones(2), "v": torch.ones(1)}, [{"w": torch.ones(2), "v": torch.ones(1)} for _ in range(2)]
    fishers[side] = {**fishers[side], "w": torch.tensor([1.0, value])}
    with pytest.raises(CheckpointError, match="Fisher information of 'w' is negative, infinite or NaN"):
        fisher_merge(w, w, 0.5, *fishers)


@pytest.mark.parametrize("floor", [-1e-8, float("nan"), float("inf")])
def test_a_floor_that_is_none_is_refused(floor):
    w = {"w": torch.ones(2)}
    with pytest.raises(CallError, match="floor of the Fisher information is"):
        fisher_merge(w, w, 0.5, w, w, floor=floor)
