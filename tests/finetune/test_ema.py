import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vlm_data.errors import CallError
from vlm_finetune.ema import EmaTeacher, MomentumSchedule, momentum, update_step

GOLDEN = Path(__file__).parents[1] / "golden" / "schedule"
CASES = json.loads((GOLDEN / "ema_momentum.json").read_text())


def schedule_of(case):
    return MomentumSchedule(
        total_steps=case["total_steps"],
        every=case["update_every"],
        start=case["m_start"],
        end=case["m_end"],
        warmup_fraction=case["warmup_fraction"],
        counter=case["counter"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_published_updates(case):
    schedule = schedule_of(case)
    found = [(t, m) for t in range(case["total_steps"]) if (m := schedule.after(t)) is not None]
    assert [t for t, _ in found] == [t for t, _ in case["updates"]]
    assert [m for _, m in found] == pytest.approx([m for _, m in case["updates"]], rel=1e-12)


@given(st.integers(1, 50), st.integers(1, 20))
def test_counting_after_the_step_updates_at_the_end_and_not_at_the_start(total_steps, every):
    counts = [update_step(t, total_steps, every, "after_step") for t in range(total_steps)]
    assert counts[-1] == total_steps
    assert [count for count in counts if count] == sorted({*range(every, total_steps + 1, every), total_steps})


@given(st.integers(1, 50), st.integers(1, 20))
def test_counting_before_the_step_updates_at_the_start(total_steps, every):
    counts = [update_step(t, total_steps, every, "before_step") for t in range(total_steps)]
    assert [count for count in counts if count is not None] == list(range(0, total_steps, every))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
def test_momentum_runs_from_start_to_end(start, end, fraction, total_steps):
    values = [momentum(u, total_steps, start, end, fraction) for u in range(total_steps + 1)]
    assert values[-1] == pytest.approx(end)
    assert values[0] == (start if fraction * total_steps > 0 else end)
    assert values == sorted(values, reverse=start > end)


@pytest.mark.parametrize("every", [0, -1])
def test_no_interval_freezes_the_teacher(every):
    schedule = MomentumSchedule(total_steps=9, every=every)
    assert {schedule.after(t) for t in range(9)} == {None}


def test_an_unknown_counter_is_named():
    with pytest.raises(CallError, match=r"unknown EMA counter 'after'\. Did you mean 'after_step'"):
        update_step(0, 1, 1, "after")


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()


@given(st.floats(0, 1))
def test_parameters_are_averaged_and_buffers_copied(weight):
    old, student = network(0), network(1)
    teacher = EmaTeacher(old)
    student(torch.randn(8, 3, dtype=torch.float64))  # moves the running statistics
    teacher.update(student, weight)
    for own, before, new in zip(teacher.model.parameters(), old.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(
            own, weight * before + (1 - weight) * new, rtol=1e-12, atol=1e-12, check_stride=False
        )
    for own, new in zip(teacher.model.buffers(), student.buffers(), strict=True):
        assert torch.equal(own, new)


def test_momentum_zero_is_a_snapshot_and_one_changes_nothing():
    old, student = network(0), network(1)
    teacher = EmaTeacher(old)
    teacher.update(student, 1.0)
    assert all(map(torch.equal, teacher.model.parameters(), old.parameters()))
    teacher.update(student, 0.0)
    assert all(map(torch.equal, teacher.model.parameters(), student.parameters()))


def test_the_teacher_is_a_frozen_copy_in_evaluation_mode():
    student = network(0)
    teacher = EmaTeacher(student)
    before = [parameter.clone() for parameter in teacher.model.parameters()]
    with torch.no_grad():
        student[0].weight.zero_()
    assert all(map(torch.equal, teacher.model.parameters(), before))
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert not any(module.training for module in teacher.model.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert student.training


def test_a_resumed_teacher_goes_on_where_it_stopped():
    student = network(1)
    teacher, resumed = EmaTeacher(network(0)), EmaTeacher(network(2))
    teacher.update(student, 0.3)
    resumed.load_state_dict(teacher.state_dict())
    for each in (teacher, resumed):
        each.update(network(3), 0.7)
    assert all(map(torch.equal, teacher.model.parameters(), resumed.model.parameters()))


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="zip"):
        EmaTeacher(nn.Linear(2, 2)).update(nn.Linear(2, 2, bias=False), 0.5)
