"""Soups of small models: what is chosen, that it is chosen on validation, and what does not fit."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from vlm_data import load_benchmark
from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_eval import predict
from vlm_eval.merging.soup import GREEDY, LEARNED, UNIFORM, SoupEvaluation, labelled_accuracy
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier
from vlm_models.errors import CheckpointError
from vlm_models.weight_space import uniform_soup
from vlm_models.zero_shot import zero_shot_classifier, zero_shot_head

SPECS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=60)


@pytest.fixture(scope="module")
def start(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


def moved(start, seed, size, *, contrastive=False):
    """A copy whose weights moved at random, with a trained head or the zero-shot head of its text tower."""
    generator = torch.Generator().manual_seed(seed)
    found = copy.deepcopy(start).eval()
    found.encoder.spec = SPECS[seed]
    with torch.no_grad():
        for parameter in found.encoder.parameters() if contrastive else found.parameters():
            parameter += size * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
    found.head_kind = start.head_kind if contrastive else LINEAR
    if contrastive:
        found.head = zero_shot_head(found.encoder, found.class_names, found.templates)
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["trained heads", "zero-shot heads"])
def models(request, start):
    sizes = (0.2, 0.25, 1.5, 0.2)  # the third is broken
    found = [moved(start, seed, size, contrastive=request.param) for seed, size in enumerate(sizes)]
    return dict(zip(SPECS, found, strict=True))


def make(models, digits, out, method=GREEDY, specs=SPECS, **options):
    return SoupEvaluation(specs, lambda spec: copy.deepcopy(models[spec]), digits, out, **options).make(method)


def mean(models, digits, specs):
    state = uniform_soup(models[spec].state_dict() for spec in specs)
    found = copy.deepcopy(models[specs[0]])
    found.load_state_dict(state)
    if found.head_kind != LINEAR:
        found.head = zero_shot_head(found.encoder, digits.class_names, digits.templates)
    return found


def scores(rows, model, split="test"):
    return {r["data"]: r["metrics"]["accuracy"] for r in rows if (r["model"], r["split"]) == (model, split)}


@pytest.fixture(scope="module")
def greedy(models, digits, tmp_path_factory):
    return make(models, digits, tmp_path_factory.mktemp("out"))


def test_the_greedy_soup_leaves_the_broken_model_out_and_is_no_worse_than_the_best(models, digits, greedy):
    assert greedy.held_out == {spec: predict(model, digits.val).accuracy for spec, model in models.items()}
    assert greedy.best == max(SPECS, key=lambda spec: (greedy.held_out[spec], SPECS.index(spec)))
    assert greedy.ingredients[0] == greedy.best and "c" not in greedy.ingredients
    assert [spec for spec, _ in greedy.tried][-1] == "c"  # the worst is tried last
    assert predict(greedy.model, digits.val).accuracy == max(
        [greedy.held_out[greedy.best], *dict(greedy.tried).values()]
    )


def test_candidates_are_the_means_of_what_was_taken_so_far(models, digits, greedy):
    taken = [greedy.best]
    best = greedy.held_out[greedy.best]
    for spec, accuracy in greedy.tried:
        assert accuracy == predict(mean(models, digits, [*taken, spec]), digits.val).accuracy
        if accuracy > best:
            taken, best = [*taken, spec], accuracy
    assert greedy.ingredients == tuple(taken)


def test_the_soups_are_the_means_and_are_evaluated_beside_the_best_model(models, digits, greedy):
    uniform = mean(models, digits, SPECS)
    for model, name in ((uniform, "soup-uniform"), (greedy.model, "soup-greedy"), (models[greedy.best], greedy.best)):
        assert scores(greedy.rows, name)["digits"] == predict(model, digits.test).accuracy
        assert scores(greedy.rows, name, "val") == {"digits": predict(model, digits.val).accuracy}
    expected = mean(models, digits, greedy.ingredients)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(greedy.model.state_dict()[name], tensor, rtol=1e-5, atol=1e-4)
    assert {row["model"] for row in greedy.rows} == {"soup-uniform", "soup-greedy", greedy.best}
    assert len({len(scores(greedy.rows, name)) for name in ("soup-uniform", "soup-greedy", greedy.best)}) == 1


def test_a_uniform_soup_takes_all(models, digits, tmp_path):
    soup = make(models, digits, tmp_path, UNIFORM)
    assert soup.ingredients == SPECS and soup.tried == ()
    assert {row["model"] for row in soup.rows} == {"soup-uniform", soup.best}
    assert torch.equal(soup.model.head.weight, mean(models, digits, SPECS).head.weight)
    assert soup.model.head_kind == models["a"].head_kind


def test_test_images_have_no_say(models, digits, tmp_path, greedy):
    other = dataclasses.replace(digits, test=dataclasses.replace(digits.test, labels=(digits.test.labels + 1) % 10))
    again = make(models, other, tmp_path)
    assert (again.ingredients, again.tried, again.held_out) == (greedy.ingredients, greedy.tried, greedy.held_out)


def test_what_was_computed_is_kept(models, digits, tmp_path):
    read = []
    first = make(models, digits, tmp_path, progress=lambda stage, *_: read.append(stage))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    read.clear()
    again = make(models, digits, tmp_path, progress=lambda stage, *_: read.append(stage))
    assert again.rows == first.rows
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before
    assert set(read) == {"reading digits (val)"} and len(read) == len(SPECS) - 1  # the candidates


def test_one_trained_head_makes_the_head_of_the_soup_a_mean(start, digits, tmp_path):
    pair = {"a": moved(start, 0, 0.2, contrastive=True), "b": moved(start, 1, 0.2)}
    for specs in (("a", "b"), ("b", "a")):
        soup = make(pair, digits, tmp_path, UNIFORM, specs)
        expected = (pair["a"].head.weight + pair["b"].head.weight) / 2
        torch.testing.assert_close(soup.model.head.weight, expected)
        assert soup.model.head_kind == LINEAR


def unlabelled(dataset):
    return dataclasses.replace(dataset, labels=np.full(len(dataset), -1))


def test_without_labelled_validation_images_there_is_a_uniform_soup_only(start, digits, tmp_path):
    pair = {spec: moved(start, seed, 0.2) for seed, spec in enumerate("ab")}
    other = dataclasses.replace(digits, val=unlabelled(digits.val))
    with pytest.raises(VlmDataError, match="no labelled validation images"):
        make(pair, other, tmp_path, GREEDY, "ab")
    soup = make(pair, other, tmp_path, UNIFORM, "ab")
    assert soup.best is None and soup.held_out == {}
    assert {row["model"] for row in soup.rows} == {"soup-uniform"}


def test_unlabelled_samples_are_left_out():
    table = Predictions(("a", "b"), np.array([0, -1]), np.eye(2, dtype=np.float32))
    assert (labelled_accuracy(table), table.accuracy) == (1.0, 0.5)


class TestModelsThatDoNotFit:
    @pytest.fixture
    def pair(self, start):
        return {spec: moved(start, seed, 0.2) for seed, spec in enumerate("ab")}

    @pytest.mark.parametrize("specs", [(), ("a",), ("a", "a")])
    def test_fewer_than_two(self, pair, digits, tmp_path, specs):
        with pytest.raises(CallError, match="at least two different model specs"):
            make(pair, digits, tmp_path, specs=specs)

    def test_other_classes(self, pair, digits, tmp_path):
        pair["b"].class_names = pair["b"].class_names[::-1]
        with pytest.raises(CallError, match="a and b were made for different class names"):
            make(pair, digits, tmp_path, specs="ab")

    def test_other_preprocessing(self, pair, digits, tmp_path):
        pair["b"].encoder.preprocess = dataclasses.replace(pair["b"].encoder.preprocess, mean=(0.1, 0.2, 0.3))
        with pytest.raises(CallError, match="a and b want their images differently"):
            make(pair, digits, tmp_path, specs="ab")

    def test_other_architecture(self, pair, digits, tmp_path):
        encoder = pair["b"].encoder
        encoder.register_parameter("more", torch.nn.Parameter(torch.zeros(1)))
        pair["b"] = Classifier(encoder, pair["b"].head, LINEAR, digits.class_names, digits.templates)
        with pytest.raises(CheckpointError, match=r"a and b do not fit together: .* 1 unexpected: encoder\.more"):
            make(pair, digits, tmp_path, specs="ab")
        assert not any(tmp_path.glob("soup-*"))


class TestLearned:
    @pytest.fixture(scope="class", params=[False, True], ids=["one share", "a share per tensor"])
    @classmethod
    def per_tensor(cls, request):
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def soup(cls, per_tensor, models, digits, tmp_path_factory):
        evaluation = SoupEvaluation(
            SPECS, lambda spec: copy.deepcopy(models[spec]), digits, tmp_path_factory.mktemp("soup")
        )
        return evaluation.make(LEARNED, per_tensor=per_tensor)

    def test_the_broken_model_gets_the_smallest_share(self, soup, per_tensor):
        assert sum(soup.shares.values()) == pytest.approx(1, abs=1e-5) and set(soup.shares) == set(SPECS)
        if not per_tensor:
            assert min(soup.shares, key=soup.shares.__getitem__) == "c"
        assert soup.ingredients == SPECS and soup.tried == ()

    def test_it_is_one_plain_model_that_was_evaluated(self, soup, digits):
        rows = {(row["model"], row["data"], row["split"]): row["metrics"] for row in soup.rows}
        assert {model for model, _, _ in rows} == {"soup-uniform", "soup-learned", soup.best}
        table = predict(soup.model, digits.test)
        assert labelled_accuracy(table) == rows["soup-learned", "digits", "test"]["accuracy"]
        assert soup.model.head_kind == LINEAR  # its scale was learnt
        assert all(not tensor.requires_grad or tensor.is_leaf for tensor in soup.model.parameters())

    def test_it_fits_validation_better_than_the_uniform_soup(self, soup):
        nll = {row["model"]: row["metrics"]["nll"] for row in soup.rows if row["split"] == "val"}
        assert nll["soup-learned"] < nll["soup-uniform"]
        assert soup.scale != 1.0


def test_a_learned_soup_needs_labelled_validation_images(start, digits, tmp_path):
    pair = {spec: moved(start, seed, 0.2) for seed, spec in enumerate("ab")}
    other = dataclasses.replace(digits, val=unlabelled(digits.val))
    with pytest.raises(VlmDataError, match="a learned soup cannot be chosen: there are no labelled validation images"):
        make(pair, other, tmp_path, LEARNED, "ab")
