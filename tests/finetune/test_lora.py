import dataclasses
import gc
import json
import weakref

import numpy as np
import open_clip
import pytest
import torch

from vlm_data.captions import Captioner
from vlm_data.errors import CallError
from vlm_data.loading import Batch
from vlm_data.preprocess import Preprocess
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.finetuning import base_encoder, default_out, finetune, zero_shot_model
from vlm_finetune.lora import adapt
from vlm_finetune.method import Method
from vlm_finetune.methods import full
from vlm_finetune.recipe import METHODS, LoraSettings, parse
from vlm_finetune.training_regions import needs_regions
from vlm_models import load_encoder, load_model
from vlm_models.adapters import adapter_targets
from vlm_models.capabilities import CapabilityError
from vlm_models.checkpoint import read_weights
from vlm_models.classifier import ZERO_SHOT
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.zero_shot import zero_shot_classifier

MOVING = [name for name in METHODS.names() if getattr(METHODS.load(name), "MOVES_TOWERS", True)]
ONE_PHASE = [name for name in MOVING if hasattr(METHODS.load(name), "build")]
LORA = {"rank": 4, "alpha": 16.0}
BESIDE = {
    "full": {"head.weight", "head.bias"},
    "l2-to-start": {"head.weight", "head.bias"},
    "output-distillation": {"head.weight", "head.bias"},
    "flyp": {"encoder.clip.logit_scale"},
    "text-cross-entropy": {"encoder.clip.logit_scale"},
    "carot": {"encoder.clip.logit_scale", "encoder.clip.visual.proj", "encoder.clip.text_projection"},
}
FROZEN_TEXT = [name for name in MOVING if name == "contrastive-frozen-text" or needs_regions(name)]
BESIDE |= {name: set[str]() for name in FROZEN_TEXT}
"""What is trained beside the adapters."""


def adapted(name, benchmark, encoder=None, **settings):
    """A method with adapters on a fresh model, or on the one that is given."""
    recipe = parse({"method": {"name": name}, "lora": {**LORA, **settings}})
    model = zero_shot_model(recipe, benchmark)
    if encoder is not None:
        model = zero_shot_classifier(encoder, benchmark.class_names, benchmark.templates)
    method = METHODS.load(name).build(model, recipe.method_settings, 10)
    adapt(method, recipe.lora, seed=1)
    return method


def batch_for(method, benchmark, rows=24):
    train = benchmark.train
    images = torch.from_numpy(train.images[:rows]).permute(0, 3, 1, 2).contiguous()
    captioner, rng = Captioner.of(benchmark), np.random.default_rng(0)
    captions = tuple(captioner.draw(train, row, rng) for row in range(rows)) if method.needs_captions else ()
    return Batch(torch.arange(rows), images, torch.from_numpy(train.labels[:rows]), captions)


def disturb(method):
    """Let everything that is trained be something else than at first."""
    generator = torch.Generator().manual_seed(7)
    for parameter in method.trained():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return method


@pytest.mark.parametrize("name", ONE_PHASE)
class TestEveryMethod:
    def test_adapters_stand_in_for_the_towers_it_moves(self, name, digits):
        method = adapted(name, digits)
        image_only = "head.weight" in BESIDE[name] or name in FROZEN_TEXT
        towers = ("vision",) if image_only else ("vision", "text")
        encoder = load_encoder("tiny")
        targets = [t for t in adapter_targets(encoder) if encoder.parameter_group(f"{t}.weight") in towers]
        assert method.adapted == tuple(targets)
        trained = {key.removeprefix("model.") for key, p in method.named_parameters() if p.requires_grad}
        assert {key for key in trained if "lora_" not in key} == BESIDE[name]

    def test_a_gradient_reaches_every_tensor_that_moves_at_the_first_step(self, name, digits):
        method = adapted(name, digits)
        method(batch_for(method, digits), 0)["loss"].backward()
        without = [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]
        unmoved = [key for key, p in method.named_parameters() if p.requires_grad and not p.grad.any()]
        assert not without
        assert all("lora_A" in key for key in unmoved)  # B is zero at first
        assert len(unmoved) == sum("lora_A" in key for key, _ in method.named_parameters())

    def test_what_is_evaluated_is_what_was_trained(self, name, digits):
        method = disturb(adapted(name, digits)).eval()
        images = batch_for(method, digits).images
        before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
        with torch.no_grad():
            classifier = method.classifier()
            expected = method.model(images)
            if classifier.head_kind == ZERO_SHOT:
                expected = zero_shot_classifier(method.model.encoder, digits.class_names, digits.templates)(images)
            torch.testing.assert_close(classifier(images), expected, rtol=1e-5, atol=1e-5)
            assert list(classifier.state_dict()) == list(zero_shot_model(parse({}), digits).state_dict())
            for tensor in classifier.state_dict().values():
                tensor.zero_()
        assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())

    def test_models_that_were_evaluated_are_not_kept(self, name, digits):
        method = adapted(name, digits)
        seen = weakref.ref(method.classifier())
        gc.collect()
        assert seen() is None


