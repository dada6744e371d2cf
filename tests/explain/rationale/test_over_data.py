import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.benchmark import EvaluationSet
from vlm_data.dataset import FileDataset
from vlm_data.errors import CallError
from vlm_data.evidence.boxes import Boxes
from vlm_data.evidence_batches import evaluation_masks
from vlm_data.tables import Rationales
from vlm_explain.rationale import Perturbation, Rule, Subject, judge, rationales_of, rationales_of_all
from vlm_explain.rationale.perturbation import perturbation_curves
from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead
from vlm_models.zero_shot import zero_shot_classifier


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=21)


@pytest.fixture(scope="module")
def zero_shot(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


@pytest.fixture(scope="module")
def other(zero_shot):
    """A classifier with the same towers and another head."""
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    return Classifier(zero_shot.encoder, LinearHead(weight), LINEAR, zero_shot.class_names, zero_shot.templates)


@pytest.fixture(scope="module")
def clean(digits):
    return next(digits.evaluation_sets())


class Told:
    """What progress was told."""

    def __init__(self):
        self.events = []

    def __call__(self, *event):
        self.events.append(event)


def assert_same(found, expected, atol=0.0):
    assert found.ids == expected.ids and found.status == expected.status
    assert np.array_equal(found.predicted, expected.predicted)
    assert found.measures.keys() == expected.measures.keys()
    for name, values in expected.measures.items():
        np.testing.assert_allclose(found.measures[name], values, rtol=0, atol=atol, err_msg=name)


def test_it_is_the_judgement_of_the_relevance_maps(zero_shot, digits, clean):
    images = torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)
    options = RelevanceOptions(layers="all", target="prediction")
    explained = explain_batch(zero_shot, images, None, options)
    masks, known = evaluation_masks(digits.test, np.arange(21), zero_shot.encoder.preprocess)
    expected = judge(explained.maps, masks, "rank>=0.4", ids=digits.test.ids, predicted=explained.predicted.numpy())
    found = rationales_of(zero_shot, clean, options, Rule("rank", 0.4))
    assert known.all()
    assert_same(found, expected, atol=1e-4)
    assert np.array_equal(found.rational, expected.rational)
    assert np.array_equal(found.labels, digits.test.labels)


@pytest.mark.parametrize("batch_size", [1, 4, 20, 100])
def test_the_batch_size_does_not_matter(zero_shot, clean, batch_size):
    found = rationales_of(zero_shot, clean, perturbation=Perturbation(steps=3), batch_size=batch_size)
    assert_same(found, rationales_of(zero_shot, clean, perturbation=Perturbation(steps=3)), atol=1e-4)


def test_insertion_and_deletion_are_those_of_the_class_that_is_explained(zero_shot, digits, clean):
    images = torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)
    options = RelevanceOptions(target="class:seven")
    raw = explain_batch(zero_shot, images, None, options).raw
    curves = perturbation_curves(zero_shot, images, raw, torch.full((21,), 7), Perturbation(steps=4))
    found = rationales_of(zero_shot, clean, options, perturbation=Perturbation(steps=4)).measures
    np.testing.assert_allclose(found["insertion"], curves.insertion_area, atol=1e-4)
    np.testing.assert_allclose(found["deletion"], curves.deletion_area, atol=1e-4)


def test_several_models_share_one_pass(zero_shot, other, clean):
    told = Told()
    both = list(rationales_of_all([Subject(zero_shot), Subject(other)], [clean], batch_size=7, progress=told))
    assert [event[1:] for event in told.events] == [(1, 3), (2, 3), (3, 3)]
    for model, table in zip((zero_shot, other), both, strict=True):
        alone = rationales_of(model, clean, batch_size=7)
        assert_same(table, alone)
        assert table.meta == alone.meta
    assert not np.array_equal(both[0].predicted, both[1].predicted)


def test_models_that_want_other_pixels_get_them(digits, clean, zero_shot):
    squashed = load_encoder("tiny")
    squashed.preprocess = dataclasses.replace(squashed.preprocess, mean=(0.1, 0.2, 0.3))
    second = zero_shot_classifier(squashed, digits.class_names, digits.templates)
    told = Told()
    tables = list(rationales_of_all([Subject(second), Subject(zero_shot)], [clean], progress=told))
    assert len(told.events) == 2
    for model, table in zip((second, zero_shot), tables, strict=True):
        assert_same(table, rationales_of(model, clean))


