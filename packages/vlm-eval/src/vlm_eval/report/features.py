"""What a report says about the geometry of image features, from the file that `vlm diagnose` left in the run."""

from collections.abc import Sequence

from vlm_eval.diagnostics.spectrum_file import FeatureDiagnostics

COLUMNS = {
    "sigma min": "feature_sigma_min",
    "sigma max": "feature_sigma_max",
    "effective rank": "effective_rank",
    "1 / sigma min": "inv_sigma_min",
    "1 / mean of 20 smallest": "inv_tail_mean",
    "distance of the projection from orthonormal": "proj_ortho_residual",
    "cross norm of the projections": "cross_fnorm",
}


def features_as_text(spectra: Sequence[FeatureDiagnostics]) -> list[tuple[str, list[str]]]:
    """Return name and cells of each model, in the order of `COLUMNS`; a number that is undefined is a dash."""
    return [(one.model, [_number(getattr(one, field)) for field in COLUMNS.values()]) for one in spectra]


def features_note(spectra: Sequence[FeatureDiagnostics]) -> str:
    """Return what has to be known to read the numbers; empty if there are none."""
    if not spectra:
        return ""
    one = spectra[0]
    reasons = dict.fromkeys(f"Undefined for {model.model}: {text}." for model in spectra for text in model.undefined)
    return " ".join(
        [
            f"Correlation matrix of the {one.d} columns of the features of {one.n} ID images ({one.features}). "
            "These numbers rank runs and bound no error. Compare them only at the same images, their number and d.",
            *reasons,
        ]
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
