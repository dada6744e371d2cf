import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlm_data.captions import Captioner
from vlm_data.errors import CallError
from vlm_data.loading import Batch
from vlm_data.region_batches import BatchRegions
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.losses import contrastive, orthogonality
from vlm_finetune.method import Method, Phase
from vlm_finetune.pairs import PairEncoder, distinct
from vlm_finetune.recipe import METHODS, parse
from vlm_models import load_model
from vlm_models.checkpoint import read_weights
from vlm_models.classifier import LINEAR, ZERO_SHOT
from vlm_models.zero_shot import zero_shot_head

HEAD = {"head.weight", "head.bias"}

LOOPED = [name for name in METHODS.names() if not hasattr(METHODS.load(name), "search")]
"""Methods that take steps of the loop; the others fit heads to features, see `test_head_search`."""


def phases_of(recipe):
    module = METHODS.load(recipe.method)
    if hasattr(module, "phases"):
        return module.phases(recipe.method_settings, recipe.training)
    return [Phase(recipe.method, recipe.method_settings, recipe.training)]


def built(recipe, benchmark, total_steps=10):
    """The last phase of a method on a fresh model."""
    phase = phases_of(recipe)[-1]
    return METHODS.load(phase.method).build(zero_shot_model(recipe, benchmark), phase.settings, total_steps)


def batch_for(method, benchmark, rows=24):
    """The first rows of the training split in the form the method takes them."""
    train = benchmark.train
    images = torch.from_numpy(train.images[:rows]).permute(0, 3, 1, 2).contiguous()
    if method.frozen_encoder:
        with torch.no_grad():
            images = method.model.encoder.encode_image(images)
    captioner, rng = Captioner.of(benchmark), np.random.default_rng(0)
    captions = tuple(captioner.draw(train, row, rng) for row in range(rows)) if method.needs_captions else ()
    labels = torch.from_numpy(train.labels[:rows])
    return Batch(torch.arange(rows), images, labels, captions, regions_for(benchmark, rows))


def regions_for(benchmark, rows):
    """Four quadrants of every image, the second one spurious where the row is odd."""
    boxes = torch.tensor([[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]]).float().repeat(rows, 1)
    image_of = torch.arange(rows).repeat_interleave(4)
    spurious = (torch.arange(4).repeat(rows) == 1) & (image_of % 2 == 1)
    labels = torch.from_numpy(benchmark.train.labels[:rows])
    return BatchRegions(boxes, image_of, spurious, labels, torch.arange(rows) % 2 == 1)


