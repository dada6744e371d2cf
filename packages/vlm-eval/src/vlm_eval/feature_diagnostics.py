"""The geometry of a model's image features, kept in a small file from which runs are compared without a model."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError, VlmDataError
from vlm_data.files import write_text
from vlm_data.progress import Progress, silent
from vlm_eval.metrics.spectrum import feature_spectrum, projection_spectrum
from vlm_models.checkpoint import weights_hash
from vlm_models.features import extract_features
from vlm_models.inference import EVALUATION_BATCH
from vlm_models.interface import DualEncoder

UNIT, RAW = "unit length", "raw"
SPECTRA = {UNIT: "spectrum.json", RAW: "spectrum-raw.json"}
"""File of each kind of features, in a run directory or beside predictions."""
_FORMAT = 1
_SINGULAR = (
    "condition and inv_sigma_min: a column of the features is a combination of others, up to their rounding; so it is, "
    "whatever training does, where a layer norm is followed by a projection onto as many columns"
)
_BLOCK = 10_000
"""Rows that are widened to float64 at a time."""


@dataclasses.dataclass(frozen=True)
class FeatureDiagnostics:
    """Spectrum of the correlation matrix of image features, and of the projections that made them.

    A number is None where it is undefined; `undefined` says why. Compare only what has equal `images`.

    Attributes:
        model: `zero-shot` or `fine-tuned` of a run, or a model spec.
        features: `unit length` after projection, or `raw`.
        data, split: the ID images.
        n, d: images, and columns that vary.
        constant_columns: columns left out because they are the same for all images.
        hashes: what identifies images, preprocessing and weights.
        feature_sigma_min, feature_sigma_max: ends of the spectrum; all eigenvalues sum to d.
        condition: their ratio.
        effective_rank: `exp` of the entropy of the spectrum.
        inv_sigma_min: `1 / feature_sigma_min`: ranks runs, and bounds nothing.
        inv_tail_mean: 1 / mean of the 20 smallest singular values: ranks runs, too, and does not hang on a single
            direction; None for 20 columns or fewer, whose singular values sum to d.
        feature_spectrum_tail: the 20 smallest singular values, descending.
        proj_ortho_residual: `||W^T W - I||_F` of the visual projection (`W W^T` where it has more columns than rows).
        proj_ortho_residual_per_sqrt_d: the same over `sqrt(d)`.
        proj_sigma_min, proj_sigma_max: singular values of W.
        cross_fnorm: `||W_v W_t^T||_F`.
        undefined: reasons.
    """

    model: str
    features: str
    data: str
    split: str
    n: int
    d: int
    constant_columns: int
    hashes: Mapping[str, str]
    feature_sigma_min: float
    feature_sigma_max: float
    condition: float | None
    effective_rank: float
    inv_sigma_min: float | None
    inv_tail_mean: float | None
    feature_spectrum_tail: tuple[float, ...]
    proj_ortho_residual: float | None = None
    proj_ortho_residual_per_sqrt_d: float | None = None
    proj_sigma_min: float | None = None
    proj_sigma_max: float | None = None
    cross_fnorm: float | None = None
    undefined: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[object, ...]:
        """What must be equal for two spectra to compare: kind of features, images, their number, columns."""
        return self.features, self.data, self.split, self.n, self.d, self.hashes.get("images")


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
    reasons = [_SINGULAR] if is_singular else []
    try:
        visual, text = (part.detach().double().cpu().numpy() for part in encoder.projections())
        projections = projection_spectrum(visual, text)
    except CallError:
        projections = None
        reasons.append("projections: the towers do not end in linear maps")
    found = FeatureDiagnostics(
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
    )
    if projections is None:
        return found
    return dataclasses.replace(
        found,
        proj_ortho_residual=projections.orthogonality_residual,
        proj_ortho_residual_per_sqrt_d=projections.orthogonality_residual / np.sqrt(features.shape[1]).item(),
        proj_sigma_min=projections.sigma_min,
        proj_sigma_max=projections.sigma_max,
        cross_fnorm=projections.cross_norm,
    )


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


def write_diagnostics(path: str | os.PathLike[str], models: Sequence[FeatureDiagnostics]) -> None:
    """Write diagnostics as JSON, equal bytes for equal numbers."""
    document = {"format": _FORMAT, "models": [dataclasses.asdict(model) for model in models]}
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_diagnostics(path: str | os.PathLike[str]) -> list[FeatureDiagnostics]:
    """Read diagnostics back; none if there is no such file.

    Raises:
        VlmDataError: if the file is damaged, or of another version.
    """
    file = Path(path)
    if not file.exists():
        return []
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}")
        tuples = ("feature_spectrum_tail", "undefined")
        return [
            FeatureDiagnostics(**{**model, **{key: tuple(model[key]) for key in tuples}})
            for model in document["models"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VlmDataError(
            f"cannot read {file}: {error}. Expected what `vlm diagnose` wrote; remove the file and give that command "
            "again."
        ) from error
