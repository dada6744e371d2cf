"""The geometry of a model's image features on some images."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_data.progress import Progress, silent
from vlm_eval.diagnostics.spectrum_file import RAW, UNIT, FeatureDiagnostics
from vlm_eval.metrics.spectrum import feature_spectrum, projection_spectrum
from vlm_models.checkpoint import weights_hash
from vlm_models.features import extract_features
from vlm_models.inference import EVALUATION_BATCH
from vlm_models.interface import DualEncoder

_SINGULAR = (
    "condition and inv_sigma_min: a column of the features is a combination of others, up to their rounding; so it is, "
    "whatever training does, where a layer norm is followed by a projection onto as many columns"
)
_NO_MAPS = "projections: the towers do not end in linear maps"
_BLOCK = 10_000
"""Rows that are widened to float64 at a time."""


def diagnose_features(
    encoder: DualEncoder,
    dataset: ImageDataset,
    model: str,
    *,
    raw: bool = False,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = silent,
) -> FeatureDiagnostics:
    """Return the diagnostics of an encoder on some images.

    Args:
        encoder: on the device where it shall run.
        dataset: the ID evaluation images.
        model: how to call it.
        raw: take features as they are, instead of scaling each to unit length.
        batch_size: of each process.
        progress: told about batches.

    Raises:
        CallError: for as many columns as images or more: the smallest singular value is zero then, whatever the model.

    Example:
        >>> from vlm_data import load_benchmark
        >>> from vlm_models import load_encoder
        >>> found = diagnose_features(load_encoder("tiny"), load_benchmark("digits", limit=100).test, "tiny")
        >>> found.n, found.d, 0 < found.feature_sigma_min < 1
        (100, 64, True)
    """
    features = extract_features(encoder, dataset, batch_size=batch_size, progress=progress)["feature"]
    spectrum = feature_spectrum(_widened(features, raw))
    columns = len(spectrum.eigenvalues)
    # A rounding of features by eps moves a singular value of the standardised matrix by about eps sqrt(d), and sigma
    # is its square.
    is_singular = spectrum.sigma_min <= columns * float(np.finfo(features.dtype).eps) ** 2
    projections = _projection_facts(encoder)
    reasons = ([_SINGULAR] if is_singular else []) + ([] if projections else [_NO_MAPS])
    return FeatureDiagnostics(
        model=model,
        features=RAW if raw else UNIT,
        data=dataset.name,
        split=dataset.split,
        n=spectrum.samples,
        d=columns,
        constant_columns=spectrum.constant_columns,
        hashes=_hashes(encoder, dataset),
        feature_sigma_min=spectrum.sigma_min,
        feature_sigma_max=spectrum.sigma_max,
        condition=None if is_singular else spectrum.condition,
        effective_rank=spectrum.effective_rank,
        inv_sigma_min=None if is_singular else spectrum.inverse_sigma_min,
        inv_tail_mean=None if columns <= len(spectrum.tail) else 1 / float(spectrum.tail.mean()),
        feature_spectrum_tail=tuple(spectrum.tail.tolist()),
        undefined=tuple(reasons),
        **projections,
    )


def _projection_facts(encoder: DualEncoder) -> dict[str, float]:
    """Return what there is to say about the last linear maps of the towers; nothing if they do not end in such."""
    try:
        visual, text = (part.detach().double().cpu().numpy() for part in encoder.projections())
    except CallError:
        return {}
    found = projection_spectrum(visual, text)
    return {
        "proj_ortho_residual": found.orthogonality_residual,
        "proj_ortho_residual_per_sqrt_d": found.orthogonality_residual / math.sqrt(visual.shape[1]),
        "proj_sigma_min": found.sigma_min,
        "proj_sigma_max": found.sigma_max,
        "cross_fnorm": found.cross_norm,
    }


def kept_or_diagnosed(
    encoder: DualEncoder, dataset: ImageDataset, model: str, known: Sequence[FeatureDiagnostics], **options: Any
) -> FeatureDiagnostics:
    """Return what is known of the same weights, images and kind of features, or compute it (`diagnose_features`)."""
    kind, hashes = RAW if options.get("raw") else UNIT, _hashes(encoder, dataset)
    same = [found for found in known if found.hashes == hashes and found.features == kind]
    return dataclasses.replace(same[0], model=model) if same else diagnose_features(encoder, dataset, model, **options)


def _hashes(encoder: DualEncoder, dataset: ImageDataset) -> dict[str, str]:
    weights = weights_hash(encoder.state_dict())  # of both towers: the cross norm depends on both
    return {"images": dataset.fingerprint, "preprocessing": encoder.preprocess.hash, "weights": weights}


def _widened(features: np.ndarray, raw: bool) -> Iterator[Float64[np.ndarray, "n d"]]:
    for first in range(0, len(features), _BLOCK):
        block = features[first : first + _BLOCK].astype(np.float64)
        if raw:
            yield block
        else:
            length = np.linalg.norm(block, axis=1, keepdims=True)
            yield np.divide(block, length, out=np.zeros_like(block), where=length > 0)