@pytest.mark.parametrize("name", LOOPED)
class TestEveryMethod:
    """What holds for every file in `methods/` that is trained by the loop."""

    def test_phases_are_methods_with_settings_of_their_own_kind(self, name, recipe):
        phases = phases_of(recipe(name))
        assert phases
        for phase in phases:
            assert isinstance(phase.settings, METHODS.load(phase.method).Config)

    def test_the_loss_is_a_scalar_with_named_terms(self, name, recipe, digits):
        method = built(recipe(name), digits)
        assert isinstance(method, Method)
        for step in (0, 1):
            found = method(batch_for(method, digits), step)
            assert found["loss"].requires_grad
            assert all(value.shape == () and value.isfinite() for value in found.values())

    def test_a_gradient_reaches_every_tensor_that_moves_at_the_first_step(self, name, recipe, digits):
        method = built(recipe(name), digits)
        method(batch_for(method, digits), 0)["loss"].backward()
        without = {
            key for key, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
        }
        assert not without
        assert all(p.grad is None for p in method.parameters() if not p.requires_grad)

    def test_what_is_trained_is_part_of_the_model(self, name, recipe, digits):
        method = built(recipe(name), digits)
        own = {id(parameter) for parameter in method.model.parameters()}
        assert {id(parameter) for parameter in method.trained()} <= own
        assert {id(parameter) for parameter in method.parameters()} == own

    def test_it_learns_and_moves_what_it_says_and_nothing_else(self, name, recipe, digits, train):
        run, events = train(name, training={"epochs": 4})
        steps = [event for event in events if event["event"] == "step"]
        last = [event for event in steps if event["phase"] == steps[-1]["phase"]]
        key = "contrastive" if "contrastive" in last[0] else "loss"
        values = [event[key] for event in last]
        assert np.mean(values[-3:]) < np.mean(values[:3]) - 0.01

        before = zero_shot_model(run.recipe, digits).state_dict()
        model = load_model(run.spec)
        moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
        method = built(run.recipe, digits)
        trained = {key for key, p in method.model.named_parameters() if p.requires_grad}
        rebuilt = model.head_kind == ZERO_SHOT and "encoder.clip.text_projection" in trained
        head = {"head.weight"} if rebuilt else set()
        assert moved == trained | head

    def test_the_saved_head_is_of_the_kind_it_says(self, name, digits, train):
        run, _ = train(name, training={"epochs": 1})
        model = load_model(run.spec)
        assert model.class_names == digits.class_names and model.templates == digits.templates
        if model.head_kind == ZERO_SHOT:
            head = zero_shot_head(model.encoder, model.class_names, model.templates)
            torch.testing.assert_close(head.weight, model.head.weight)
            assert model.head.bias.eq(0).all()
        else:
            assert model.head_kind == LINEAR

    def test_companions_are_saved_and_are_no_part_of_the_module(self, name, recipe, digits, train):
        method = built(recipe(name), digits)
        inside = {id(module) for module in method.modules()}
        run, _ = train(name, training={"epochs": 1})
        for companion, module in method.companions().items():
            assert id(module) not in inside
            assert read_weights(run.path / f"{companion}.safetensors").keys() == module.state_dict().keys()
        files = {path.stem for path in run.path.glob("*.safetensors")}
        assert files == {"model", *method.companions()}

    def test_no_training_is_the_zero_shot_model(self, name, digits, train):
        run, events = train(name, training={"epochs": 0}, method={"probe_epochs": 0} if name == "lp-ft" else {})
        before = zero_shot_model(run.recipe, digits).state_dict()
        assert all(torch.equal(tensor, before[key]) for key, tensor in load_model(run.spec).state_dict().items())
        assert not [event for event in events if event["event"] in ("step", "epoch")]

    def test_label_smoothing_changes_the_loss(self, name, recipe, digits):
        if "label_smoothing" not in {field.name for field in dataclasses.fields(METHODS.load(name).Config)}:
            pytest.skip("has no label smoothing")
        losses = []
        for share in (0.0, 0.3):
            method = built(recipe(name, method={"label_smoothing": share}), digits)
            losses.append(method(batch_for(method, digits), 0)["loss"].item())
        assert losses[0] != losses[1]


EXPECTED = {"linear-probe": HEAD, "full": HEAD | {"visual"}, "lp-ft": HEAD | {"visual"}}


@pytest.mark.parametrize("name", ["linear-probe", "full", "lp-ft", "flyp", "carot"])
def test_the_tensors_of_the_published_methods(name, recipe, digits):
    method = built(recipe(name), digits)
    for key, parameter in method.model.named_parameters():
        part = "visual" if key.startswith("encoder.clip.visual.") else key
        expected = part in EXPECTED[name] if name in EXPECTED else part not in HEAD
        assert parameter.requires_grad is expected, key


def test_cross_entropy_of_full_fine_tuning(recipe, digits):
    method = built(recipe("full", method={"label_smoothing": 0.2}), digits)
    batch = batch_for(method, digits)
    log_p = method.model(batch.images).log_softmax(-1)
    own = log_p[torch.arange(24), batch.labels]
    torch.testing.assert_close(method(batch, 0)["loss"], -(0.8 * own + 0.2 * log_p.mean(-1)).mean())


def test_the_probe_on_features_is_the_classifier_on_images(recipe, digits):
    probe, full = built(recipe("linear-probe"), digits), built(recipe("full"), digits)
    torch.testing.assert_close(
        probe(batch_for(probe, digits), 0)["loss"], full(batch_for(full, digits), 0)["loss"], rtol=1e-5, atol=1e-6
    )


