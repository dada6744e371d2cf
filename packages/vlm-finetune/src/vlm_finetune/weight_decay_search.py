"""Where CLIP_benchmark looks for a weight decay: a coarse grid, then halved steps around its peak."""

from collections.abc import Callable, Generator
from typing import NamedTuple

COUNT = 97
_INITIAL_STEP, _STEPS = 16, (8, 4, 2, 1)


class Peak(NamedTuple):
    """How a search went.

    Attributes:
        best: index of the peak.
        visited: all indices in the order they were asked for, repetitions included.
        rounds: the peak after each round.
    """

    best: int
    visited: tuple[int, ...]
    rounds: tuple[int, ...]


def weight_decay(index: int) -> float:
    """Return the weight decay of a point of the grid, `10^(-6 + i / 12)`, i = 0 ... 96.

    Example:
        >>> weight_decay(0), weight_decay(96)
        (1e-06, 100.0)
    """
    return 10 ** (-6 + index / 12)


def peak_search() -> Generator[int, float, Peak]:
    """Ask for indices of the grid and be sent their validation accuracies; return the peak.

    The first round asks for every 16th index; then, for steps 8, 4, 2 and 1, one round for the peak and its neighbours
    at that distance, as far as there are any. The peak of a round is its first index with the greatest accuracy; 0, if
    no accuracy is above 0. An index may be asked for in several rounds: whoever answers remembers.

    Example:
        >>> search = peak_search()
        >>> next(search), search.send(0.5), search.send(0.9)
        (0, 16, 32)
    """
    visited: list[int] = []
    rounds: list[int] = []
    wanted = list(range(0, COUNT, _INITIAL_STEP))
    for step in (*_STEPS, 0):
        peak, best = 0, 0.0
        for index in wanted:
            visited.append(index)
            accuracy = yield index
            if accuracy > best:
                peak, best = index, accuracy
        rounds.append(peak)
        wanted = [max(peak - step, 0), peak, min(peak + step, COUNT - 1)]
    return Peak(rounds[-1], tuple(visited), tuple(rounds))


def find_peak(accuracy: Callable[[int], float]) -> Peak:
    """Search with a function that gives the accuracy at an index; it is called once for each index.

    Example:
        >>> find_peak(lambda index: 1 - abs(index - 41) / 97).best
        41
    """
    known: dict[int, float] = {}
    search = peak_search()
    index = next(search)
    while True:
        if index not in known:
            known[index] = accuracy(index)
        try:
            index = search.send(known[index])
        except StopIteration as ended:
            return ended.value
