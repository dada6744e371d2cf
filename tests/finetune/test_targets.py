import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlm_data.captions import Captioner
from vlm_data.errors import CallError
from vlm_data.loading import Batch
from vlm_finetune.errors import RecipeError
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.losses import (
    TARGETS,
    contrastive,
    contrastive_exclusive,
    contrastive_soft_targets,
    contrastive_towards,
    contrastive_without_collisions,
    pair_logits,
)
from vlm_finetune.pairs import distinct
from vlm_finetune.recipe import METHODS, parse

LABEL_AWARE = {
    "soft": contrastive_soft_targets,
    "without-collisions": contrastive_without_collisions,
    "supervised": contrastive_exclusive,
}
WITHOUT_TERMS = {"orthogonality": 0.0, "cross_norm": 0.0, "distillation": 0.0}


@pytest.fixture
def features():
    """Images, texts, a scale and labels of seven pairs with collisions."""
    generator = torch.Generator().manual_seed(5)
    images, texts = functional.normalize(torch.randn(2, 7, 4, generator=generator, dtype=torch.float64), dim=-1)
    return images, texts, 20.0, torch.tensor([0, 1, 0, 2, 2, 0, 3])


def built(name, recipe, benchmark, **settings):
    own = recipe(name, method=settings)
    return METHODS.load(name).build(zero_shot_model(own, benchmark), own.method_settings, 10)


def batch_of(benchmark, rows=24):
    train, rng = benchmark.train, np.random.default_rng(0)
    captions = tuple(Captioner.of(benchmark).draw(train, row, rng) for row in range(rows))
    images = torch.from_numpy(train.images[:rows]).permute(0, 3, 1, 2).contiguous()
    return Batch(torch.arange(rows), images, torch.from_numpy(train.labels[:rows]), captions)


class TestTheLoss:
    def test_a_name_is_a_loss(self, features):
        *pair, labels = features
        found = {name: contrastive_towards(pair_logits(*pair), name, labels) for name in TARGETS}
        assert found.pop("identity") == contrastive(*pair)
        assert found == {name: loss(*pair, labels) for name, loss in LABEL_AWARE.items()}
        assert len({round(value.item(), 9) for value in found.values()}) == 3

    def test_smoothed_soft_targets_are_the_mixture_with_the_uniform_one(self, features):
        *pair, labels = features
        pairs = pair_logits(*pair)
        uniform = contrastive_towards(pairs, "soft", torch.zeros_like(labels))
        smoothed = contrastive_towards(pairs, "soft", labels, label_smoothing=0.2)
        torch.testing.assert_close(smoothed, 0.8 * contrastive_towards(pairs, "soft", labels) + 0.2 * uniform)

    @pytest.mark.parametrize("name", ["without-collisions", "supervised"])
    def test_what_cannot_be_smoothed_is_refused(self, name, features):
        *pair, labels = features
        with pytest.raises(CallError, match=rf"label_smoothing is 0\.1, but targets '{name}' cannot be smoothed"):
            contrastive_towards(pair_logits(*pair), name, labels, label_smoothing=0.1)
        tables = {"method": {"name": "flyp", "targets": name, "label_smoothing": 0.1}}
        with pytest.raises(
            RecipeError, match=r"^own\.toml: method\.label_smoothing is 0\.1, .* expected 0, or targets"
        ):
            parse(tables, "own.toml")

    @pytest.mark.parametrize("name", sorted(set(TARGETS) - {"identity"}))
    @pytest.mark.parametrize("count", [0, 1, 4, 6])
    def test_there_is_one_label_per_pair(self, name, count):
        pairs = pair_logits(torch.eye(5), torch.eye(5), 1.0)
        with pytest.raises(CallError, match=rf"\({count},\) labels do not fit 5 pairs; expected one label per pair"):
            contrastive_towards(pairs, name, torch.zeros(count, dtype=torch.int64))

    def test_an_unknown_name_is_told(self, features):
        *pair, labels = features
        with pytest.raises(CallError, match=r"unknown target 'softly'\. Did you mean 'soft'"):
            contrastive_towards(pair_logits(*pair), "softly", labels)


@pytest.mark.parametrize("targets", list(LABEL_AWARE))
class TestTheMethods:
    def test_both_follow_it(self, targets, recipe, digits):
        flyp = built("flyp", recipe, digits, targets=targets)
        carot = built("carot", recipe, digits, targets=targets, **WITHOUT_TERMS)
        batch = batch_of(digits)
        assert len(set(batch.labels.tolist())) < len(batch.labels)
        texts, rows = distinct(batch.captions)
        features = flyp.features(batch.images, texts)
        pair = (features["images"], features["texts"][rows], flyp.model.encoder.logit_scale)
        expected = LABEL_AWARE[targets](*pair, batch.labels)
        torch.testing.assert_close(flyp(batch, 1)["loss"], expected)
        torch.testing.assert_close(carot(batch, 1)["contrastive"], expected)
        torch.testing.assert_close(carot(batch, 1)["loss"], expected)

    def test_it_learns(self, targets, train):
        _, events = train("flyp", method={"targets": targets}, training={"epochs": 4})
        losses = [event["loss"] for event in events if event["event"] == "step"]
        assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.01

    @pytest.mark.parametrize("name", ["flyp", "carot"])
    def test_images_without_labels_are_refused_before_training(self, targets, name, digits, tmp_path, recipe):
        labels = digits.train.labels.copy()
        labels[:5] = -1
        captions = tuple((f"the digit {digits.class_names[label]}",) for label in digits.train.labels)
        unlabelled = dataclasses.replace(digits.train, labels=labels, captions=captions)
        benchmark = dataclasses.replace(digits, train=unlabelled)
        with pytest.raises(CallError, match=f"{name} needs class labels, but 5 of 96 .*method.targets=identity"):
            finetune(recipe(name, method={"targets": targets}), tmp_path / "run", benchmark=benchmark)
        assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_batch_of_one_pair_has_nothing_to_be_set_against(train):
    with pytest.raises(CallError, match="compares pairs and got one"):
        train("flyp", method={"targets": "supervised"}, training={"batch_size": 1})
