"""How much of a relevance map lies on the evidence, by the measures of the field; all images of a batch at once.

Sums are taken in float64, whatever the type of the maps: in half precision they would be wrong by 5e-4. What is
undefined is NaN: everything for a flat map, all but mass, pointing and area for empty evidence.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

MASS, AREA, NORMALISED_MASS = "mass", "area", "normalised_mass"
POINTING, RANK, AVERAGE_PRECISION = "pointing", "rank", "average_precision"
INSERTION, DELETION = "insertion", "deletion"

OVERLAP_MEASURES = (MASS, AREA, NORMALISED_MASS, POINTING, RANK, AVERAGE_PRECISION)
"""Of map and evidence alone."""
PERTURBATION_MEASURES = (INSERTION, DELETION)
"""Of map and model, without evidence, see `vlm_explain.rationale.perturbation`."""

_LEVELS = 100_000
"""Pixels tie if they differ by less than one part in so many of the largest: enlarging a map leaves rounding errors
where a patch at the border is one even area, and what is decided by them changes with the batch."""


def relevance_mass(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return the share of relevance that lies on the evidence: relevance mass accuracy (Arras et al. 2022).

    `sum(map * mask) / sum(map)`, in [0, 1]. A map that is the same everywhere scores the area of the evidence, so a
    fixed threshold asks less of large objects; see `normalised_mass`.

    Args:
        maps: relevance per pixel, not negative.
        masks: evidence.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
        >>> relevance_mass(maps, maps > 1)
        tensor([0.5000], dtype=torch.float64)
    """
    wide = maps.double()
    return (wide * masks).sum(dim=(1, 2)) / wide.sum(dim=(1, 2))


def evidence_share(masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return the share of each image that is evidence, in [0, 1]."""
    return masks.double().mean(dim=(1, 2))


def normalised_mass(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return relevance mass divided by the area of the evidence: 1 for a map that looks everywhere alike.

    At least 0, at most 1 / area; NaN for empty evidence.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
        >>> normalised_mass(maps, maps > 1)
        tensor([2.], dtype=torch.float64)
    """
    return relevance_mass(maps, masks) / evidence_share(masks)


def pointing_game(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return whether the most relevant pixel lies on the evidence (Zhang et al. 2016).

    Where several pixels share the maximum, as around the middle of an enlarged patch, it is the share of them that
    does: what a choice at random would score.

    Example:
        >>> maps = torch.tensor([[[0.0, 2.0], [1.0, 2.0]]])
        >>> pointing_game(maps, torch.tensor([[[False, True], [False, False]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    most = _levels(maps) == _LEVELS
    return (most & masks).sum(dim=(1, 2)).double() / most.sum(dim=(1, 2))


def rank_accuracy(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return relevance rank accuracy (Arras et al. 2022): of the K most relevant pixels, the share on the evidence.

    K is the number of evidence pixels. Where pixels that tie compete for the last places, it is the expectation over a
    choice at random; NaN for empty evidence.

    Example:
        >>> maps = torch.tensor([[[3.0, 2.0], [1.0, 0.0]]])
        >>> rank_accuracy(maps, torch.tensor([[[True, False], [True, False]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    return _Ranking.of(maps, masks).rank_accuracy()


def average_precision(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return the average precision of the map as a score that tells evidence pixels from others.

    `sum_t (R_t - R_(t-1)) P_t` over the distinct values t of the map, from the highest; pixels that tie enter
    together. NaN for empty evidence.

    Example:
        >>> maps = torch.tensor([[[3.0, 2.0], [1.0, 0.0]]])
        >>> average_precision(maps, torch.tensor([[[True, False], [True, False]]]))
        tensor([0.8333], dtype=torch.float64)
    """
    return _Ranking.of(maps, masks).average_precision()


def overlap_measures(maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> dict[str, Float64[Tensor, " n"]]:
    """Return all of `OVERLAP_MEASURES`, with one sorting of the pixels; NaN where a measure is undefined.

    Args:
        maps: relevance per pixel, not negative; a map without relevance is flat.
        masks: evidence.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [1.0, 2.0]]])
        >>> {name: round(float(value), 2) for name, value in overlap_measures(maps, maps > 1).items()}
        {'mass': 0.5, 'area': 0.25, 'normalised_mass': 2.0, 'pointing': 1.0, 'rank': 1.0, 'average_precision': 1.0}
    """
    ranking, mass, area = _Ranking.of(maps, masks), relevance_mass(maps, masks), evidence_share(masks)
    found = {
        MASS: mass,
        NORMALISED_MASS: mass / area,
        POINTING: pointing_game(maps, masks),
        RANK: ranking.rank_accuracy(),
        AVERAGE_PRECISION: ranking.average_precision(),
    }
    nothing = mass.isnan()
    return {MASS: mass, AREA: area} | {name: value.masked_fill(nothing, torch.nan) for name, value in found.items()}


def _levels(maps: Float[Tensor, "n h w"]) -> Float32[Tensor, "n h w"]:
    """Return whole numbers in the order of the values, the largest of each map `_LEVELS`; NaN without relevance."""
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return (wide / wide.amax(dim=(1, 2), keepdim=True) * _LEVELS).round().float()


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The pixels of every image, the most relevant first.

    Attributes:
        hits: how many of the first 1, 2, ... pixels are evidence.
        last: does the next pixel have a lower value, so that a group of ties ends here.
    """

    hits: Float64[Tensor, "n pixels"]
    last: Bool[Tensor, "n pixels"]

    @classmethod
    def of(cls, maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> "_Ranking":
        values, order = _levels(maps).flatten(1).sort(dim=1, descending=True)
        hits = masks.flatten(1).gather(1, order).cumsum(dim=1, dtype=torch.float64)
        last = torch.ones_like(masks.flatten(1))
        last[:, :-1] = values[:, :-1] != values[:, 1:]
        return cls(hits, last)

    def rank_accuracy(self) -> Float64[Tensor, " n"]:
        places = torch.arange(1, self.hits.shape[1] + 1, device=self.hits.device)
        count = self.hits[:, -1:]
        # The groups of ties end at `places[last]`; the one that the K-th place falls into starts after `before`.
        before = places.where(self.last & (places <= count), 0).amax(dim=1, keepdim=True)
        after = places.where(self.last & (places >= count), self.hits.shape[1]).amin(dim=1, keepdim=True)
        hits = torch.cat([torch.zeros_like(count), self.hits], dim=1)
        inside, outside = hits.gather(1, before), hits.gather(1, after)
        share = ((count - before) / (after - before).clamp_min(1)).clamp(0, 1)
        return ((inside + (outside - inside) * share) / count)[:, 0]

    def average_precision(self) -> Float64[Tensor, " n"]:
        places = torch.arange(1, self.hits.shape[1] + 1, device=self.hits.device)
        reached = self.hits.where(self.last, 0.0).cummax(dim=1).values
        gained = self.hits - torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=1)
        return (gained * self.hits / places).where(self.last, 0.0).sum(dim=1) / self.hits[:, -1]
