import dataclasses
import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.head_search import LabelledFeatures, Past, SearchData
from vlm_finetune.methods.linear_probe_adamw import initial_head, train_head
from vlm_finetune.methods.linear_probe_lbfgs import Config, search
from vlm_finetune.recipe import METHODS, TrainingSettings
from vlm_finetune.run import LOG
from vlm_finetune.run_log import read_log
from vlm_finetune.weight_decay_search import find_peak, weight_decay
from vlm_models import load_model
from vlm_models.classifier import LINEAR, LinearHead

GOLDEN = Path(__file__).parents[1] / "golden" / "linear_probe"
SEARCHES = [name for name in METHODS.names() if hasattr(METHODS.load(name), "search")]
FEW = {"linear-probe-lbfgs": {"c_count": 4}, "linear-probe-adamw": {}}


def train_few(train, name, *args, method=None, **tables):
    return train(name, *args, method={**FEW[name], **(method or {})}, **tables)


def candidates(events):
    return [event for event in events if event["event"] == "candidate"]


class Stopped(Exception):
    """Stands for whatever ends a process."""


def stop_at(number, what, done, total):
    if what == "heads fitted" and done == number:
        raise Stopped


@pytest.mark.parametrize("name", SEARCHES)
class TestEverySearch:
    """What holds for every file in `methods/` that fits heads to features."""

    def test_it_moves_the_head_and_nothing_else(self, name, digits, train):
        run, events = train_few(train, name)
        model, before = load_model(run.spec), zero_shot_model(run.recipe, digits)
        old = before.state_dict()
        moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, old[key])}
        assert moved == {"head.weight", "head.bias"} and model.head_kind == LINEAR
        assert {path.name for path in run.path.glob("*.safetensors")} == {"model.safetensors"}
        assert not (run.path / "resume").exists()
        assert events[0]["event"] == "start" and events[-1]["event"] == "epoch"
        kept = [event for event in candidates(events) if event["kept"]][-1]
        assert events[-1]["val_accuracy"] == kept["val_accuracy"]
        assert kept["val_accuracy"] == max(event["val_accuracy"] for event in candidates(events))

    def test_stopped_and_started_again_it_is_the_same_run(self, name, digits, train, tmp_path):
        whole, events = train_few(train, name, tmp_path / "whole")
        out = tmp_path / "stopped"
        for number in (1, 3):
            with pytest.raises(Stopped):
                train_few(train, name, out, progress=functools.partial(stop_at, number))
        found, again = train_few(train, name, out)
        model = "model.safetensors"
        assert (found.path / model).read_bytes() == (whole.path / model).read_bytes()
        assert candidates(again) == candidates(events)
        assert [event["step"] for event in again if event["event"] == "resume"] == [1, 3]

    def test_a_damaged_resume_point_is_named(self, name, digits, train, tmp_path):
        out = tmp_path / "run"
        with pytest.raises(Stopped):
            train_few(train, name, out, progress=functools.partial(stop_at, 2))
        (point,) = (out / "resume").glob("search*")
        point.write_bytes(point.read_bytes()[:50])
        with pytest.raises(VlmFinetuneError, match=r"cannot read .*search-phase-0.*Remove .* to begin again"):
            train_few(train, name, out)

    def test_unlabelled_training_images_are_refused(self, name, digits, train):
        labels = digits.train.labels.copy()
        labels[:5] = -1
        other = dataclasses.replace(digits, train=dataclasses.replace(digits.train, labels=labels))
        with pytest.raises(CallError, match=f"{name} needs class labels, but 5 of 96 training images"):
            train_few(train, name, benchmark=other)

    def test_two_classes(self, name, digits, train):
        def binary(split):
            return split.select([row for row, label in enumerate(split.labels) if label < 2])

        other = dataclasses.replace(
            digits, class_names=digits.class_names[:2], train=binary(digits.train), val=binary(digits.val)
        )
        run, events = train_few(train, name, benchmark=other, training={"lr": 0.1, "epochs": 10})
        assert events[-1]["val_accuracy"] > 0.9
        assert load_model(run.spec).head.weight.shape == (2, 64)

    def test_the_callback_sees_the_model_once(self, name, digits, train):
        seen = []

        def after_epoch(model, frozen):
            seen.append((model.head_kind, frozen))
            return {"shifts": {"a": 0.5}}, [{"event": "collapse", "data": "a"}]

        _, events = train_few(train, name, after_epoch=after_epoch)
        assert seen == [(LINEAR, True)]
        assert [event["event"] for event in events[-2:]] == ["epoch", "collapse"] and events[-2]["shifts"] == {"a": 0.5}