def test_it_says_what_it_is_about(zero_shot, clean):
    options = RelevanceOptions(layers="all", scalar="cosine")
    table = rationales_of(zero_shot, clean, options, facts={"model": "zero-shot", "alpha": "0.0"})
    for name, value in {
        "model": "zero-shot",
        "alpha": "0.0",
        "data": "digits",
        "split": "test",
        "role": "id",
        "rule": "mass>=0.5",
        "relevance_method": "attention",
        "relevance_layers": "all",
        "relevance_target": "label",
        "relevance_scalar": "cosine",
        "evidence_level": "128",
    }.items():
        assert table.meta[name] == value
    assert {"weights_hash", "data_hash", "preprocess_hash", "evidence_hash"} <= table.meta.keys()


class TestResuming:
    def sets(self, digits):
        return [found for found in digits.evaluation_sets() if found.data in ("digits", "digits/invert")]

    def test_what_is_on_disk_is_not_computed_again(self, zero_shot, other, digits, tmp_path):
        subjects = [
            Subject(zero_shot, facts={"alpha": "0.0"}, folder=tmp_path),
            Subject(other, facts={"alpha": "1.0"}, folder=tmp_path),
        ]
        first = rationales_of_all(subjects, self.sets(digits))
        expected = [next(first), next(first)]
        first.close()  # killed between two data sets
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"digits.test.alpha-{alpha}.parquet" for alpha in ("0.00", "1.00")
        ]
        told = Told()
        tables = list(rationales_of_all(subjects, self.sets(digits), progress=told))
        assert {event[0] for event in told.events} == {"reading digits/invert (test)"}
        for found, table in zip(tables, expected, strict=False):
            assert_same(found, table)
        told = Told()
        (tmp_path / "digits.test.alpha-1.00.parquet").write_bytes(b"PAR1 half")
        again = list(rationales_of_all(subjects, self.sets(digits), progress=told))
        assert {event[0] for event in told.events} == {"reading digits (test)"}
        assert_same(again[1], tables[1])

    def test_a_run_that_was_interrupted_ends_with_the_same_bytes(self, zero_shot, digits, tmp_path):
        for name in ("whole", "parts"):
            subject = Subject(zero_shot, folder=tmp_path / name)
            if name == "parts":
                next(rationales_of_all([subject], self.sets(digits)))
            list(rationales_of_all([subject], self.sets(digits)))
        names = sorted(path.name for path in (tmp_path / "whole").iterdir())
        assert names == ["digits-invert.test.parquet", "digits.test.parquet"]
        for name in names:
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()

    def test_another_rule_is_applied_to_what_is_stored(self, zero_shot, clean, tmp_path):
        rationales_of(zero_shot, clean, out=tmp_path)
        told = Told()
        rule = Rule("pointing", 0.9)
        found = rationales_of(zero_shot, clean, rule=rule, out=tmp_path, progress=told)
        assert told.events == []
        fresh = rationales_of(zero_shot, clean, rule=rule)
        assert np.array_equal(found.rational, fresh.rational) and found.meta == fresh.meta
        stored = Rationales.load(tmp_path / "digits.test.parquet")
        assert stored.meta["rule"] == "pointing>=0.9" and np.array_equal(stored.rational, found.rational)

    def test_anything_else_that_changes_is_computed(self, zero_shot, other, digits, clean, tmp_path):
        test = digits.test
        bare = RelevanceOptions()
        rationales_of(zero_shot, clean, bare, out=tmp_path)
        moved = dataclasses.replace(test, masks=np.roll(test.masks, 3, axis=2))
        for model, data, options, more in (
            (other, test, bare, {}),
            (zero_shot, moved, bare, {}),
            (zero_shot, test.select(range(20)), bare, {}),
            (zero_shot, test, RelevanceOptions(layers="all"), {}),
            (zero_shot, test, bare, {"perturbation": Perturbation(steps=2)}),
            (zero_shot, test, bare, {"level": 255}),
        ):
            told = Told()
            found = rationales_of(
                model, EvaluationSet("digits", "id", data), options, out=tmp_path, progress=told, **more
            )
            assert told.events
            assert_same(found, rationales_of(model, EvaluationSet("digits", "id", data), options, **more))


