import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vlm_finetune.accumulation import add_micro_batches
from vlm_finetune.devices import accelerator
from vlm_finetune.grad_cache import add_whole_batch, shares_of
from vlm_finetune.pairs import distinct

WORKER = Path(__file__).with_name("grad_cache_worker.py")
HERE = SimpleNamespace(**runpy.run_path(str(WORKER)))
EVERY_TERM = ("carot", {"targets": "soft", "label_smoothing": 0.1})
"""A case with every term."""

every_case = pytest.mark.parametrize("case", HERE.CASES)


def assert_same(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    assert any(np.abs(value).max() > 1e-3 for key, value in expected.items() if key.startswith("gradient/"))
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.fixture(scope="module")
def whole():
    """What one process computes for the whole batch at once, by case."""
    return {
        case: HERE.gradients(accelerator(), HERE.build(*settings), [HERE.pairs()])
        for case, settings in HERE.CASES.items()
    }


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What each of two processes computes for its half."""
    folder = tmp_path_factory.mktemp("grad-cache")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", WORKER, folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return [np.load(folder / f"{rank}.npz") for rank in (0, 1)]


@every_case
@pytest.mark.parametrize("sizes", [(12, 12), (8, 8, 8), (6, 6, 6, 6), (11, 2, 7, 4)], ids=str)
def test_parts_have_the_gradient_of_the_whole_batch(case, sizes, whole):
    found = HERE.gradients(accelerator(), HERE.build(*HERE.CASES[case]), HERE.cut(HERE.pairs(), *sizes))
    assert_same(found, whole[case])


@every_case
@pytest.mark.parametrize("way", ["whole", "parts"])
def test_two_processes_have_the_gradient_of_the_whole_batch(case, way, whole, two_processes):
    ranks = [
        {key.removeprefix(f"{case}/{way}/"): rank[key] for key in rank if key.startswith(f"{case}/{way}/")}
        for rank in two_processes
    ]
    means = {  # a process reports the loss of its own rows; the log shows the mean
        key: value if key.startswith("gradient/") else np.mean([rank[key] for rank in ranks])
        for key, value in ranks[0].items()
    }
    assert_same(means, whole[case])
    for key, value in ranks[0].items():
        if key.startswith("gradient/"):
            np.testing.assert_array_equal(ranks[1][key], value, err_msg=key)


def test_cases_differ_from_each_other_and_from_micro_batches_by_themselves(whole):
    losses = {round(float(found["terms/loss"]), 9) for found in whole.values()}
    assert len(losses) == len(HERE.CASES) == 20
    method, batches = HERE.build(*EVERY_TERM), HERE.cut(HERE.pairs(), 12, 12)
    terms = add_micro_batches(accelerator(), method, batches, 2, 1)
    assert abs(terms["loss"].item() - whole["carot-soft-0.1"]["terms/loss"]) > 0.1


def test_one_part_is_the_plain_way(whole):
    method, runner = HERE.build(*EVERY_TERM), accelerator()
    terms = add_whole_batch(runner, runner.prepare(method), method, [HERE.pairs()], 1)
    assert terms["loss"].item() == pytest.approx(whole["carot-soft-0.1"]["terms/loss"], rel=1e-12)
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            expected = whole["carot-soft-0.1"][f"gradient/{name}"]
            np.testing.assert_allclose(parameter.grad, expected, rtol=1e-9, atol=1e-12)


def test_there_is_no_distillation_at_the_first_step():
    batches = HERE.cut(HERE.pairs(), 12, 12)
    found = HERE.gradients(accelerator(), HERE.build(*EVERY_TERM), batches, step=0)
    assert found["terms/distillation"] == 0
    assert_same(found, HERE.gradients(accelerator(), HERE.build(*EVERY_TERM), [HERE.pairs()], step=0))


def with_dropout():
    """A method whose towers drop half of what their last layers say."""
    method = HERE.build(*EVERY_TERM)
    clip = method.model.encoder.clip
    clip.visual.ln_post = nn.Sequential(clip.visual.ln_post, nn.Dropout(0.5))
    clip.ln_final = nn.Sequential(clip.ln_final, nn.Dropout(0.5))
    return method.train()


def test_both_passes_drop_the_same():
    batches = HERE.cut(HERE.pairs(), 10, 8, 6)
    torch.manual_seed(11)
    found = HERE.gradients(accelerator(), with_dropout(), batches)
    after = torch.rand(1)

    torch.manual_seed(11)  # all features with their graph at once, drawn in the same order
    method, (shares, rows) = with_dropout(), shares_of(batches)
    parts = [
        method.features(share.images, share.texts) | method.teacher_features(share.images, share.texts, 1)
        for share in shares
    ]
    features = {name: torch.cat([one[name] for one in parts]) for name in parts[0]}
    method.compare(features, rows, HERE.pairs().labels)["loss"].backward()
    expected = {f"gradient/{name}": p.grad.numpy() for name, p in method.named_parameters() if p.requires_grad}
    assert_same({key: value for key, value in found.items() if key in expected}, expected)
    assert torch.equal(after, torch.rand(1))  # and the step leaves the generator where one pass leaves it

    torch.manual_seed(12)
    other = HERE.gradients(accelerator(), with_dropout(), batches)
    assert any(np.abs(other[key] - value).max() > 1e-3 for key, value in expected.items())


def test_the_scale_of_half_precision_reaches_every_gradient(whole):
    runner = accelerator()
    runner.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    found = HERE.gradients(runner, HERE.build(*EVERY_TERM), HERE.cut(HERE.pairs(), 8, 8, 8))
    unscaled = {key: value / 1024 if key.startswith("gradient/") else value for key, value in found.items()}
    assert_same(unscaled, whole["carot-soft-0.1"])


def test_running_statistics_count_every_image_once():
    class Normed(nn.Module):
        """An image tower with batch normalisation."""

        def __init__(self, tower):
            super().__init__()
            self.tower, self.norm = tower, nn.BatchNorm1d(12)

        def forward(self, images):
            return self.norm(self.tower(images))

    def build():
        method = HERE.build("flyp", {})
        method.model.encoder.clip.visual = Normed(method.model.encoder.clip.visual).double()
        return method.train()

    cached, plain = build(), build()
    batches = HERE.cut(HERE.pairs(), 12, 12)
    runner = accelerator()
    add_whole_batch(runner, runner.prepare(cached), cached, batches, 1)
    for batch in batches:
        texts, _ = distinct(batch.captions)
        plain.features(batch.images, texts)
    one, other = (method.model.encoder.clip.visual.norm for method in (cached, plain))
    assert one.num_batches_tracked == 2
    torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-12, atol=1e-12)


class Held:
    """Counts the bytes that graphs keep for their backward pass; parameters are there anyway."""

    def __init__(self, method):
        self.live = self.peak = 0
        self.parameters = {parameter.data_ptr() for parameter in method.parameters()}

    def pack(self, tensor):
        counted = 0 if tensor.data_ptr() in self.parameters else tensor.nbytes
        self.live += counted
        self.peak = max(self.peak, self.live)
        return _Saved(self, tensor.detach(), counted)  # an output that is saved would keep its own graph alive


class _Saved:
    def __init__(self, held, tensor, counted):
        self.held, self.tensor, self.counted = held, tensor, counted

    def __del__(self):
        self.held.live -= self.counted


def peak_of(parts):
    """Most bytes held at a time by graphs, for micro-batches of 4 pairs: in parts, and as one batch."""
    peaks = []
    for sizes in ((4,) * parts, (4 * parts,)):
        method = HERE.build(*EVERY_TERM)
        held = Held(method)
        batches = HERE.cut(HERE.pairs(4 * parts, distinct=True), *sizes)
        with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda saved: saved.tensor):
            HERE.gradients(accelerator(), method, batches)
        assert held.live == 0
        peaks.append(held.peak)
    return peaks


def test_graphs_need_no_more_memory_for_more_parts():
    few, many = peak_of(2), peak_of(16)
    assert many[1] > 7 * few[1]  # one batch of 64 pairs against one of 8
    assert many[0] - few[0] < 10 * 64 * 64 * 8  # bytes: some matrices of 64 x 64 logits, and nothing else
    assert many[0] < many[1] / 5