class TestLogisticRegression:
    def data(self, classes=3, n=90, seed=0):
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((classes, 5))
        splits = []
        for _ in range(2):
            labels = np.arange(n) % classes
            features = centres[labels] + 0.7 * rng.standard_normal((n, 5))
            splits.append(LabelledFeatures(torch.tensor(features, dtype=torch.float32), torch.tensor(labels)))
        return SearchData(*splits, tuple("abcdefgh"[:classes]))

    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("norm", [1.0, 7.0])
    def test_every_head_is_the_optimum_of_scikit_learn_on_features_of_that_length(self, classes, norm):
        data = self.data(classes)
        config = Config(c_count=4, tolerance=1e-6, max_iterations=2000, feature_norm=norm)
        rows = norm * functional.normalize(data.train.features.double()).numpy()
        found = list(search(config, TrainingSettings(), data, Past()))
        assert [one.facts["c"] for one in found] == pytest.approx([0.1, 1, 10, 100])
        for one in found:
            fresh = LogisticRegression(C=one.facts["c"], tol=1e-6, max_iter=2000)
            expected = fresh.fit(rows, data.train.labels.numpy()).predict_proba(rows)
            with torch.no_grad():
                probabilities = one.head(data.train.features).softmax(1).numpy()
            np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-4)
            assert one.facts["converged"]

    def test_without_a_length_it_is_the_mean_length_of_the_raw_features(self):
        data = self.data()
        norm = data.train.features.norm(dim=1).mean().item()
        given, default = (
            next(search(Config(feature_norm=value), TrainingSettings(), data, Past())).head.weight
            for value in (norm, 0.0)
        )
        assert torch.equal(given, default)

    def test_the_best_on_validation_is_kept_and_of_equal_ones_the_smallest_c(self, digits):
        data = self.data()
        found = list(search(Config(c_low=1e-4, c_count=20), TrainingSettings(), data, Past()))
        accuracies = [one.facts["val_accuracy"] for one in found]
        kept = [number for number, one in enumerate(found) if one.is_kept][-1]
        assert kept == accuracies.index(max(accuracies)) and len(set(accuracies)) < 20

    def test_too_few_iterations_are_told(self):
        found = list(search(Config(c_count=2, max_iterations=1), TrainingSettings(), self.data(), Past()))
        assert not any(one.facts["converged"] for one in found)

    def test_the_strengths_go_upwards(self):
        with pytest.raises(CallError, match="c_low is 10, more than c_high, 1; expected the smallest C"):
            Config(c_low=10, c_high=1)

    def test_a_class_without_images_cannot_be_learnt(self):
        data = self.data()
        other = dataclasses.replace(data, class_names=("a", "b", "c", "the fourth"))
        with pytest.raises(CallError, match="each with an image, but 'the fourth' have no training image"):
            next(search(Config(), TrainingSettings(), other, Past()))

    def test_without_labelled_validation_images_there_must_be_one_c(self):
        data = self.data()
        none = LabelledFeatures(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
        other = dataclasses.replace(data, val=none)
        with pytest.raises(CallError, match="100 values of C cannot be compared"):
            next(search(Config(), TrainingSettings(), other, Past()))
        (only,) = search(Config(c_low=2.0, c_count=1), TrainingSettings(), other, Past())
        assert only.is_kept and only.facts["c"] == pytest.approx(2.0)


class TestAdamW:
    def test_published_probe(self):
        golden = np.load(GOLDEN / "adamw_probe.npz")
        train = LabelledFeatures(torch.tensor(golden["train_features"]), torch.tensor(golden["train_labels"]))
        head = LinearHead(torch.tensor(golden["init_weight"]), torch.tensor(golden["init_bias"]))
        epochs = int(golden["epochs"])
        batches = torch.arange(len(train.labels)).split(int(golden["batch_size"]))
        settings = TrainingSettings(epochs=epochs, lr=float(golden["lr"]), warmup=0.0)
        train_head(head, train, [batches] * epochs, settings, float(golden["weight_decay"]))
        np.testing.assert_allclose(head.weight.detach(), golden["final_weight"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(head.bias.detach(), golden["final_bias"], rtol=0, atol=1e-4)
        with torch.no_grad():
            logits = head(torch.tensor(golden["test_features"])).numpy()
        np.testing.assert_allclose(logits, golden["test_logits"], rtol=0, atol=1e-3)
        labels = golden["test_labels"]
        hits = logits.argmax(1) == labels
        assert hits.mean() == golden["lp_acc1"]
        top = np.argsort(-logits, axis=1)[:, :5]
        assert (top == labels[:, None]).any(1).mean() == golden["lp_acc5"]
        recall = np.mean([hits[labels == label].mean() for label in np.unique(labels)])
        assert recall == pytest.approx(float(golden["lp_mean_per_class_recall"]), abs=1e-12)

    def test_the_random_head_is_that_of_a_linear_layer(self):
        head = initial_head(50, 64, seed=1)
        assert head.weight.abs().max() <= 1 / 8 and head.weight.std().item() == pytest.approx(
            1 / 8 / math.sqrt(3), rel=0.05
        )
        assert head.bias.abs().max() <= 1 / 8 and head.bias.std() > 0
        assert torch.equal(head.weight, initial_head(50, 64, seed=1).weight)
        assert not torch.equal(head.weight, initial_head(50, 64, seed=2).weight)

    def test_no_weight_decay_is_trained_twice_and_the_last_head_has_the_best(self, digits, train):
        _, events = train_few(train, "linear-probe-adamw")
        *tried, last = candidates(events)
        indices = [event["index"] for event in tried]
        assert len(set(indices)) == len(indices) and indices[:7] == list(range(0, 97, 16))
        accuracy = {event["index"]: event["val_accuracy"] for event in tried}
        assert last["weight_decay"] == weight_decay(find_peak(accuracy.__getitem__).best)
        assert last["images"] == 96 and last["val_accuracy"] == max(accuracy.values())

    def test_validation_images_may_join_for_the_last_head(self, digits, train, tmp_path):
        _, plain = train_few(train, "linear-probe-adamw", tmp_path / "plain")
        _, joined = train_few(train, "linear-probe-adamw", tmp_path / "joined", method={"train_on_validation": True})
        assert candidates(joined)[:-1] == candidates(plain)[:-1]
        assert candidates(joined)[-1]["images"] == 96 + len(digits.val)
        assert candidates(joined)[-1]["val_accuracy"] > candidates(plain)[-1]["val_accuracy"]

    def test_alpha_is_not_chosen_on_images_that_were_trained_on(self, recipe, digits, tmp_path):
        own = recipe("linear-probe-adamw", method={"train_on_validation": True}, evaluation={"choose_alpha": True})
        with pytest.raises(CallError, match="alpha cannot be chosen on validation images that the last head was"):
            finetune(own, tmp_path / "run", benchmark=digits)

    def test_without_labelled_validation_images_there_is_no_weight_decay(self, digits, train):
        unlabelled = dataclasses.replace(digits.val, labels=np.full(len(digits.val), -1))
        run, events = train_few(train, "linear-probe-adamw", benchmark=dataclasses.replace(digits, val=unlabelled))
        (only,) = candidates(read_log(run.path / LOG))
        assert only["weight_decay"] == 0.0 and only["kept"]
        assert [event["event"] for event in events] == ["start", "candidate"]


@pytest.mark.parametrize("case", json.loads((GOLDEN / "weight_decay_sweep.json").read_text()), ids=lambda c: c["name"])
def test_published_search_of_the_weight_decay(case):
    asked = []

    def accuracy(index):
        asked.append(index)
        return case["val_accuracy"][index]

    found = find_peak(accuracy)
    assert list(found.visited) == case["visited"]
    assert list(found.visited[:7]) == case["initial_indices"]
    assert list(found.rounds) == case["peak_after_each_round"]
    assert found.best == case["best_index"]
    assert weight_decay(found.best) == pytest.approx(case["best_weight_decay"], rel=1e-12)
    assert len(set(asked)) == len(asked)
