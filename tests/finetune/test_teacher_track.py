import dataclasses
import math

import pytest
import torch

from vlm_finetune import finetune
from vlm_finetune.losses import pair_logits, self_distillation_from_logits
from vlm_finetune.losses.self_distillation import teacher_track
from vlm_finetune.run_log import read_log
from vlm_finetune.teacher_track import teacher_warnings

SETTINGS = {"distillation": 1.5, "teacher_every": 4}


def logits(seed, scale=5.0, size=6):
    generator = torch.Generator().manual_seed(seed)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(size, 8, generator=generator, dtype=torch.float64)) for _ in range(2)
    )
    return pair_logits(images, texts, scale)


def test_the_divergence_is_kl_of_both_directions():
    student, teacher = logits(0), logits(1)
    found = teacher_track(student, teacher)
    expected = sum(
        torch.distributions.kl_divergence(
            torch.distributions.Categorical(logits=mine), torch.distributions.Categorical(logits=other)
        ).mean()
        for mine, other in (
            (teacher.logits_per_image, student.logits_per_image),
            (teacher.logits_per_text, student.logits_per_text),
        )
    )
    torch.testing.assert_close(found["teacher_kl"], expected)
    torch.testing.assert_close(
        found["teacher_kl"] + found["teacher_entropy"], self_distillation_from_logits(student, teacher)
    )


def test_a_teacher_without_opinion_has_most_entropy_and_least_confidence():
    found = teacher_track(logits(0), logits(1, scale=0.0))
    assert found["teacher_entropy"] == pytest.approx(2 * math.log(6))
    assert found["teacher_confidence"] == pytest.approx(1 / 6)


def carot_log(tmp_path, **method):
    tables = {"method": {"name": "carot", **method}, "training": {"epochs": 2}, "data": {"limit": 128}}
    return read_log(finetune(tables, tmp_path / "run").path / "log.jsonl")


def test_a_run_tells_its_teacher(tmp_path):
    events = carot_log(tmp_path, teacher_every=2)
    steps = [event for event in events if event["event"] == "step"]
    assert {"teacher_kl", "teacher_entropy", "teacher_confidence"} <= steps[0].keys()
    for event in steps[1:]:
        assert event["distillation"] == pytest.approx(
            event["teacher_kl"] + event["teacher_entropy"], rel=1e-4, abs=1e-5
        )
    moved = [event["step"] for event in steps if "teacher_momentum" in event]
    assert moved == [event["step"] for event in steps if (event["step"] - 1) % 2 == 0]
    assert all(event["teacher_distance"] > 0 for event in steps if "teacher_momentum" in event)


def test_warnings_are_part_of_the_log_once(tmp_path):
    texts = [event["text"] for event in carot_log(tmp_path, teacher_every=500) if event["event"] == "warning"]
    assert len(texts) == 1 and "never moved after the first step: method.teacher_every is 500" in texts[0]


@dataclasses.dataclass
class Steps:
    divergence: float = 0.5
    count: int = 40
    every: int = 4

    def events(self):
        for step in range(1, self.count + 1):
            facts = {"teacher_momentum": 0.9} if (step - 1) % self.every == 0 else {}
            yield {"event": "step", "step": step, "teacher_kl": 0.0 if step == 1 else self.divergence, **facts}


@pytest.mark.parametrize(
    ("steps", "settings", "word"),
    [
        (Steps(), SETTINGS, None),
        (Steps(divergence=5e-4), SETTINGS, "collapsed"),
        (Steps(divergence=5e-4), {**SETTINGS, "distillation": 0.0}, None),
        (Steps(every=100), SETTINGS, "never moved"),
        (Steps(every=100), {**SETTINGS, "teacher_every": 0}, None),
        (Steps(divergence=5e-4, count=3), SETTINGS, "never moved"),
        (Steps(count=1), SETTINGS, None),
    ],
)
def test_when_to_warn(steps, settings, word):
    found = teacher_warnings(steps.events(), settings)
    assert len(found) == (word is not None) and all(word in text for text in found)


def test_a_divergence_that_recovers_is_no_collapse():
    events = [*Steps(divergence=1e-5).events(), {"event": "step", "step": 41, "teacher_kl": 0.1}]
    assert teacher_warnings(events, SETTINGS) == []
    assert teacher_warnings([{"event": "step", "step": 1, "loss": 1.0}], SETTINGS) == []
