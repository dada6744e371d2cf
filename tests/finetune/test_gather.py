import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vlm_finetune.gather import gather_rows
from vlm_finetune.losses import contrastive, contrastive_from_logits
from vlm_finetune.losses.logits import shard_logits

GOLDEN = Path(__file__).parents[1] / "golden" / "losses"
FILES = sorted(GOLDEN.glob("clip_gather_w*.npz"))
MODES = [f"local{local}_gathergrad{gradient}" for local in (0, 1) for gradient in (0, 1)]
WORKER = Path(__file__).with_name("gather_worker.py")
INPUTS = ("image_features", "text_features", "logit_scale")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def assert_close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def leaves_of(golden):
    """Image shards, text shards and scales, one of each per process."""
    world = int(golden["world_size"])
    images, texts = (torch.tensor(golden[name]).chunk(world) for name in INPUTS[:2])
    scale = torch.tensor(golden["logit_scale"])
    return [[leaf.clone().requires_grad_() for leaf in leaves] for leaves in (images, texts, [scale] * world)]


def simulated_loss(mode, rank, images, texts, scale):
    """Loss of one process in one of the four published modes, without processes."""
    with_gradient = mode.endswith("1")

    def everyone(shards, keep_own):
        if with_gradient:
            return torch.cat(shards)
        return torch.cat([shard if keep_own and r == rank else shard.detach() for r, shard in enumerate(shards)])

    if mode.startswith("local0"):
        return contrastive(everyone(images, True), everyone(texts, True), scale), len(images) * len(images[0])
    pairs = shard_logits(
        images[rank], texts[rank], everyone(images, False), everyone(texts, False), scale, rank * len(images[0])
    )
    return contrastive_from_logits(pairs), len(pairs.logits_per_image)


@every_file
@pytest.mark.parametrize("mode", MODES)
def test_published_modes_simulated_in_one_process(file, mode):
    golden = np.load(file)
    images, texts, scales = leaves_of(golden)
    world = len(images)
    computed = [simulated_loss(mode, rank, images, texts, scales[rank]) for rank in range(world)]
    # a differentiable gather sums what all processes ask of a row
    total = sum(loss for loss, _ in computed)
    for rank, (loss, rows) in enumerate(computed):
        shard = torch.autograd.grad(
            total if mode.endswith("1") else loss, [images[rank], texts[rank]], retain_graph=True
        )
        scale = torch.autograd.grad(loss, scales[rank], retain_graph=True)
        stored = f"{mode}/rank{rank}"
        assert_close(loss.item(), golden[f"{stored}/loss"])
        assert (rows, world * len(images[0])) == tuple(golden[f"{stored}/logits_shape"])
        for name, gradient in zip(INPUTS, (*shard, *scale), strict=True):
            assert_close(gradient, golden[f"{stored}/grad_{name}"])


@every_file
def test_only_some_modes_are_proportional_to_the_gradient_of_the_whole_batch(file):
    golden = np.load(file)
    world = int(golden["world_size"])
    leaves = [torch.tensor(golden[name], requires_grad=True) for name in INPUTS]
    contrastive(*leaves).backward()
    whole = leaves[0].grad.numpy()

    def stored(mode):
        return np.concatenate([golden[f"{mode}/rank{rank}/grad_image_features"] for rank in range(world)])

    assert_close(stored("local0_gathergrad0"), whole, 1e-12)
    assert_close(stored("local0_gathergrad1"), world * whole, 1e-12)
    assert_close(stored("local1_gathergrad1"), world * whole, 1e-12)
    biased = stored("local1_gathergrad0")
    assert np.abs(biased / np.linalg.norm(biased) - whole / np.linalg.norm(whole)).max() > 1e-3


def run_processes(file, folder, world):
    """Run `gather_worker.py` in `world` processes and return what each of them wrote."""
    call = [sys.executable, "-W", "error", str(WORKER), str(file), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*call, str(rank), str(world)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [np.load(folder / f"{rank}.npz") for rank in range(world)]


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def runs(request, tmp_path_factory):
    """Golden data, what one process computes, and what each of several computes."""
    golden = np.load(request.param)
    alone = runpy.run_path(str(WORKER))["share_of"](golden, 0, 1)
    return golden, alone, run_processes(request.param, tmp_path_factory.mktemp("gather"), int(golden["world_size"]))


def test_processes_reproduce_the_published_local_loss_with_gradient(runs):
    golden, _, ranks = runs
    for rank, found in enumerate(ranks):
        for name in ("loss", "logits_shape", *(f"grad_{name}" for name in INPUTS)):
            assert_close(found[name], golden[f"local1_gathergrad1/rank{rank}/{name}"])


def test_every_process_sees_the_rows_in_the_order_of_ranks(runs):
    _, _, ranks = runs
    share = len(ranks[0]["gathered"]) // len(ranks)
    expected = np.concatenate([np.arange(2 * share).reshape(share, 2) + 100 * rank for rank in range(len(ranks))])
    for found in ranks:
        np.testing.assert_array_equal(found["gathered"], expected)


def test_averaged_gradients_of_all_losses_are_those_of_one_process(runs):
    _, alone, ranks = runs
    assert_close(np.mean([found["ddp/loss"] for found in ranks]), alone["ddp/loss"], 1e-12)
    parameters = [key for key in alone if key.startswith("ddp/") and key != "ddp/loss"]
    assert len(parameters) == 5
    for found in ranks:
        for key in parameters:
            assert_close(found[key], alone[key], 1e-12)


def test_one_process_gathers_nothing():
    rows = torch.zeros(2, 3)
    assert gather_rows(rows) is rows
