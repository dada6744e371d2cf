"""Whole published optimisation runs, driven by our losses, teacher, schedule and optimiser."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from specimens.wise import published
from vlm_finetune.ema import EmaTeacher, MomentumSchedule
from vlm_finetune.losses import (
    classification,
    contrastive_from_logits,
    cross_norm,
    orthogonality,
    pair_logits,
    self_distillation_from_logits,
)
from vlm_finetune.optim import adamw
from vlm_finetune.schedule import cosine

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = sorted(path.name for path in (GOLDEN / "losses").glob("train_*.npz"))


def assert_close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


class DualTower(nn.Module):
    """The tiny model of the golden runs."""

    def __init__(self, weights):
        super().__init__()
        visual, text = ("visual.w_in", "visual.proj"), ("text_in", "text_projection", "logit_scale")
        self.visual = nn.ParameterDict({name.removeprefix("visual."): weights[name] for name in visual})
        for name in text:
            self.register_parameter(name, nn.Parameter(weights[name]))

    def forward(self, images, texts):
        image_features = functional.normalize((images @ self.visual["w_in"]).tanh() @ self.visual["proj"])
        text_features = functional.normalize((texts @ self.text_in).tanh() @ self.text_projection)
        return pair_logits(image_features, text_features, self.logit_scale.exp())


class Replay:
    """Repeats a stored run, micro-batch by micro-batch."""

    def __init__(self, golden):
        self.golden, self.hp = golden, json.loads(str(golden["hp"]))
        hp = self.hp
        stored = {key.removeprefix("student/"): golden[key] for key in golden if key.startswith("student/")}
        self.student = DualTower({name: torch.tensor(values[0]) for name, values in stored.items()})
        self.teacher = EmaTeacher(self.student)
        self.optimizer = adamw(self.student, hp["lr"], hp["wd"])
        self.total_steps = hp["epochs"] * -(-hp["num_batches"] // hp["accum"])
        counter = "before_step" if hp["accum"] == 1 else "after_step"
        self.momentum = MomentumSchedule(self.total_steps, hp["freq"], hp["m_src"], hp["m_tar"], hp["m_warm"], counter)

    def loss(self, images, texts, step):
        hp, pairs = self.hp, self.student(images, texts)
        visual, text = self.student.visual["proj"], self.student.text_projection
        loss = contrastive_from_logits(pairs, label_smoothing=hp.get("ls", 0.0))
        loss = loss + hp["fnorm"] * cross_norm(visual, text) + hp["orth"] * orthogonality(visual)
        if hp["distil"] and step > 0:
            loss = loss + hp["distil"] * self_distillation_from_logits(pairs, self.teacher.model(images, texts))
        return loss / hp["accum"]

    def rate(self, step):
        return cosine(step, self.hp["lr"], self.hp["warmup"], self.total_steps, self.hp["min_lr"])

    def __iter__(self):
        """Yield the loss and the number of the optimiser step of each micro-batch, before the step is taken."""
        step = 0
        for k, (images, texts) in enumerate(
            zip(*map(torch.tensor, (self.golden["images"], self.golden["texts"])), strict=True)
        ):
            loss = self.loss(images, texts, step)
            loss.backward()
            yield k, step, loss.item()
            place = k % self.hp["num_batches"] + 1
            if place % self.hp["accum"] == 0 or place == self.hp["num_batches"]:
                self.optimizer.param_groups[0]["lr"] = self.rate(step)
                self.optimizer.step()
                self.optimizer.zero_grad()
                if (momentum := self.momentum.after(step)) is not None:
                    self.teacher.update(self.student, momentum)
                step += 1


@pytest.mark.parametrize("name", RUNS)
def test_published_runs_step_by_step(name):
    golden = np.load(GOLDEN / "losses" / name)
    replay = Replay(golden)
    models = {"student": replay.student, "teacher": replay.teacher.model}

    def check_weights(k):
        for role, model in models.items():
            for parameter, value in model.named_parameters():
                if f"{role}/{parameter}" in golden:
                    assert_close(value.detach(), golden[f"{role}/{parameter}"][k])

    steps = 0
    for k, step, loss in replay:
        check_weights(k)
        assert_close(loss, golden["losses"][k])
        assert replay.rate(step) == pytest.approx(golden["lrs"][step], rel=1e-12)
        steps = step + 1
    check_weights(len(golden["losses"]))
    assert steps == replay.total_steps == len(golden["lrs"])


def test_published_linear_probe_on_a_frozen_encoder():
    golden = np.load(GOLDEN / "linear_probe" / "frozen_encoder_head.npz")
    recipe = json.loads((GOLDEN / "linear_probe" / "hyperparameters.json").read_text())
    features = functional.normalize(torch.tensor(golden["train_features"]))
    labels = torch.tensor(golden["train_labels"])
    head = nn.Linear(*reversed(golden["init_weight"].shape))
    head.load_state_dict({"weight": torch.tensor(golden["init_weight"]), "bias": torch.tensor(golden["init_bias"])})
    optimizer = adamw(head, recipe["lr"], recipe["wd"])
    for epoch in range(recipe["epochs"]):  # one step each: the batch is the whole set
        lr = cosine(epoch, recipe["lr"], recipe["warmup_length"], recipe["epochs"])
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        classification(head(features), labels, label_smoothing=recipe["ls"]).backward()
        nn.utils.clip_grad_norm_(head.parameters(), recipe["gradient_clip_norm"])
        optimizer.step()
        done = "final" if epoch + 1 == recipe["epochs"] else f"epoch{epoch + 1}"
        if f"weight_{done}" in golden:
            np.testing.assert_allclose(head.weight.detach(), golden[f"weight_{done}"], rtol=0, atol=5e-5)
            np.testing.assert_allclose(head.bias.detach(), golden[f"bias_{done}"], rtol=0, atol=5e-5)
    logits = head(functional.normalize(torch.tensor(golden["test_features"]))).detach()
    np.testing.assert_allclose(logits, golden["test_logits"], rtol=0, atol=5e-4)
    hits = logits.argmax(1) == torch.tensor(golden["test_labels"])
    assert hits.double().mean().item() == pytest.approx(float(golden["test_top1"]), abs=1e-6)


def test_the_stored_recipe_is_told_twice_alike():
    golden = np.load(GOLDEN / "linear_probe" / "frozen_encoder_head.npz")
    recipe = json.loads((GOLDEN / "linear_probe" / "hyperparameters.json").read_text())
    names = {
        "lr": "lr",
        "wd": "weight_decay",
        "ls": "label_smoothing",
        "warmup_length": "warmup_steps",
        "epochs": "epochs",
    }
    assert {short: recipe[short] for short in names} == {short: golden[name] for short, name in names.items()}


def test_published_fine_tuning_of_everything():
    golden = load_file(GOLDEN / "linear_probe" / "end_to_end.safetensors")
    recipe = json.loads((GOLDEN / "linear_probe" / "hyperparameters.json").read_text())
    model = published("theta0").train()
    names = {"encoder.tower.": "image_encoder.", "head.": "classification_head."}

    def check(group, tolerance):
        for name, parameter in model.named_parameters():
            start = next(start for start in names if name.startswith(start))
            expected = golden[f"{group}/{names[start]}{name.removeprefix(start)}"]
            torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=tolerance)

    check("init", 0)
    optimizer = adamw(model, recipe["lr"], recipe["wd"])
    for epoch in range(recipe["epochs"]):  # one step each: the batch is the whole set
        optimizer.param_groups[0]["lr"] = cosine(epoch, recipe["lr"], recipe["warmup_length"], recipe["epochs"])
        optimizer.zero_grad()
        logits = model(golden["x_train"].float())
        classification(logits, golden["y_train"], label_smoothing=recipe["ls"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe["gradient_clip_norm"])
        optimizer.step()
        if epoch + 1 in (1, 5):
            check(f"epoch{epoch + 1}", 1e-5 if epoch == 0 else 5e-5)
    check("final", 5e-5)
