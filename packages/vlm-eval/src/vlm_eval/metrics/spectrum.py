"""Spectra of image features and projections: the diagnostics of the CaRot analysis (Oh et al. 2024).

They rank runs; none of them bounds an error. The theorem behind them has `d / sigma_min >= d` on its right side, while
the errors on its left are at most 1. Compare runs on the same images only: `sigma_min` grows with their number, for
uncorrelated columns like `(1 - sqrt(d / N))^2`.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float64

from vlm_data.errors import CallError

_TAIL = 20


@dataclasses.dataclass(frozen=True)
class FeatureSpectrum:
    """Eigenvalues of the correlation matrix of image features.

    Attributes:
        eigenvalues: of `S = X^T X / N` with standardised columns X, descending; they sum to their number.
        samples: N.
        constant_columns: features without variance, which were left out.
    """

    eigenvalues: Float64[np.ndarray, " d"]
    samples: int
    constant_columns: int

    @property
    def sigma_min(self) -> float:
        """The smallest singular value of S, in [0, 1]."""
        return float(max(self.eigenvalues[-1], 0.0))

    @property
    def sigma_max(self) -> float:
        """The largest singular value of S."""
        return float(self.eigenvalues[0])

    @property
    def condition(self) -> float:
        """`sigma_max / sigma_min`; infinite if a column is a combination of others."""
        return self.sigma_max / self.sigma_min if self.sigma_min else float("inf")

    @property
    def inverse_sigma_min(self) -> float:
        """`1 / sigma_min`, a quantity to rank runs by; infinite as above."""
        return 1 / self.sigma_min if self.sigma_min else float("inf")

    @property
    def tail(self) -> Float64[np.ndarray, " k"]:
        """The 20 smallest singular values, descending."""
        return self.eigenvalues[-_TAIL:].clip(min=0)

    @property
    def effective_rank(self) -> float:
        """`exp(-sum p ln p)` of the eigenvalues' shares p (Roy and Vetterli 2007); d for uncorrelated columns."""
        shares = self.eigenvalues.clip(min=0) / self.eigenvalues.clip(min=0).sum()
        shares = shares[shares > 0]
        return float(np.exp(-(shares * np.log(shares)).sum()))


def feature_spectrum(batches: Iterable[Float[np.ndarray, "n d"]]) -> FeatureSpectrum:
    """Return the spectrum of the correlation matrix of features, read batch by batch.

    Every column is standardised with the population deviation. Sums, sums of squares and products are kept in float64
    around the mean of the first batch, so memory is that of a d x d matrix.

    Args:
        batches: image features, for example projected and of unit norm; say which, a rotation changes the result.

    Raises:
        CallError: for as many columns as samples or more, where sigma_min is zero whatever the model; for values that
            are not finite; if no column varies.

    Example:
        >>> white = np.random.default_rng(0).normal(size=(5000, 4))
        >>> spectrum = feature_spectrum([white[:1000], white[1000:]])
        >>> round(float(spectrum.eigenvalues.sum()), 6), spectrum.effective_rank > 3.99
        (4.0, True)
    """
    count, centre, total, products = 0, None, None, None
    for batch in batches:
        values = np.asarray(batch, dtype=np.float64)
        if centre is None:
            centre = values.mean(axis=0)
            total, products = np.zeros_like(centre), np.zeros((len(centre), len(centre)))
        shifted = values - centre
        count += len(values)
        total += shifted.sum(axis=0)
        products += shifted.T @ shifted
    if centre is None or total is None or products is None:
        raise CallError("there are no features; expected those of more samples than columns.")
    if not np.isfinite(products).all():
        raise CallError("features hold infinite or undefined values; expected finite ones. Check the model.")
    width = len(centre)
    if count <= width:
        raise CallError(
            f"{count} samples of {width} features have no spectrum: with N <= d the smallest singular value is zero "
            f"whatever the model is. Expected more than {width} samples, better ten times as many."
        )
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    deviation = np.sqrt(np.diag(covariance).clip(min=0))
    varies = deviation > 1e-12 * max(1.0, float(np.abs(centre).max()))
    if not varies.any():
        raise CallError("all features are the same for every sample; expected some that vary. Check the model.")
    correlation = covariance[np.ix_(varies, varies)] / np.outer(deviation[varies], deviation[varies])
    eigenvalues = np.linalg.eigvalsh(correlation)[::-1]
    return FeatureSpectrum(eigenvalues, count, int((~varies).sum()))


@dataclasses.dataclass(frozen=True)
class ProjectionSpectrum:
    """How orthonormal the last linear map of an image tower is, and how it aligns with that of the text tower.

    Attributes:
        orthogonality_residual: `||W_v^T W_v - I||_F`, zero for orthonormal columns.
        sigma_min: smallest singular value of W_v.
        sigma_max: largest singular value of W_v.
        cross_norm: `||W_v W_t^T||_F`.
    """

    orthogonality_residual: float
    sigma_min: float
    sigma_max: float
    cross_norm: float


def projection_spectrum(
    visual: Float[np.ndarray, "width d"], text: Float[np.ndarray, "text_width d"]
) -> ProjectionSpectrum:
    """Return the spectrum of the visual projection, and the norm of its product with the text projection.

    The Gram matrix is taken over the smaller side: the maps of ResNets have more columns than rows, and only rows can
    be orthonormal then.

    Example:
        >>> projection_spectrum(np.eye(3, 2), np.eye(2)).orthogonality_residual
        0.0
    """
    visual, text = np.asarray(visual, dtype=np.float64), np.asarray(text, dtype=np.float64)
    if visual.ndim != 2 or text.ndim != 2 or visual.shape[1] != text.shape[1]:
        raise CallError(
            f"projections of shapes {visual.shape} and {text.shape} do not lead into one space; expected matrices with "
            "the embedding dimension last."
        )
    values = np.linalg.svd(visual, compute_uv=False)
    residual = float(np.sqrt(((values**2 - 1) ** 2).sum()))
    return ProjectionSpectrum(residual, float(values[-1]), float(values[0]), float(np.linalg.norm(visual @ text.T)))
