"""Whether a moving teacher taught anything: what the log of a run says about it."""

from collections.abc import Iterable, Mapping
from typing import Any

COLLAPSED = 1e-3
"""Divergence, in nats over both directions, below which a teacher says what the student says already."""
_LAST_SHARE = 0.2
_FEWEST = 5


def teacher_warnings(events: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the teacher of a run, in whole sentences; none for methods without one.

    A teacher that follows its student too closely teaches nothing: the distillation has a value (the entropy of the
    teacher) and hardly a gradient. One that is never moved is the zero-shot model, whatever its momentum says.

    Args:
        events: of the log of one phase, see `vlm_finetune.run_log.read_log`.
        settings: of the method; `teacher_every = 0` asks for a teacher that stands still.

    Example:
        >>> steps = [{"event": "step", "step": n, "teacher_kl": 1e-5, "teacher_momentum": 0.9} for n in range(2, 40)]
        >>> [text[:42] for text in teacher_warnings(steps, {"teacher_every": 1, "distillation": 1.5})]
        ['the teacher collapsed onto the student: in']
    """
    steps = [event for event in events if event.get("event") == "step" and "teacher_kl" in event]
    if not steps or not settings.get("distillation"):
        return []
    found = []
    last = steps[-max(_FEWEST, round(_LAST_SHARE * len(steps))) :]
    largest = max(event["teacher_kl"] for event in last)
    if len(steps) > _FEWEST and largest < COLLAPSED:
        found.append(
            f"the teacher collapsed onto the student: in the last {len(last)} steps KL(teacher || student) was at most "
            f"{largest:.1e}, so that the distillation taught nothing. Expected more than {COLLAPSED:g}; move the "
            "teacher less often (method.teacher_every) or more slowly (method.teacher_end)."
        )
    moved = [event["step"] for event in steps if "teacher_momentum" in event and event["step"] > 1]
    every = settings.get("teacher_every", 0)
    if every and not moved and len(steps) > 1:
        found.append(
            f"the teacher was never moved after the first step: method.teacher_every is {every} and the run had "
            f"{steps[-1]['step']} steps. Expected fewer steps between two moves than the run has, or 0 for a teacher "
            "that stands still."
        )
    return found