@pytest.mark.parametrize("name", MOVING)
class TestEveryRun:
    def test_it_learns_and_saves_plain_weights(self, name, digits, train):
        run, events = train(name, lora=LORA, training={"epochs": 4, "lr": 4e-3})
        model, before = load_model(run.spec), zero_shot_model(run.recipe, digits).state_dict()
        moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
        last = adapted("full" if name == "lp-ft" else name, digits)
        expected = {f"encoder.{target}" for target in last.adapted}
        beside = BESIDE["full" if name == "lp-ft" else name]
        head = {"head.weight"} if model.head_kind == ZERO_SHOT and name not in FROZEN_TEXT else set()
        assert {
            key.removesuffix(".weight").removesuffix(".in_proj_weight").removesuffix(".out_proj") for key in moved
        } == (expected | {key.removesuffix(".weight") for key in beside | head})
        steps = [event for event in events if event["event"] == "step"]
        last_phase = [event for event in steps if event["phase"] == steps[-1]["phase"]]
        key = "contrastive" if "contrastive" in steps[0] else "loss"
        assert np.mean([e[key] for e in last_phase[-3:]]) < np.mean([e[key] for e in last_phase[:3]]) - 0.01

    def test_the_run_tells_of_it(self, name, digits, train):
        run, events = train(name, lora=LORA, training={"epochs": 1})
        assert json.loads((run.path / "model.json").read_text())["lora_rank"] == 4
        assert json.loads((run.path / "environment.json").read_text())["packages"]["peft"]
        start = [event for event in events if event["event"] == "start"][-1]
        method = adapted("full" if name == "lp-ft" else name, digits)
        assert start["adapted_modules"] == len(method.adapted)
        assert start["trained_parameters"] == sum(p.numel() for p in method.trained()) < 33_000

    @pytest.mark.parametrize(
        "tables",
        [{"training": {"accumulation_steps": 4}}, {"model": {"precision": "bf16"}}],
        ids=["accumulation", "bf16"],
    )
    @pytest.mark.parametrize("rank", [0, 4])
    def test_no_alarm_where_every_tensor_is_reached(self, name, tables, rank, train):
        training = {"epochs": 1, **tables.get("training", {})}
        run, _ = train(name, **{**tables, "training": training}, lora={"rank": rank})
        assert run.is_trained


def test_a_probe_has_no_adapters_and_what_follows_it_has(train):
    _, events = train("lp-ft", lora=LORA, training={"epochs": 1})
    starts = [event for event in events if event["event"] == "start"]
    assert [start.get("adapted_modules") for start in starts] == [None, 12]
    assert starts[0]["trained_parameters"] == 650


def test_rank_zero_is_the_training_of_before(train, tmp_path):
    runs = [train("carot", tmp_path / str(number), lora=lora)[0] for number, lora in enumerate(({}, {"alpha": 3.0}))]
    files = [{name: (run.path / name).read_bytes() for name in ("model.safetensors", "model.json")} for run in runs]
    assert files[0] == files[1]
    assert b"lora" not in files[0]["model.json"]


