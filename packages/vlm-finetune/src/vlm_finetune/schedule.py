"""Learning rates as pure functions of the optimiser step.

Steps are optimiser steps (not micro-batches, not multiplied by the number of processes), counted from 0; the rate
of step t is set before that step is taken. A run that resumes needs no scheduler state.
"""

import math
from collections.abc import Callable, Mapping

from vlm_data.errors import unknown_name


def cosine(step: int, base: float, warmup_steps: int, total_steps: int, min_lr: float = 0.0) -> float:
    """Return the published rate: linear warm-up, then half a cosine to 0, plus `min_lr`.

    `base (t + 1) / w` for t < w, else `base (1 + cos(pi (t - w) / (S - w))) / 2 + min_lr` (the schedule of WiSE-FT,
    FLYP and CaRot). As published: the peak is `base + min_lr`, the warm-up knows no `min_lr`, and past the end the
    cosine rises again; `cosine_to_floor` does neither.

    Args:
        step: t, from 0.
        base: rate at the end of the warm-up.
        warmup_steps: w, optimiser steps.
        total_steps: S, optimiser steps of the whole run; with S <= w a run sees only the warm-up.
        min_lr: added to the cosine part.

    Example:
        >>> [round(cosine(t, 1.0, warmup_steps=2, total_steps=6), 4) for t in range(6)]
        [0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464]
    """
    if step < warmup_steps:
        return _warmup(step, base, warmup_steps)
    return _half_cosine(step - warmup_steps, total_steps - warmup_steps) * base + min_lr


def cosine_to_floor(step: int, base: float, warmup_steps: int, total_steps: int, min_lr: float = 0.0) -> float:
    """Return the rate with `min_lr` as a floor: linear warm-up to `base`, half a cosine to `min_lr`, then constant.

    Arguments as in `cosine`; the two agree up to the end when `min_lr` is 0.

    Example:
        >>> [round(cosine_to_floor(t, 1.0, warmup_steps=1, total_steps=3, min_lr=0.2), 4) for t in range(5)]
        [1.0, 1.0, 0.6, 0.2, 0.2]
    """
    if step < warmup_steps:
        return _warmup(step, base, warmup_steps)
    past = min(step, total_steps) - warmup_steps
    return min_lr + (base - min_lr) * _half_cosine(past, total_steps - warmup_steps)


def constant(step: int, base: float, warmup_steps: int, total_steps: int, min_lr: float = 0.0) -> float:
    """Return the rate that stays at `base` after a linear warm-up; `total_steps` and `min_lr` do not matter.

    Example:
        >>> [constant(t, 1.0, warmup_steps=2, total_steps=4) for t in range(4)]
        [0.5, 1.0, 1.0, 1.0]
    """
    return _warmup(step, base, warmup_steps) if step < warmup_steps else base


SCHEDULES: Mapping[str, Callable[..., float]] = {
    "cosine": cosine,
    "cosine-to-floor": cosine_to_floor,
    "constant": constant,
}


def learning_rate(
    step: int, base: float, warmup_steps: int, total_steps: int, min_lr: float = 0.0, *, schedule: str = "cosine"
) -> float:
    """Return the rate of a named schedule; see `cosine` for the arguments.

    Raises:
        CallError: if there is no such schedule; the nearest one is offered.

    Example:
        >>> learning_rate(0, 1e-5, warmup_steps=500, total_steps=25_030)
        2e-08
    """
    if schedule not in SCHEDULES:
        raise unknown_name("schedule", schedule, SCHEDULES)
    return SCHEDULES[schedule](step, base, warmup_steps, total_steps, min_lr)


def _warmup(step: int, base: float, warmup_steps: int) -> float:
    return base * (step + 1) / warmup_steps


def _half_cosine(step: int, steps: int) -> float:
    # a cosine of no length has ended
    return 0.5 * (1 + math.cos(math.pi * step / steps)) if steps else 0.0
