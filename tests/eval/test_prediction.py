import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_data import load_benchmark
from vlm_data.benchmark import EvaluationSet
from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval import predict
from vlm_eval.prediction import file_stem, load_matching, mixture_hash, model_facts, set_facts
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead
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


class TestFacts:
    def test_every_change_of_a_model_changes_them(self, model, digits):
        def with_(**changes):
            return Classifier(
                changes.get("encoder", model.encoder),
                changes.get("head", model.head),
                changes.get("kind", model.head_kind),
                changes.get("names", model.class_names),
                changes.get("templates", model.templates),
            )

        other = load_encoder("tiny")
        with torch.no_grad():
            other.clip.logit_scale += 1e-3
        squashed = load_encoder("tiny")
        squashed.preprocess = dataclasses.replace(squashed.preprocess, resize="squash")
        variants = [
            model,
            with_(encoder=other),
            with_(encoder=squashed),
            with_(head=LinearHead(model.head.weight * 1.001), kind=LINEAR),
            with_(names=model.class_names[::-1]),
            with_(templates=model.templates[:1]),
        ]
        facts = {tuple(sorted(model_facts(variant).items())) for variant in variants}
        assert len(facts) == len(variants)
        assert model_facts(with_()) == model_facts(model)

    def test_every_change_of_a_data_set_changes_them(self, digits):
        test = digits.test
        variants = [
            EvaluationSet("digits", "id", test),
            EvaluationSet("digits/x", "shift", test, "x", "natural"),
            EvaluationSet("digits/x-2", "shift", test, "x", "corruption", 2),
            EvaluationSet("digits", "id", test.select(range(49))),
            EvaluationSet("digits", "id", test.select([1, 0, *range(2, 50)])),
            EvaluationSet("digits", "id", dataclasses.replace(test, labels=test.labels[::-1])),
            EvaluationSet("digits", "id", dataclasses.replace(test, images=test.images ^ 1)),
            EvaluationSet("digits", "id", dataclasses.replace(test, split="val")),
        ]
        facts = [set_facts(variant) for variant in variants]
        assert len({tuple(sorted(fact.items())) for fact in facts}) == len(variants)
        assert all(isinstance(value, str) for fact in facts for value in fact.values())

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_mixtures(self, alpha, beta):
        assert mixture_hash("a", "b", 0.0) == "a" and mixture_hash("a", "b", 1.0) == "b"
        assert (mixture_hash("a", "b", alpha) == mixture_hash("a", "b", beta)) is (alpha == beta)
        if 0 < alpha < 1:
            assert mixture_hash("a", "b", alpha) != mixture_hash("b", "a", alpha)


FACTS = {"model": "tiny", "data": "digits"}


class TestLoadMatching:
    @pytest.fixture
    def path(self, tmp_path):
        table = Predictions(("a", "b"), np.array([0, 1]), np.eye(2, dtype=np.float32), FACTS)
        table.save(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    def test_the_same_facts(self, path):
        found = load_matching(path, dict(reversed(FACTS.items())))
        assert found.ids == ("a", "b") and np.array_equal(found.logits, np.eye(2))

    @pytest.mark.parametrize(
        "facts", [{"model": "tiny"}, {"model": "tiny", "data": "other"}, {"model": "tiny", "data": "digits", "x": ""}]
    )
    def test_other_facts(self, path, facts):
        assert load_matching(path, facts) is None

    def test_nothing_there(self, path):
        assert load_matching(None, FACTS) is None
        assert load_matching(path.with_name("none"), FACTS) is None

    @pytest.mark.parametrize("keep", [0, 4, 100, -1])
    def test_a_damaged_file(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        assert load_matching(path, FACTS) is None

    def test_every_single_damaged_byte_is_noticed_or_harmless(self, path):
        """A flipped byte may not make a table that claims to be the right one and has other values."""
        whole, expected = path.read_bytes(), Predictions.load(path)
        for position in range(0, len(whole), 7):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
            found = load_matching(path, FACTS)
            assert found is None or np.array_equal(found.logits, expected.logits)


@pytest.mark.parametrize(
    ("data", "stem"),
    [
        ("digits", "digits"),
        ("digits/noise-3", "digits-noise-3"),
        ("folder:../my pets", "folder-..-my-pets"),
        ("csv:/abs/path.csv", "csv--abs-path.csv"),
        ("/leading/", "leading"),
        ("ünï", "ünï"),
    ],
)
def test_names_of_files_have_no_separators(data, stem):
    assert file_stem(data) == stem
