"""A share of counted cases with its uncertainty; a share of nothing is undefined, never 0."""

import dataclasses
import math
from statistics import NormalDist

from vlm_data.errors import CallError


def check_level(level: float) -> None:
    """Refuse a level that no interval has.

    Raises:
        CallError: if it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise CallError(f"the level of an interval is {level}; expected a fraction between 0 and 1, such as 0.95.")


def check_trials(successes: int, n: int, level: float) -> None:
    """Refuse what no interval of a rate can be made of.

    Raises:
        CallError: if there is no trial, or the number of successes or the level is not possible.
    """
    check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise CallError(f"{successes} successes in {n} trials are not possible; expected 0 to n successes in n >= 1.")


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a binomial rate of which `successes` of `n` trials were seen.

    The rates p with `(k/n - p)^2 <= z^2 p (1 - p) / n`, k successes and z the normal quantile of `(1 + level) / 2`
    (Wilson 1927). Its mean coverage is close to `level` also for few trials and rates near 0 and 1; unlike the exact
    interval of `vlm_eval.intervals.clopper_pearson` it does not promise at least that for every rate.

    Args:
        successes: 0 to n.
        n: number of independent trials, 1 or more.
        level: fraction between 0 and 1.

    Returns:
        Lower and upper end, fractions.

    Raises:
        CallError: if there is no trial, or the number of successes or the level is not possible.

    Example:
        >>> low, high = wilson(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)
    """
    check_trials(successes, n, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, weight = successes / n, z * z / n
    middle = (rate + weight / 2) / (1 + weight)
    half = z * math.sqrt(rate * (1 - rate) / n + weight / (4 * n)) / (1 + weight)
    # Rounding would leave 1e-17 in place of the ends themselves.
    low = middle - half if successes else 0.0
    high = middle + half if successes < n else 1.0
    return low, high


@dataclasses.dataclass(frozen=True)
class Proportion:
    """How many of some cases have a property.

    Attributes:
        successes: cases that have it.
        trials: all cases.

    Example:
        >>> Proportion(3, 4).value, Proportion(0, 0).value
        (0.75, None)
    """

    successes: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share, a fraction; None without a case."""
        return self.successes / self.trials if self.trials else None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of `wilson`; None without a case.

        Raises:
            CallError: if the level is not possible.
        """
        return wilson(self.successes, self.trials, level) if self.trials else None
