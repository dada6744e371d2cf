"""When relevance counts as falling on the evidence: one measure and the least value it must have."""

import dataclasses
import math
import re

from vlm_data.errors import CallError, unknown_name
from vlm_explain.rationale.measures import AVERAGE_PRECISION, MASS, NORMALISED_MASS, POINTING, RANK

DECIDING = (MASS, NORMALISED_MASS, POINTING, RANK, AVERAGE_PRECISION)
"""Measures that a rule may be about: those that grow with the relevance on the evidence."""
_WRITTEN = re.compile(r"\s*(?P<measure>[^\s<>=]+)\s*>=\s*(?P<threshold>\S+)\s*")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A measure and its threshold; a value that equals the threshold is valid, one that is undefined is not.

    The published rule is `mass>=0.5`. Its level depends on the size of objects: a map that looks everywhere alike
    passes it wherever the evidence covers half of the image. `normalised_mass>=1` asks for more than that.

    Attributes:
        measure: one of `DECIDING`.
        threshold: a number above 0; at most 1, but for `normalised_mass`.

    Raises:
        CallError: for another measure or threshold.

    Example:
        >>> str(Rule("mass", 0.5)), Rule.parse("rank >= 0.25")
        ('mass>=0.5', Rule(measure='rank', threshold=0.25))
    """

    measure: str = MASS
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.measure not in DECIDING:
            raise unknown_name("measure of a rule", self.measure, DECIDING)
        highest = math.inf if self.measure == NORMALISED_MASS else 1.0
        if not 0 < self.threshold <= highest or math.isinf(self.threshold):
            most = "" if math.isinf(highest) else " and at most 1"
            raise CallError(
                f"the rule {self} has a threshold that decides nothing; expected a number above 0{most}, as in "
                f"{self.measure}>={min(1, highest) / 2}."
            )

    def __str__(self) -> str:
        return f"{self.measure}>={self.threshold!r}"

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read a rule written `MEASURE>=NUMBER`.

        Raises:
            CallError: if it is written otherwise, or names an unknown measure or a threshold out of range.
        """
        found = _WRITTEN.fullmatch(text)
        try:
            threshold = float(found["threshold"]) if found else math.nan
        except ValueError:
            threshold = math.nan
        if found is None or math.isnan(threshold):
            raise CallError(f"the rule {text!r} is not understood; expected MEASURE>=NUMBER, for example mass>=0.5.")
        return cls(found["measure"], threshold)


PUBLISHED = Rule()
"""`mass>=0.5`, the rule of the published program."""
