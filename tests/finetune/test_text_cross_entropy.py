import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlm_data.captions import class_captions
from vlm_data.errors import CallError
from vlm_data.loading import Batch, step_rng
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.recipe import METHODS
from vlm_models import load_model


@pytest.fixture
def build(recipe, digits):
    """Builds the method on a fresh model."""

    def on_fresh_model(benchmark=digits, **settings):
        own = recipe("text-cross-entropy", method=settings)
        return METHODS.load(own.method).build(zero_shot_model(own, benchmark), own.method_settings, 10)

    return on_fresh_model


def batch_of(benchmark, rows=24):
    train = benchmark.train
    images = torch.from_numpy(train.images[:rows]).permute(0, 3, 1, 2).contiguous()
    return Batch(torch.arange(rows), images, torch.from_numpy(train.labels[:rows]))


def expected_loss(method, batch, captions):
    """The definition written out, every caption encoded for itself."""
    encoder = method.model.encoder
    texts = torch.cat(
        [functional.normalize(encoder.encode_text(encoder.tokenize([text])), dim=-1) for text in captions]
    )
    images = functional.normalize(encoder.encode_image(batch.images), dim=-1)
    log_p = (encoder.logit_scale * images @ texts.T).log_softmax(dim=1)
    return -log_p[torch.arange(len(images)), batch.labels].mean()


def losses_of(events):
    return [event["loss"] for event in events if event["event"] == "step"]


def test_the_loss_is_the_definition_written_out(build, digits):
    method, batch = build(), batch_of(digits)
    method.seed = 3
    names, templates = method.model.class_names, method.model.templates
    seen = []
    for step in (0, 1, 7):
        captions = class_captions(names, templates, step_rng(3, step))
        found = method(batch, step)["loss"]
        torch.testing.assert_close(found, expected_loss(method, batch, captions), rtol=1e-4, atol=1e-5)
        seen.append(found.item())
    assert len(set(seen)) == 3


def test_the_captions_depend_on_seed_and_step_and_on_nothing_else(build, digits):
    method, batch = build(), batch_of(digits)
    before = [method(batch, step)["loss"].item() for step in (0, 1)]
    torch.manual_seed(5), np.random.seed(5)
    assert [method(batch, step)["loss"].item() for step in (1, 0)] == before[::-1]
    method.seed = 1
    assert method(batch, 0)["loss"].item() not in before


def test_a_template_is_drawn_for_each_class(digits):
    draws = [class_captions(digits.class_names, digits.templates, step_rng(0, step)) for step in range(40)]
    assert {len(captions) for captions in draws} == {len(digits.class_names)}
    for name, column in zip(digits.class_names, zip(*draws, strict=True), strict=True):
        assert set(column) == {template.replace("{c}", name) for template in digits.templates}


def test_the_seed_of_the_run_is_that_of_the_captions(build, train, tmp_path, digits):
    method = build()
    whole = batch_of(digits, len(digits.train))
    for seed in (0, 1):
        method.seed = seed
        _, events = train("text-cross-entropy", tmp_path / str(seed), training={"batch_size": 96, "seed": seed})
        assert losses_of(events)[0] == pytest.approx(method(whole, 0)["loss"].item(), rel=1e-4)


def test_parts_of_a_step_see_the_same_captions(train, tmp_path):
    tables = {"batch_size": 96, "epochs": 1, "lr": 1e-6}
    _, whole = train("text-cross-entropy", tmp_path / "whole", training=tables)
    _, parts = train("text-cross-entropy", tmp_path / "parts", training={**tables, "accumulation_steps": 4})
    assert losses_of(parts) == pytest.approx(losses_of(whole), rel=1e-5)


def test_classes_of_one_name_have_the_same_logits_where_their_template_is_the_same(build, digits):
    twice = dataclasses.replace(digits, class_names=("zero",) * 10, templates=digits.templates[:1])
    method = build(twice)
    found = method(batch_of(twice), 0)["loss"].item()
    assert found == pytest.approx(np.log(10), rel=1e-5)


def test_the_text_tower_moves_and_makes_the_head(train, digits):
    run, _ = train("text-cross-entropy")
    model, before = load_model(run.spec), zero_shot_model(run.recipe, digits)
    assert not torch.equal(model.encoder.clip.text_projection, before.encoder.clip.text_projection)
    assert model.head_kind == "zero-shot"


def test_images_without_labels_are_refused(digits, tmp_path, recipe):
    labels = digits.train.labels.copy()
    labels[:5] = -1
    benchmark = dataclasses.replace(digits, train=dataclasses.replace(digits.train, labels=labels))
    with pytest.raises(CallError, match="text-cross-entropy needs class labels, but 5 of 96 training images"):
        finetune(recipe("text-cross-entropy"), tmp_path / "run", benchmark=benchmark)