class Patchy:
    """The data set of another, without the evidence of its even images, and with empty evidence of the first odd."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __len__(self):
        return len(self._dataset)

    def evidence(self, index):
        mask = self._dataset.evidence(index)
        return None if index % 2 == 0 else np.zeros_like(mask) if index == 1 else mask


def test_images_without_evidence_are_flagged(zero_shot, digits, clean):
    table = rationales_of(zero_shot, dataclasses.replace(clean, dataset=Patchy(digits.test)))
    assert table.status[:4] == ("no-evidence", "empty-evidence", "no-evidence", "ok")
    assert table.known.sum() == 10 and not table.rational[~table.known].any()
    assert np.array_equal(table.predicted, rationales_of(zero_shot, clean).predicted)


def test_files_that_are_not_square_go_through_the_crop_with_their_evidence(zero_shot, tmp_path):
    """Of 64 x 32 pixels the middle is seen: half of one box, nothing of the other, all of the third."""
    boxes = {"half.png": [0, 0, 31, 31], "gone.png": [0, 0, 15, 31], "all.png": [16, 0, 47, 31]}
    for name in (*boxes, "none.png"):
        Image.fromarray(np.full((32, 64, 3), 90, dtype=np.uint8)).save(tmp_path / name)
    names = (*boxes, "none.png")
    source = Boxes({name: np.array([box]) for name, box in boxes.items()})
    paths = tuple(tmp_path / name for name in names)
    data = FileDataset("files", "test", names, np.array([1, 2, 3, 4]), paths, evidence_source=source)
    table = rationales_of(zero_shot, EvaluationSet("files", "id", data), batch_size=3)
    assert table.measures["area"][:3].tolist() == [0.5, 0.0, 1.0] and np.isnan(table.measures["area"][3])
    assert table.status[1] == "empty-evidence" and table.status[3] == "no-evidence"
    assert table.measures["mass"][1] == 0 and table.measures["mass"][2] == pytest.approx(1)


def test_classes_of_the_data_set_are_those_that_compete(zero_shot, digits, clean):
    """Of ten classes the data set knows three, in an order of its own."""
    kept = np.flatnonzero(np.isin(digits.test.labels, [7, 1, 4]))
    data = digits.test.select(kept)
    renumbered = dataclasses.replace(data, labels=np.array([[7, 1, 4].index(label) for label in data.labels]))
    own = EvaluationSet("digits/few", "shift", renumbered, "few", "natural", classes=((7,), (1,), (4,)))
    table = rationales_of(zero_shot, own)
    with torch.inference_mode():
        logits = zero_shot(torch.from_numpy(data.images).permute(0, 3, 1, 2))
    assert np.array_equal(table.predicted, logits[:, [7, 1, 4]].argmax(1).numpy())
    whole = rationales_of(zero_shot, EvaluationSet("digits", "id", data))
    np.testing.assert_allclose(table.measures["mass"], whole.measures["mass"], atol=1e-4)
    assert table.meta["class_names_hash"] == whole.meta["class_names_hash"]
    with pytest.raises(CallError, match="made of several classes of the model"):
        rationales_of(zero_shot, dataclasses.replace(own, classes=((7,), (1, 2), (4,))))


def test_data_without_evidence_is_refused(zero_shot, digits):
    bare = dataclasses.replace(digits.test, masks=None)
    with pytest.raises(CallError, match=r"no image of digits \(test\) has evidence.*`vlm data show`"):
        rationales_of(zero_shot, EvaluationSet("digits", "id", bare))


def test_images_without_label_are_refused_where_labels_are_explained(zero_shot, digits):
    labels = digits.test.labels.copy()
    labels[5] = -1
    unlabelled = EvaluationSet("digits", "id", dataclasses.replace(digits.test, labels=labels))
    for target in ("label", "contrast"):
        with pytest.raises(CallError, match=r"1 of 21 images of digits .* have no label"):
            rationales_of(zero_shot, unlabelled, RelevanceOptions(target=target))
    table = rationales_of(zero_shot, unlabelled, RelevanceOptions(target="prediction"))
    assert table.labels[5] == -1 and not table.correct[5]


def test_towers_without_a_head_are_refused(clean):
    with pytest.raises(CallError, match="tiny has no head"):
        rationales_of(load_encoder("tiny"), clean)
