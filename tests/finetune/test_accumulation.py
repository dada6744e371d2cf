import dataclasses

import numpy as np
import pytest
import torch

from vlm_data.captions import Captioner
from vlm_data.errors import CallError
from vlm_data.loading import Batch
from vlm_data.preprocess import Preprocess
from vlm_finetune.batches import FeatureBatches, ImageBatches
from vlm_finetune.finetuning import zero_shot_model
from vlm_finetune.recipe import METHODS, TrainingSettings
from vlm_models import load_model


def steps_of(events):
    return [event for event in events if event["event"] == "step"]


def assert_same_weights(a, b, tolerance=1e-5):
    a, b = load_model(a.spec).state_dict(), load_model(b.spec).state_dict()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("method", ["full", "linear-probe", "lp-ft"])
@pytest.mark.parametrize("parts", [2, 8])
def test_micro_batches_of_labelled_images_are_the_whole_batch(method, parts, train, tmp_path):
    whole, expected = train(method, tmp_path / "whole")
    found, events = train(method, tmp_path / "parts", training={"accumulation_steps": parts})
    assert_same_weights(found, whole)
    for one, other in zip(steps_of(events), steps_of(expected), strict=True):
        assert one["step"] == other["step"] and one["lr"] == other["lr"]
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


@pytest.mark.parametrize("method", ["flyp", "carot"])
@pytest.mark.parametrize("parts", [2, 8])
def test_micro_batches_of_pairs_are_the_whole_batch(method, parts, train, tmp_path):
    settings = {"lr": 1e-5, "clip_norm": 1e6}  # a higher rate follows the last bit of gradients that are all but zero
    whole, expected = train(method, tmp_path / "whole", training=settings)
    found, events = train(method, tmp_path / "parts", training={**settings, "accumulation_steps": parts})
    assert_same_weights(found, whole)
    for one, other in zip(steps_of(events), steps_of(expected), strict=True):
        assert one.keys() == other.keys()
        for key in other.keys() - {"event"}:
            assert one[key] == pytest.approx(other[key], rel=1e-3 if key == "grad_norm" else 1e-5, abs=1e-5), key


@pytest.mark.parametrize("method", ["flyp", "carot"])
def test_pairs_are_compared_across_micro_batches_in_bfloat16(method, train, tmp_path):
    tables = {"model": {"precision": "bf16"}, "training": {"lr": 1e-5, "clip_norm": 1e6}}
    _, expected = train(method, tmp_path / "whole", **tables)
    _, events = train(method, tmp_path / "parts", **tables | {"training": {"accumulation_steps": 4, "lr": 1e-5}})
    for one, other in zip(steps_of(events), steps_of(expected), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.02)


def test_contrastive_negatives_can_stay_within_a_micro_batch(train, recipe, digits):
    _, events = train("flyp", training={"accumulation_steps": 4, "negatives": "micro-batch"})
    settings = recipe("flyp", training={"accumulation_steps": 4}).training
    model = zero_shot_model(recipe("flyp"), digits)
    method = METHODS.load("flyp").build(model, METHODS.load("flyp").Config(), 1)
    batches = ImageBatches(digits.train, model.encoder.preprocess, settings, captioner=Captioner.of(digits)).epoch(0)
    losses = [method(next(batches), 0)["loss"].item() for _ in range(4)]
    assert steps_of(events)[0]["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert all(loss < np.log(8) * 2 for loss in losses)  # 8 pairs, not 32


def test_gradient_norms_are_those_of_the_whole_batch(train, tmp_path):
    norms = []
    for parts in (1, 4):
        tables = {"training": {"accumulation_steps": parts, "clip_norm": 1e9}}
        _, events = train("full", tmp_path / str(parts), **tables)
        norms.append([event["grad_norm"] for event in steps_of(events)])
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


class TestBatches:
    def batches(self, n, **settings):
        features = torch.arange(n, dtype=torch.float32)[:, None]
        return FeatureBatches(features, torch.arange(n), TrainingSettings(**settings))

    @pytest.mark.parametrize("parts", [1, 2, 4])
    def test_micro_batches_together_are_the_batch(self, parts):
        whole = self.batches(30, batch_size=8, seed=3)
        cut = self.batches(30, batch_size=8, seed=3, accumulation_steps=parts)
        assert cut.steps == whole.steps == 3
        rows = [batch.labels.tolist() for batch in cut.epoch(1)]
        assert len(rows) == 3 * parts
        joined = [[row for part in rows[i : i + parts] for row in part] for i in range(0, len(rows), parts)]
        assert joined == [batch.labels.tolist() for batch in whole.epoch(1)]

    @pytest.mark.parametrize("first", [0, 1, 2, 3])
    def test_an_epoch_can_be_entered_at_any_step(self, first):
        cut = self.batches(30, batch_size=8, accumulation_steps=2)
        rows = [batch.labels.tolist() for batch in cut.epoch(2)]
        assert [batch.labels.tolist() for batch in cut.epoch(2, first)] == rows[2 * first :]

    def test_epochs_differ_and_seeds_differ(self):
        orders = set()
        for seed in range(4):
            for epoch in range(4):
                (batch,) = self.batches(30, batch_size=30, seed=seed).epoch(epoch)
                orders.add(tuple(batch.labels.tolist()))
        assert len(orders) == 16

    @pytest.mark.parametrize(("n", "steps"), [(3, 1), (7, 1), (8, 1), (15, 1), (16, 2)])
    def test_small_data_is_one_batch(self, n, steps):
        for parts in (1, 2):
            cut = self.batches(n, batch_size=8, accumulation_steps=parts)
            assert cut.steps == steps
            assert len(list(cut.epoch(0))) == steps * parts

    def test_fewer_images_than_micro_batches_are_refused(self):
        with pytest.raises(CallError, match=r"3 training images cannot be cut into 8 micro-batches"):
            list(self.batches(3, batch_size=8, accumulation_steps=8).epoch(0))

    def test_features_and_images_come_in_the_same_rows(self, digits):
        settings = TrainingSettings(batch_size=16)
        images = ImageBatches(digits.train, Preprocess(32), settings)
        features = FeatureBatches(torch.zeros(len(digits.train), 2), torch.from_numpy(digits.train.labels), settings)
        assert images.steps == features.steps
        for one, other in zip(images.epoch(1), features.epoch(1), strict=True):
            assert torch.equal(one.indices, other.indices)
            assert torch.equal(one.labels, other.labels)

    def test_a_batch_keeps_its_captions_when_it_is_moved(self):
        batch = Batch(torch.zeros(1, dtype=torch.int64), torch.zeros(1), torch.zeros(1, dtype=torch.int64), ("a",))
        assert batch.to("cpu").captions == ("a",)


def test_data_smaller_than_a_batch_trains(train, digits):
    few = dataclasses.replace(digits, train=digits.train.select(range(10)))
    _, events = train("flyp", benchmark=few)
    assert len(steps_of(events)) == 3
