"""How alike two relevance maps of one image are."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

_WINDOW = 7
"""Side of the windows of structural similarity, in pixels."""
_STABLE = 0.01**2, 0.03**2
"""Constants of structural similarity for values in [0, 1]."""


def rank_correlation(a: Float[Tensor, "n rows columns"], b: Float[Tensor, "n rows columns"]) -> Float64[Tensor, " n"]:
    """Return Spearman's rank correlation of two maps of each image, in [-1, 1]; equal values share a rank.

    NaN where a map is the same everywhere.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0, 8.0, 27.0]]]))
        tensor([1.], dtype=torch.float64)
    """
    x, y = (_ranks(values.flatten(1)) for values in (a, b))
    x, y = (values - values.mean(dim=1, keepdim=True) for values in (x, y))
    return (x * y).sum(dim=1) / (x.square().sum(dim=1) * y.square().sum(dim=1)).sqrt()


def structural_similarity(a: Float[Tensor, "n h w"], b: Float[Tensor, "n h w"]) -> Float64[Tensor, " n"]:
    """Return the structural similarity of two maps in [0, 1] of each image (Wang et al. 2004); 1 if they are equal.

    `(2 m_a m_b + c1) (2 s_ab + c2) / ((m_a^2 + m_b^2 + c1) (s_a^2 + s_b^2 + c2))`, the mean over all windows of 7
    pixels (fewer in smaller maps), each pixel of a window weighing the same.

    Example:
        >>> maps = torch.rand(1, 8, 8)
        >>> structural_similarity(maps, maps)
        tensor([1.], dtype=torch.float64)
    """
    size = (min(_WINDOW, a.shape[1]), min(_WINDOW, a.shape[2]))

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values[:, None], size, stride=1)[:, 0]

    x, y = a.double(), b.double()
    mean_x, mean_y = mean(x), mean(y)
    spread = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    shared = mean(x * y) - mean_x * mean_y
    level, contrast = _STABLE
    alike = (2 * mean_x * mean_y + level) * (2 * shared + contrast)
    return (alike / ((mean_x**2 + mean_y**2 + level) * (spread + contrast))).mean(dim=(1, 2))


def _ranks(values: Float[Tensor, "n units"]) -> Float64[Tensor, "n units"]:
    """Return the rank of every value in its row; those that tie get the mean of their ranks."""
    ordered, order = values.sort(dim=1)
    begins = torch.ones_like(ordered, dtype=torch.long)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = begins.cumsum(dim=1) - 1
    places = torch.arange(values.shape[1], dtype=torch.float64, device=values.device).expand_as(values)
    empty = torch.zeros_like(places)
    means = empty.scatter_add(1, group, places) / empty.scatter_add(1, group, torch.ones_like(places))
    return empty.scatter(1, order, means.gather(1, group))
