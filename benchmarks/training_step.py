"""A training step of FLYP and of CaRot in our loop, against the loop structure that was published with them.

The plain side is written here, from the papers and descriptions of the programs: every caption of a batch is tokenised
and goes through the text tower, the teacher encodes all images and captions in every step, AdamW and the teacher move
tensor by tensor. Losses, batches and learning rates are the same. What is measured is processor time of one thread, so
that a machine with other work on it gives nearly the numbers of an idle one.
"""

import copy
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from batches_in_memory import CLASSES, TEMPLATES, BatchesInMemory, random_batches
from torch import Tensor
from torch.nn import functional

from vlm_data.loading import Batch
from vlm_finetune.devices import accelerator, processes
from vlm_finetune.loop import Loop
from vlm_finetune.recipe import METHODS, TrainingSettings
from vlm_finetune.resume import Position, ResumePoints
from vlm_finetune.run_log import RunLog, read_log
from vlm_finetune.schedule import cosine
from vlm_models import load_encoder
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder
from vlm_models.zero_shot import zero_shot_classifier

CASES = (("tiny", 64, 30, 5), ("openclip:ViT-B-32", 4, 3, 2))
"""Model, pairs per batch, steps, rounds."""
COEFFICIENTS = {"flyp": (0.0, 0.0, 0.0), "carot": (0.2, 0.05, 1.5)}
"""Of orthogonality, cross norm and distillation, as published."""
TEACHER_EVERY = 500


def our_steps(
    model: Classifier, name: str, batches: list[Batch], settings: TrainingSettings
) -> tuple[float, list[float]]:
    """Train with the loop of `vlm-finetune`; return seconds and losses."""
    module, runner, position = METHODS.load(name), accelerator(), Position()
    method = module.build(model, module.Config(), len(batches))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        loop = Loop(method, BatchesInMemory(batches), settings, runner, position, RunLog(log), lambda _: None)
        resume = ResumePoints(Path(folder) / "resume", runner, position, [])
        resume.save = lambda: None  # a resume point is written once per epoch, not per step
        start = time.process_time()
        loop.train(resume)
        seconds = time.process_time() - start
        return seconds, [event["loss"] for event in read_log(log) if event["event"] == "step"]


def plain_steps(
    model: Classifier, name: str, batches: list[Batch], settings: TrainingSettings
) -> tuple[float, list[float]]:
    """Train as published; return seconds and losses."""
    student, losses, total = model.encoder.train(), [], len(batches)
    orthogonality, cross_norm, distillation = COEFFICIENTS[name]
    teacher = copy.deepcopy(student) if distillation else None
    optimizer = torch.optim.AdamW(student.parameters(), weight_decay=settings.weight_decay)
    start = time.process_time()
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = cosine(step, settings.lr, settings.warmup_steps(total), total)
        tokens = student.tokenize(batch.captions)
        logits = plain_logits(student, batch, tokens)
        rows = torch.arange(len(logits))
        loss = (functional.cross_entropy(logits, rows) + functional.cross_entropy(logits.T, rows)) / 2
        if teacher is not None:
            visual, text = student.projections()
            loss = loss + orthogonality * (visual.T @ visual - torch.eye(visual.shape[1])).norm()
            loss = loss + cross_norm * (visual @ text.T).norm()
            if step:
                with torch.no_grad():
                    targets = plain_logits(teacher, batch, tokens)
                loss = loss + distillation * functional.cross_entropy(logits, targets.softmax(dim=1))
                loss = loss + distillation * functional.cross_entropy(logits.T, targets.T.softmax(dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if teacher is not None and step % TEACHER_EVERY == 0:
            with torch.no_grad():
                for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                    old.copy_(0.05 * old + 0.95 * new)
        losses.append(loss.item())
    return time.process_time() - start, losses


def plain_logits(encoder: DualEncoder, batch: Batch, tokens: Tensor) -> Tensor:
    """Return s I T^T, every row encoded."""
    images = functional.normalize(encoder.encode_image(batch.images), dim=-1)
    texts = functional.normalize(encoder.encode_text(tokens), dim=-1)
    return encoder.logit_scale * images @ texts.T


def compare(spec: str, rows: int, steps: int, rounds: int, name: str, own_captions: bool) -> None:
    """Time both sides in turn and print what they need per step."""
    settings = TrainingSettings(epochs=1, batch_size=rows, lr=1e-5, warmup=1)
    start = zero_shot_classifier(load_encoder(spec), CLASSES, TEMPLATES)
    batches = random_batches(start.encoder.preprocess.size, rows, steps, own_captions)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    ends: dict[str, Classifier] = {}
    losses: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side, train in (("ours", our_steps), ("plain", plain_steps)):
            ends[side] = copy.deepcopy(start)
            seconds, losses[side] = train(ends[side], name, batches, settings)
            times[side].append(seconds / steps)
    np.testing.assert_allclose(losses["ours"], losses["plain"], rtol=1e-4, atol=1e-4)
    moved, apart = distance(ends["plain"], start), distance(ends["plain"], ends["ours"])
    assert apart < 0.01 * moved, f"the sides are {apart:.1e} apart after a way of {moved:.1e}"
    ours, plain = (1e3 * statistics.median(times[side]) for side in ("ours", "plain"))
    best = min(times["plain"]) / min(times["ours"])
    captions = "a caption per image" if own_captions else "40 captions"
    print(
        f"{spec}, {name}, {rows} pairs, {captions}: ours {ours:.1f} ms per step, plain {plain:.1f} ms, "
        f"ratio of medians {plain / ours:.2f}, of minima {best:.2f} (weights {apart / moved:.0e} of their way apart)",
        flush=True,
    )


def distance(a: Classifier, b: Classifier) -> float:
    """Return the Euclidean distance of two encoders."""
    pairs = zip(a.encoder.parameters(), b.encoder.parameters(), strict=True)
    return sum((one - other).double().square().sum().item() for one, other in pairs) ** 0.5


def main() -> None:
    """Compare both methods on all cases."""
    torch.set_num_threads(1)
    with processes("cpu"):
        for spec, rows, steps, rounds in CASES:
            for name in COEFFICIENTS:
                for own_captions in (False, True):
                    compare(spec, rows, steps, rounds, name, own_captions)


if __name__ == "__main__":
    main()
