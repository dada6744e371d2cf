"""Effective and relative robustness: what a model keeps under shift beyond what its ID accuracy promises."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64

from vlm_data.errors import CallError

FEWEST_BASELINES = 3
"""Two baselines always lie on a line."""


def logit(share: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return `ln(p / (1 - p))`, the scale on which accuracies under shift follow a line (Taori et al. 2020).

    Raises:
        CallError: unless all shares lie strictly between 0 and 1.

    Example:
        >>> logit(np.array([0.5, 0.9]))
        array([0.        , 2.1972246])
    """
    shares = np.asarray(share, dtype=np.float64)
    inside = (shares > 0) & (shares < 1)
    if not inside.all():
        wrong = shares[~inside].flat[0]
        raise CallError(
            f"an accuracy of {wrong:g} has no logit; expected accuracies strictly between 0 and 1, as fractions. "
            "Leave that model or data set out, or evaluate it on more images."
        )
    return np.log(shares) - np.log1p(-shares)


def sigmoid(value: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return `1 / (1 + exp(-x))`, the inverse of `logit`, without overflow.

    Example:
        >>> sigmoid(np.array([0.0, -800.0]))
        array([0.5, 0. ])
    """
    values = np.asarray(value, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, small) / (1 + small)


@dataclasses.dataclass(frozen=True)
class BaselineFit:
    """The line that models without any intervention follow: `logit(shifted) = slope logit(reference) + intercept`.

    Attributes:
        slope: b1.
        intercept: b0.
        r2: share of the variance of `logit(shifted)` that the line explains, in [0, 1].
        count: baselines it was fitted to.
        deviation: standard deviation of the residuals in logit units, with n - 2 degrees of freedom.
        centre: mean of `logit(reference)`.
        scatter: sum of squared distances of `logit(reference)` from their mean.
    """

    slope: float
    intercept: float
    r2: float
    count: int
    deviation: float
    centre: float
    scatter: float

    def expected(self, reference: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Return beta(x), the accuracy under shift that models of reference accuracy x usually have."""
        return sigmoid(self.slope * logit(reference) + self.intercept)

    def uncertainty(self, reference: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Return the standard error of the line in logit units, `s sqrt(1/n + (x - centre)^2 / scatter)`."""
        return self.deviation * np.sqrt(1 / self.count + (logit(reference) - self.centre) ** 2 / self.scatter)

    def band(
        self, reference: Float[np.ndarray, "*shape"], level: float = 0.95
    ) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
        """Return the confidence band of the line, lower and upper accuracies, by Student's t with n - 2 degrees.

        It covers where the line lies, not where single baselines lie.
        """
        from scipy.special import stdtrit  # here, because importing it takes longer than the fit

        middle = self.slope * logit(reference) + self.intercept
        half = float(stdtrit(self.count - 2, (1 + level) / 2)) * self.uncertainty(reference)
        return sigmoid(middle - half), sigmoid(middle + half)

    def effective_robustness(
        self, reference: Float[np.ndarray, "*shape"], shifted: Float[np.ndarray, "*shape"]
    ) -> Float64[np.ndarray, "*shape"]:
        """Return `shifted - beta(reference)`, in accuracy (fractions); positive = above the line."""
        return np.asarray(shifted, dtype=np.float64) - self.expected(reference)

    def residual(
        self, reference: Float[np.ndarray, "*shape"], shifted: Float[np.ndarray, "*shape"]
    ) -> Float64[np.ndarray, "*shape"]:
        """Return the distance from the line in logit units, `logit(shifted) - (slope logit(reference) + intercept)`."""
        return logit(shifted) - (self.slope * logit(reference) + self.intercept)


def fit_baseline(reference: Float[np.ndarray, " m"], shifted: Float[np.ndarray, " m"]) -> BaselineFit:
    """Fit the baseline by ordinary least squares on logits (Taori et al. 2020; Wortsman et al. 2022, section 2).

    Args:
        reference: accuracies of baseline models on the reference test set, in (0, 1). Models trained on the reference
            distribution alone; never the models that are judged.
        shifted: their accuracies on the shifted set.

    Raises:
        CallError: for fewer than three baselines, baselines of one reference accuracy, or accuracies of 0 or 1.

    Example:
        >>> fit = fit_baseline(np.array([0.6, 0.7, 0.8]), np.array([0.4, 0.5, 0.6]))
        >>> fit.count, bool(fit.effective_robustness(0.7, 0.55) > 0.04)
        (3, True)
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(shifted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise CallError(f"baselines have {x.shape} reference and {y.shape} shifted accuracies; expected one pair each.")
    if len(x) < FEWEST_BASELINES or np.ptp(x) == 0:
        raise CallError(
            f"a baseline cannot be fitted to {len(x)} models of {len(np.unique(x))} reference accuracies; expected at "
            f"least {FEWEST_BASELINES} models that differ. Add models without the intervention, such as runs "
            "from random weights."
        )
    x, y = logit(x), logit(y)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    intercept = float(y.mean() - slope * x.mean())
    scatter = float(((y - y.mean()) ** 2).sum())
    error = float(((y - slope * x - intercept) ** 2).sum())
    r2 = 1 - error / scatter if scatter else 1.0
    deviation = float(np.sqrt(error / (len(x) - 2)))
    return BaselineFit(slope, intercept, r2, len(x), deviation, float(x.mean()), float(((x - x.mean()) ** 2).sum()))


def relative_robustness(
    before: Float[np.ndarray, "*shape"], after: Float[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Return what an intervention changed under shift: shifted accuracy after minus before.

    Example:
        >>> relative_robustness(np.array([0.4]), np.array([0.55]))
        array([0.15])
    """
    return np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