def test_the_seed_decides_where_adapters_start(train, tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        run, _ = train("full", tmp_path / str(number), lora=LORA, training={"epochs": 1, "seed": seed})
        found.append((run.path / "model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_run_with_adapters_has_a_directory_of_its_own():
    recipe = parse({"lora": {"rank": 4}})
    assert default_out(recipe).name == "digits-tiny-full-lora4-seed0"
    assert default_out(dataclasses.replace(recipe, lora=LoraSettings())).name == "digits-tiny-full-seed0"


class TestTeacher:
    def test_it_follows_the_merged_student(self, digits):
        recipe = parse({"method": {"name": "carot", "teacher_every": 1, "teacher_start": 0.75, "teacher_end": 0.75}})
        method = METHODS.load("carot").build(zero_shot_model(recipe, digits), recipe.method_settings, 10)
        adapt(method, LoraSettings(**LORA), seed=1)
        disturb(method)
        teacher = method.companions()["teacher"]
        before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
        student = method.classifier().encoder.state_dict()
        method.after_step(0)
        assert list(teacher.state_dict()) == list(before)
        for key, tensor in teacher.state_dict().items():
            torch.testing.assert_close(tensor, 0.75 * before[key] + 0.25 * student[key])

    def test_it_is_saved_as_a_plain_model(self, train):
        run, _ = train("carot", lora=LORA, training={"epochs": 1})
        assert list(read_weights(run.path / "teacher.safetensors")) == sorted(load_encoder("tiny").state_dict())


def resnet():
    """An image tower that is a convolutional network: no attention, no MLP."""
    with torch.random.fork_rng():
        clip = open_clip.CLIP(
            16,
            open_clip.CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, image_size=32, patch_size=None),
            open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1),
        )
    return OpenClipEncoder(
        clip.eval(),
        lambda texts: torch.tensor([[1, len(text) % 40 + 2, 49, 0, 0, 0, 0, 0] for text in texts]),
        spec="resnet",
        architecture={},
        preprocess=Preprocess(32),
        embedding_dim=16,
    )


class TestRefused:
    @pytest.mark.parametrize("name", ["full", "flyp"])
    def test_a_tower_without_a_place_for_adapters(self, name, digits):
        with pytest.raises(CallError, match=r"resnet has no place for adapters in its vision tower, which \w+ trains"):
            adapted(name, digits, resnet())

    def test_a_model_that_takes_no_adapters_before_a_directory_is_made(self, digits, tmp_path, recipe, monkeypatch):
        load = load_encoder("tiny")
        load.capabilities = frozenset({"image", "text"})
        monkeypatch.setattr("vlm_finetune.finetuning.load_encoder", lambda *_: load)
        with pytest.raises(CapabilityError, match="tiny cannot do adapters"):
            base_encoder(recipe("full", lora=LORA))
        assert base_encoder(recipe("full")) is load

    def test_a_rank_above_the_width(self, digits, tmp_path, recipe):
        with pytest.raises(CallError, match=r"adapters of rank 65 do not fit .*from 1 to 64; change --lora-rank"):
            finetune(recipe("full", lora={"rank": 65}), tmp_path / "run", benchmark=digits)

    def test_dropout_where_there_is_no_place_for_it(self, digits, tmp_path, recipe):
        with pytest.raises(CallError, match=r"a dropout of 0.1 for adapters has no place in .*--set lora.dropout=0"):
            finetune(recipe("full", lora={"rank": 4, "dropout": 0.1}), tmp_path / "run", benchmark=digits)

    @pytest.mark.parametrize("name", ["flyp", "carot"])
    def test_contrastive_methods_need_a_text_tower(self, name, digits):
        recipe = parse({"method": {"name": name}})
        model = zero_shot_model(recipe, digits)
        model.encoder.capabilities = frozenset({"image"})
        with pytest.raises(
            CapabilityError, match=r"tiny cannot do text \(text features, and with them zero-shot heads"
        ):
            METHODS.load(name).build(model, recipe.method_settings, 10)

    def test_a_method_that_moves_nothing(self, digits):
        class Still(Method):
            def forward(self, batch, step):
                raise NotImplementedError

        method = Still(zero_shot_model(parse({}), digits))
        with pytest.raises(CallError, match="Still trains no part of tiny that adapters could stand in for"):
            adapt(method, LoraSettings(**LORA), seed=0)


class TestFirstStep:
    def test_adapters_that_no_forward_pass_uses_are_named(self, digits, tmp_path, recipe, monkeypatch):
        # PyTorch's attention reads the weights of its output map and never calls it: adapters there have no effect
        monkeypatch.setattr(OpenClipEncoder, "adapter_targets", lambda self: r".*resblocks\.\d+\.attn\.out_proj")
        with pytest.raises(VlmFinetuneError) as caught:
            finetune(recipe("full", lora=LORA), tmp_path / "run", benchmark=digits)
        message = str(caught.value)
        assert message.startswith("8 of 10 trained tensors received no gradient at the first step: ")
        assert "resblocks.0.attn.out_proj.lora_A" in message and "and 3 more" in message
        assert not (tmp_path / "run" / "model.json").exists()

    @pytest.mark.parametrize("parts", [1, 4])
    def test_towers_that_the_loss_does_not_depend_on_are_named(self, digits, tmp_path, recipe, monkeypatch, parts):
        monkeypatch.setattr(full.FullFineTuning, "train_head", lambda self: self.release(self.model))
        with pytest.raises(VlmFinetuneError, match=r"30 of 88 trained tensors received no gradient.*text_projection"):
            finetune(recipe("full", training={"accumulation_steps": parts}), tmp_path / "run", benchmark=digits)
