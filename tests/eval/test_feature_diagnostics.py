import dataclasses
import json

import numpy as np
import pytest
import torch

from vlm_data import load_benchmark
from vlm_data.errors import CallError, VlmDataError
from vlm_eval.diagnostics.features import diagnose_features, kept_or_diagnosed
from vlm_eval.diagnostics.spectrum_file import RAW, read_diagnostics, write_diagnostics
from vlm_models import load_encoder
from vlm_models.features import extract_features
from vlm_models.interface import DualEncoder


@pytest.fixture(scope="module")
def images():
    return load_benchmark("digits", limit=100).test


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("tiny")


@pytest.fixture(scope="module")
def found(encoder, images):
    return diagnose_features(encoder, images, "tiny")


def test_the_numbers_are_those_of_the_correlation_matrix(encoder, images, found):
    features = extract_features(encoder, images)["feature"].astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.corrcoef(features.T))[::-1]
    assert found.feature_sigma_max == pytest.approx(values[0])
    np.testing.assert_allclose(found.feature_spectrum_tail, values[-20:], atol=1e-12)
    assert found.inv_tail_mean == pytest.approx(1 / values[-20:].mean())
    assert found.effective_rank == pytest.approx(np.exp(-(values / 64 * np.log(values.clip(1e-300) / 64)).sum()))
    assert (found.n, found.d, found.constant_columns, found.split) == (100, 64, 0, "test")
    visual, text = (part.detach().double().numpy() for part in encoder.projections())
    residual = np.linalg.norm(visual.T @ visual - np.eye(64))
    assert found.proj_ortho_residual == pytest.approx(residual)
    assert found.proj_ortho_residual_per_sqrt_d == pytest.approx(residual / 8)
    assert found.cross_fnorm == pytest.approx(np.linalg.norm(visual @ text.T))


def test_raw_features_are_something_else(encoder, images, found):
    raw = diagnose_features(encoder, images, "tiny", raw=True)
    assert raw.features == RAW and raw.images != found.images
    assert raw.feature_sigma_max != pytest.approx(found.feature_sigma_max)
    # the layer norm before the projection leaves one of the 64 directions empty
    assert raw.inv_sigma_min is None and raw.condition is None and "inv_sigma_min" in raw.undefined[0]


def test_too_few_images_are_refused(encoder):
    with pytest.raises(CallError, match="64 samples of 64 features have no spectrum: with N <= d"):
        diagnose_features(encoder, load_benchmark("digits", limit=64).test, "tiny")


def test_an_encoder_without_linear_maps_has_no_projection(images):
    encoder = load_encoder("tiny")

    class Unprojected(type(encoder)):
        projections = DualEncoder.projections

    encoder.__class__ = Unprojected
    found = diagnose_features(encoder, images, "tiny")
    assert found.proj_sigma_min is None and any("projections" in reason for reason in found.undefined)


def test_files_are_whole_and_read_back(tmp_path, found):
    path = tmp_path / "spectrum.json"
    assert read_diagnostics(path) == []
    write_diagnostics(path, [found])
    assert read_diagnostics(path) == [found]
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "format": 2}))
    with pytest.raises(VlmDataError, match=r"format 2\. Expected what `vlm diagnose` wrote"):
        read_diagnostics(path)
    del document["models"][0]["n"]
    path.write_text(json.dumps(document))
    with pytest.raises(VlmDataError, match="cannot read"):
        read_diagnostics(path)


def test_only_what_belongs_to_the_same_weights_and_images_is_kept(encoder, images, found):
    mark = dataclasses.replace(found, effective_rank=-1.0)
    assert kept_or_diagnosed(encoder, images, "again", [mark]) == dataclasses.replace(mark, model="again")
    assert kept_or_diagnosed(encoder, images, "again", [mark], raw=True).features == RAW
    other = load_benchmark("digits", limit=90).test
    assert kept_or_diagnosed(encoder, other, "again", [mark]).n == 90
    changed = load_encoder("tiny")
    with torch.no_grad():
        changed.projections()[1].mul_(2)  # of the text tower, on which the cross norm depends
    assert kept_or_diagnosed(changed, images, "again", [mark]).cross_fnorm == pytest.approx(2 * found.cross_fnorm)
