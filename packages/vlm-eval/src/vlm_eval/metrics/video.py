"""Are neighbouring frames of a video answered alike: pm-k of ImageNet-Vid-Robust and YTBB-Robust (Shankar et al. 2021).

An anchor frame may show several things, so several labels are accepted. pm0 is the share of anchors answered rightly;
pm10 the share of those answered rightly together with every neighbour up to 10 frames away.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from vlm_data.errors import CallError, VlmDataError, listing

Accepted = Mapping[str, Collection[int]]
Frames = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class AnchorOutcomes:
    """How every anchor and its neighbours were answered.

    Attributes:
        anchors: names of the anchor frames.
        correct: (a,) is the anchor answered rightly.
        wrong_neighbours: for each anchor the positions, from 1, of the neighbours that were answered wrongly; None
            where the anchor itself was.
    """

    anchors: tuple[str, ...]
    correct: Bool[np.ndarray, " a"]
    wrong_neighbours: tuple[tuple[int, ...] | None, ...]

    @property
    def pm0(self) -> float:
        """Share of anchors answered rightly."""
        return float(self.correct.mean())

    @property
    def pm10(self) -> float:
        """Share of anchors answered rightly with all their neighbours; an anchor without any counts by itself."""
        return float(np.mean([wrong == () for wrong in self.wrong_neighbours]))


def judged_by_frame(predicted: Mapping[str, int], neighbours: Frames, accepted: Accepted) -> AnchorOutcomes:
    """Judge every frame by its own labels, as in ImageNet-Vid-Robust.

    Args:
        predicted: class of every frame.
        neighbours: for each anchor the frames around it.
        accepted: labels of every frame, anchors and neighbours.

    Raises:
        CallError: if a frame has no prediction or no labels.
        VlmDataError: if there is no anchor.

    Example:
        >>> outcomes = judged_by_frame({"a": 0, "b": 1}, {"a": ["b"]}, {"a": [0], "b": [0, 2]})
        >>> outcomes.pm0, outcomes.pm10, outcomes.wrong_neighbours
        (1.0, 0.0, ((1,),))
    """
    return _judged(
        predicted, {anchor: [(frame, frame) for frame in near] for anchor, near in neighbours.items()}, accepted
    )


def judged_by_anchor(predicted: Mapping[str, int], neighbours: Frames, accepted: Accepted) -> AnchorOutcomes:
    """Judge every neighbour by the labels of its anchor, as in YTBB-Robust.

    Args:
        predicted: class of every frame.
        neighbours: for each anchor the frames around it; anchors that are not named have none.
        accepted: labels of every anchor.

    Raises:
        CallError: if a frame has no prediction.
        VlmDataError: if there is no anchor.

    Example:
        >>> outcomes = judged_by_anchor({"a": 0, "b": 0, "c": 3}, {"a": ["b"]}, {"a": [0], "c": [1]})
        >>> outcomes.pm0, outcomes.pm10, outcomes.wrong_neighbours
        (0.5, 0.5, ((), None))
    """
    pairs = {anchor: [(frame, anchor) for frame in neighbours.get(anchor, ())] for anchor in accepted}
    return _judged(predicted, pairs, accepted)


def _judged(
    predicted: Mapping[str, int], frames: Mapping[str, Sequence[tuple[str, str]]], accepted: Accepted
) -> AnchorOutcomes:
    """Judge anchors by their labels and each neighbour by those of the frame named beside it."""
    if not frames:
        raise VlmDataError("there is no anchor frame; expected at least one.")
    shown = {frame for near in frames.values() for frame, _ in near} | frames.keys()
    judges = {judge for near in frames.values() for _, judge in near} | frames.keys()
    for what, lacking in (("prediction", shown - predicted.keys()), ("labels", judges - accepted.keys())):
        if lacking:
            raise CallError(f"{len(lacking)} frames have no {what}: {listing(sorted(lacking))}. Expected all frames.")
    correct = np.array([predicted[anchor] in accepted[anchor] for anchor in frames])
    wrong = [
        tuple(place for place, (frame, judge) in enumerate(near, start=1) if predicted[frame] not in accepted[judge])
        for near in frames.values()
    ]
    return AnchorOutcomes(
        tuple(frames), correct, tuple(found if right else None for found, right in zip(wrong, correct, strict=True))
    )