def test_the_second_phase_of_lp_ft_starts_from_the_head_of_the_first(train, tmp_path):
    settings = {"epochs": 2, "select": "last"}
    probe, _ = train("linear-probe", tmp_path / "probe", training={**settings, "lr": 1e-2, "weight_decay": 0.0})
    both, _ = train("lp-ft", tmp_path / "both", training={**settings, "epochs": 0})
    assert torch.equal(load_model(probe.spec).head.weight, load_model(both.spec).head.weight)


class TestFlyp:
    def test_the_loss_is_that_of_every_caption_encoded_for_itself(self, recipe, digits):
        method = built(recipe("flyp"), digits)
        batch = batch_for(method, digits)
        batch = dataclasses.replace(batch, captions=batch.captions[:8] * 3)  # every caption three times
        encoder = method.model.encoder
        method(batch, 0)["loss"].backward()
        found = {key: p.grad.clone() for key, p in encoder.named_parameters()}
        encoder.zero_grad()
        images = functional.normalize(encoder.encode_image(batch.images), dim=-1)
        texts = functional.normalize(encoder.encode_text(encoder.tokenize(batch.captions)), dim=-1)
        contrastive(images, texts, encoder.logit_scale).backward()
        for key, parameter in encoder.named_parameters():
            torch.testing.assert_close(found[key], parameter.grad, rtol=1e-3, atol=1e-5)

    def test_tokens_come_out_right_however_often_captions_are_seen(self, recipe, digits):
        encoder = zero_shot_model(recipe("flyp"), digits).encoder
        pairs, texts = PairEncoder(), [f"the digit {name}" for name in digits.class_names]
        for order in (texts, texts[::-1], [*texts[5:], "a new one"]):
            assert torch.equal(pairs.tokens(encoder, order), encoder.tokenize(order))

    def test_captions_that_repeat(self):
        texts, rows = distinct(["b", "a", "b", "b"])
        assert (texts, rows.tolist()) == (["b", "a"], [0, 1, 0, 0])


class TestCarot:
    def test_terms_add_up_with_their_coefficients(self, recipe, digits):
        settings = {"orthogonality": 0.7, "cross_norm": 0.3, "distillation": 2.0}
        method = built(recipe("carot", method=settings), digits)
        teacher = method.companions()["teacher"]
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.mul_(0.9)
        terms = method(batch_for(method, digits), 1)
        assert terms["distillation"] > 0
        expected = terms["contrastive"] + sum(value * terms[key] for key, value in settings.items())
        torch.testing.assert_close(terms["loss"], expected)
        torch.testing.assert_close(terms["orthogonality"], orthogonality(method.model.encoder.projections()[0]))

    def test_distillation_starts_at_the_second_step(self, recipe, digits):
        method = built(recipe("carot"), digits)
        batch = batch_for(method, digits)
        assert method(batch, 0)["distillation"] == 0
        assert method(batch, 1)["distillation"] > 0

    def test_all_coefficients_zero_is_flyp(self, recipe, digits):
        nothing = {"orthogonality": 0.0, "cross_norm": 0.0, "distillation": 0.0}
        carot = built(recipe("carot", method=nothing), digits)
        flyp = built(recipe("flyp"), digits)
        batch = batch_for(flyp, digits)
        assert carot.companions() == {}
        for step in (0, 1):
            torch.testing.assert_close(carot(batch, step)["loss"], flyp(batch, step)["loss"])

    @pytest.mark.parametrize(
        ("counter", "every", "updated"),
        [("before_step", 3, [0, 3, 6]), ("after_step", 3, [2, 5, 7]), ("before_step", 0, [])],
    )
    def test_the_teacher_moves_when_the_schedule_says_so(self, recipe, digits, counter, every, updated):
        settings = {"teacher_every": every, "teacher_counter": counter, "teacher_warmup": 0.0, "teacher_end": 0.75}
        method = built(recipe("carot", method=settings), digits, total_steps=8)
        teacher = method.companions()["teacher"]
        moved = []
        for step in range(8):
            with torch.no_grad():
                method.model.encoder.clip.visual.proj.add_(1.0)
            before = teacher.clip.visual.proj.clone()
            method.after_step(step)
            if not torch.equal(before, teacher.clip.visual.proj):
                moved.append(step)
                expected = 0.75 * before + 0.25 * method.model.encoder.clip.visual.proj
                torch.testing.assert_close(teacher.clip.visual.proj, expected)
        assert moved == updated

    def test_the_teacher_is_never_trained(self, recipe, digits):
        method = built(recipe("carot"), digits)
        teacher = method.companions()["teacher"]
        method(batch_for(method, digits), 1)["loss"].backward()
        assert all(not p.requires_grad and p.grad is None for p in teacher.parameters())
        method.train()
        assert not teacher.training

    def test_a_teacher_that_stays_is_the_zero_shot_model(self, digits, train):
        run, _ = train("carot", method={"teacher_every": 0})
        before = zero_shot_model(run.recipe, digits).encoder.state_dict()
        teacher = read_weights(run.path / "teacher.safetensors")
        assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.items())

    def test_an_architecture_without_projections_is_refused(self, digits):
        recipe = parse({"method": {"name": "carot"}})
        model = zero_shot_model(recipe, digits)
        model.encoder.clip.visual.proj = None
        with pytest.raises(CallError, match="has no linear projections; methods that regularise them, such as carot"):
            METHODS.load("carot").build(model, recipe.method_settings, 10)


