"""The file that keeps the feature geometry of a model: read without the model, and without PyTorch."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlm_data.errors import VlmDataError
from vlm_data.files import write_text

UNIT, RAW = "unit length", "raw"
SPECTRA = {UNIT: "spectrum.json", RAW: "spectrum-raw.json"}
"""File of each kind of features, in a run directory or beside predictions."""
_FORMAT = 1


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
