"""Corruptions of five severities: noise, contrast and blur. Images are (n, h, w, 3) in [0, 1]."""

import numpy as np
from jaxtyping import Float32

NOISE_SIGMA = (0.08, 0.14, 0.20, 0.28, 0.38)
CONTRAST_FACTOR = (0.60, 0.45, 0.30, 0.20, 0.12)
BLUR_SIGMA = (0.8, 1.3, 1.8, 2.3, 2.8)
"""Standard deviation in pixels."""

Images = Float32[np.ndarray, "n h w 3"]


def noise(images: Images, rng: np.random.Generator) -> list[Images]:
    """Add normal noise of five strengths and clamp; the noise field is the same for all severities.

    Example:
        >>> levels = noise(np.full((1, 8, 8, 3), 0.5, dtype=np.float32), np.random.default_rng(0))
        >>> bool(levels[0].std() < levels[4].std())
        True
    """
    field = rng.standard_normal(images.shape, dtype=np.float32)
    return [np.clip(images + np.float32(sigma) * field, 0, 1) for sigma in NOISE_SIGMA]


def contrast(images: Images) -> list[Images]:
    """Pull every pixel towards the mean of its image: (x - mean) c + mean.

    Example:
        >>> levels = contrast(np.eye(4, dtype=np.float32)[None, :, :, None].repeat(3, axis=3))
        >>> float(np.ptp(levels[0]).round(2))
        0.6
    """
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return [(images - mean) * np.float32(factor) + mean for factor in CONTRAST_FACTOR]


def blur(images: Images) -> list[Images]:
    """Blur with a Gaussian of five widths; the border pixel is repeated outwards.

    Example:
        >>> all(bool(np.allclose(level, 1)) for level in blur(np.ones((1, 8, 8, 3), dtype=np.float32)))
        True
    """
    return [gaussian_blur(images, sigma) for sigma in BLUR_SIGMA]


def gaussian_blur(images: Images, sigma: float) -> Images:
    """Convolve rows and columns with a sampled Gaussian cut off at three standard deviations."""
    radius = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return _convolve(images, (taps / taps.sum()).astype(np.float32))


def box_blur(images: Images) -> Images:
    """Average every pixel with its eight neighbours."""
    return _convolve(images, np.full(3, 1 / 3, dtype=np.float32))


def _convolve(images: Images, taps: Float32[np.ndarray, " k"]) -> Images:
    radius = len(taps) // 2
    for axis in (1, 2):
        widths = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
        padded, length = np.pad(images, widths, mode="edge"), images.shape[axis]
        shifted = (np.take(padded, range(k, k + length), axis) * tap for k, tap in enumerate(taps))
        images = sum(shifted, start=np.zeros_like(images))
    return images
