import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_finetune.schedule import SCHEDULES, constant, cosine, cosine_to_floor, learning_rate

GOLDEN = Path(__file__).parents[1] / "golden"
SEQUENCES = json.loads((GOLDEN / "schedule" / "lr_sequences.json").read_text())

runs = st.tuples(st.floats(1e-6, 1.0), st.integers(0, 20), st.integers(21, 100), st.floats(0, 1e-6))


@pytest.mark.parametrize("case", SEQUENCES, ids=lambda case: case["name"])
def test_published_sequences(case):
    arguments = case["warmup_steps"], case["total_steps"], case["min_lr"]
    found = [[learning_rate(t, base, *arguments) for base in case["base_lrs"]] for t in range(len(case["lrs"]))]
    np.testing.assert_allclose(found, case["lrs"], rtol=1e-12, atol=0)


def test_published_linear_probe_sequences():
    golden = np.load(GOLDEN / "linear_probe" / "schedule_and_loss.npz")
    specs = sorted(key for key in golden if key.startswith("spec_"))
    assert specs
    for key in specs:
        base, warmup_steps, total_steps = golden[key]
        found = [cosine(t, base, int(warmup_steps), int(total_steps)) for t in range(int(total_steps))]
        np.testing.assert_allclose(found, golden[key.replace("spec", "lr")], rtol=1e-12, atol=1e-12)


@given(runs)
def test_the_floor_is_kept_and_the_peak_is_the_base(run):
    base, warmup_steps, total_steps, min_lr = run
    rates = [cosine_to_floor(t, base, warmup_steps, total_steps, min_lr) for t in range(2 * total_steps)]
    assert max(rates) == pytest.approx(base, rel=1e-12)
    assert all(rate >= min_lr for rate in rates[warmup_steps:])
    assert rates[total_steps:] == [pytest.approx(min_lr, abs=1e-20)] * total_steps
    assert rates[warmup_steps:] == sorted(rates[warmup_steps:], reverse=True)


@given(runs)
def test_without_a_floor_both_cosines_agree_up_to_the_end(run):
    base, warmup_steps, total_steps, _ = run
    for step in range(total_steps + 1):
        expected = cosine(step, base, warmup_steps, total_steps)
        assert cosine_to_floor(step, base, warmup_steps, total_steps) == pytest.approx(expected, rel=1e-12, abs=1e-20)


@given(runs)
def test_all_schedules_share_the_warm_up(run):
    base, warmup_steps, total_steps, min_lr = run
    for schedule in SCHEDULES.values():
        rates = [schedule(t, base, warmup_steps, total_steps, min_lr) for t in range(warmup_steps)]
        np.testing.assert_allclose(rates, base * np.arange(1, warmup_steps + 1) / max(warmup_steps, 1), rtol=1e-12)


@pytest.mark.parametrize("schedule", [cosine, cosine_to_floor])
def test_a_run_that_is_all_warm_up_ends_at_the_floor(schedule):
    assert [schedule(t, 1.0, 2, 2, 0.25) for t in range(3)] == [0.5, 1.0, 0.25]


def test_constant_stays():
    assert {constant(t, 0.3, 0, 5, min_lr=0.1) for t in range(10)} == {0.3}


def test_an_unknown_schedule_is_named():
    with pytest.raises(CallError, match=r"unknown schedule 'cosin'\. Did you mean 'cosine'"):
        learning_rate(0, 1.0, 0, 1, schedule="cosin")
