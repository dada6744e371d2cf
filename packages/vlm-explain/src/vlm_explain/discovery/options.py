"""What counts as a spurious feature: thresholds, strategy, significance, clustering."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vlm_data.errors import CallError
from vlm_data.registry import Registry

STRATEGIES = Registry("vlm_explain.discovery.strategies", "discovery strategy")
_SHARES = ("influence", "level", "minimum_gap", "same_images", "class_tie")


@dataclasses.dataclass(frozen=True)
class StrategyInfo:
    """What a strategy tells about itself before it is called.

    Attributes:
        summary: one sentence.
    """

    summary: str


@dataclasses.dataclass(frozen=True)
class DiscoveryOptions:
    """Choices of a discovery; `reference_options` are those of the published program.

    Attributes:
        strategy: a file of `vlm_explain.discovery.strategies`: which clusters pass, and what ranks them.
        influence: least influence of strategies that look at it.
        both_signs: whether a cluster must raise the accuracy of one class and lower that of another.
        level: a cluster is a finding if its p-value, corrected for the number of clusters, is at most this; 1 tests
            nothing.
        permutations: of the answers within each class; the smallest p-value is 1 / (permutations + 1).
        minimum_gap: least weighted gap that counts, in [0, 1], both of a class that gains and of one that loses.
        class_tie: clusters tied closer than this to one class in this very data (Cramer's V, in [0, 1]) show the class
            itself, not something beside it; 1 lets all pass.
        presence_first: whether clusters whose presence draws answers to a class rank before those whose absence does.
        same_images: clusters whose images correlate so far are told to be one feature, or one the absence of the other.
        candidates: numbers of clusters to try; none for 2L up to 5L - 1.
        most_candidates: no more than so many of them, spread geometrically; None for all.
        method: how to cluster, a file of `vlm_explain.discovery.clustering.methods`, or `auto`.
        silhouette: how to score clusterings, see `cluster`.
        seed: of clustering and permutations.

    Raises:
        CallError: for an unknown strategy, shares outside of [0, 1] or no permutations.

    Example:
        >>> DiscoveryOptions(minimum_gap=0.2).strategy
        'ravl'
    """

    strategy: str = "ravl"
    influence: float = 0.25
    both_signs: bool = True
    level: float = 0.05
    permutations: int = 1000
    minimum_gap: float = 0.05
    class_tie: float = 0.5
    presence_first: bool = True
    same_images: float = 0.5
    candidates: tuple[int, ...] = ()
    most_candidates: int | None = 8
    method: str = "auto"
    silhouette: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategy", STRATEGIES.canonical(self.strategy))
        object.__setattr__(self, "candidates", tuple(self.candidates))
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise CallError(f"{name}={value} is no share; expected a number from 0 to 1, for example 0.1.")
        if self.permutations < 1:
            raise CallError(f"{self.permutations} permutations test nothing; expected at least 1, for example 1000.")
        if self.level < 1 / (self.permutations + 1):
            raise CallError(
                f"{self.permutations} permutations cannot show significance at the level {self.level}: the smallest "
                f"p-value is {1 / (self.permutations + 1):.2g}. Expected level >= 1 / (permutations + 1); ask for more "
                "permutations or a higher level."
            )

    def document(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return dataclasses.asdict(self) | {"candidates": list(self.candidates)}

    @classmethod
    def of_document(cls, values: Mapping[str, Any]) -> "DiscoveryOptions":
        """Return the options that `document` told."""
        return cls(**values)


def reference_options() -> DiscoveryOptions:
    """Return the choices of the published program: no test, no minimum, every candidate.

    Example:
        >>> reference_options().level
        1.0
    """
    return DiscoveryOptions(level=1.0, minimum_gap=0.0, class_tie=1.0, presence_first=False, most_candidates=None)
