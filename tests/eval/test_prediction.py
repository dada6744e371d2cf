import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_eval import predict
from vlm_eval.prediction import mixture_hash
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=50)


@pytest.fixture(scope="module")
def model(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


def test_rows_are_those_of_the_model_in_the_order_of_the_data(model, digits):
    table = predict(model, digits.test)
    with torch.inference_mode():
        expected = model(torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(table.logits, expected, rtol=0, atol=1e-4)
    assert table.ids == digits.test.ids
    assert np.array_equal(table.labels, digits.test.labels)


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 51])
def test_the_batch_size_does_not_matter(model, digits, batch_size):
    table, whole = predict(model, digits.test, batch_size=batch_size), predict(model, digits.test)
    np.testing.assert_allclose(table.logits, whole.logits, rtol=0, atol=1e-4)
    assert np.array_equal(table.predicted, whole.predicted)


def test_twice_is_the_same_bits(model, digits, tmp_path):
    paths = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for path in paths:
        predict(model, digits.test).save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_stays(model, digits, training):
    model.train(training)
    predict(model, digits.test)
    assert all(module.training is training for module in model.modules())
    model.eval()


def test_images_without_label_are_classified_and_stay_without(model, digits):
    unknown = dataclasses.replace(digits.test, labels=np.full(50, -1))
    table = predict(model, unknown)
    assert (table.labels == -1).all()
    assert np.array_equal(table.logits, predict(model, digits.test).logits)


def test_it_says_what_it_is_about(model, digits):
    meta = predict(model, digits.shifts[0].datasets[0]).meta
    assert (meta["model"], meta["data"], meta["split"]) == ("tiny", "digits/invert", "test")
    assert meta["class_names_hash"] == digits.class_names_hash
    assert meta["templates_hash"] == digits.templates_hash
    assert predict(model, digits.test, meta={"own": "words"}).meta == {"own": "words"}


def test_progress_is_told(model, digits):
    seen = []
    predict(model, digits.test, batch_size=20, progress=lambda *event: seen.append(event))
    assert seen == [("reading digits (test)", done, 3) for done in (1, 2, 3)]


def test_no_batch_at_all_is_refused(model, digits):
    with pytest.raises(CallError, match="--batch-size is -1"):
        predict(model, digits.test, batch_size=-1)


def test_towers_without_a_head_are_refused_with_what_makes_a_classifier_of_them(digits):
    with pytest.raises(CallError, match=r"tiny has no head.*zero_shot_classifier\(model, benchmark.class_names"):
        predict(load_encoder("tiny"), digits.test)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_hash_of_a_mixture_tells_its_ends_and_its_alpha(alpha, beta):
    assert mixture_hash("a", "b", 0.0) == "a" and mixture_hash("a", "b", 1.0) == "b"
    assert (mixture_hash("a", "b", alpha) == mixture_hash("a", "b", beta)) is (alpha == beta)
    if 0 < alpha < 1:
        assert mixture_hash("a", "b", alpha) != mixture_hash("b", "a", alpha)