class TestData:
    def test_images_without_labels_cannot_be_classified(self, digits, tmp_path, recipe):
        labels = digits.train.labels.copy()
        labels[:5] = -1
        benchmark = dataclasses.replace(digits, train=dataclasses.replace(digits.train, labels=labels))
        with pytest.raises(CallError, match="full needs class labels, but 5 of 96 training images of digits have"):
            finetune(recipe("full"), tmp_path / "run", benchmark=benchmark)

    def test_alpha_cannot_be_chosen_without_labelled_validation_images(self, digits, tmp_path, recipe):
        unlabelled = dataclasses.replace(digits.val, labels=np.full(len(digits.val), -1))
        benchmark = dataclasses.replace(digits, val=unlabelled)
        with pytest.raises(CallError, match="alpha cannot be chosen on digits: none of its validation images has"):
            finetune(recipe(evaluation={"choose_alpha": True}), tmp_path / "run", benchmark=benchmark)
        assert finetune(recipe(), tmp_path / "run", benchmark=benchmark).is_trained  # the last epoch is kept

    def test_images_with_captions_of_their_own_need_no_labels(self, digits, train):
        n = len(digits.train)
        captions = tuple((f"the digit {digits.class_names[label]}",) for label in digits.train.labels)
        unlabelled = dataclasses.replace(digits.train, labels=np.full(n, -1), captions=captions)
        _, events = train("flyp", benchmark=dataclasses.replace(digits, train=unlabelled))
        assert [event["event"] for event in events].count("step") == 9

    def test_batches_that_cannot_be_cut_leave_a_directory_another_recipe_may_take(self, digits, tmp_path, recipe):
        few = dataclasses.replace(digits, train=digits.train.select(range(3)))
        with pytest.raises(CallError, match="3 training images cannot be cut into 4 micro-batches"):
            finetune(recipe(training={"accumulation_steps": 4}), tmp_path / "run", benchmark=few)
        assert finetune(recipe(), tmp_path / "run", benchmark=few).is_trained

    def test_images_with_neither_are_named(self, digits, tmp_path, recipe):
        unlabelled = dataclasses.replace(digits.train, labels=np.full(len(digits.train), -1))
        with pytest.raises(CallError, match=r"sample 'digits/\d+' of digits has neither a caption nor a label"):
            finetune(recipe("flyp"), tmp_path / "run", benchmark=dataclasses.replace(digits, train=unlabelled))
