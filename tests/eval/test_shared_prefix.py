"""Shared blocks: fewer calls, the same bits, whatever the network does around them."""

import copy

import pytest
import torch
from torch import nn

from vlm_data import load_benchmark
from vlm_eval.interpolation.shared_prefix import SharedPrefix
from vlm_eval.sweep import Interpolation
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR
from vlm_models.zero_shot import zero_shot_classifier

ALPHAS = (0.0, 0.3, 0.6, 1.0)


class Counted(nn.Linear):
    """Counts its calls."""

    calls = 0

    def forward(self, value):
        self.calls += 1
        return super().forward(value)


class Network(nn.Module):
    """A stem, four blocks and an end; `between` may meddle with what goes from one block to the next."""

    def __init__(self, between=lambda network, number, value: value, inplace=False):
        super().__init__()
        self.stem, self.end = nn.Linear(3, 5), nn.Linear(5, 2)
        self.blocks = nn.ModuleList(Counted(5, 5) for _ in range(4))
        self.between, self.inplace = between, inplace

    def forward(self, value):
        value = self.stem(value)
        for number, block in enumerate(self.blocks):
            value = block(self.between(self, number, value))
            if self.inplace:
                value.relu_()
        return self.end(value)


def network(**options):
    torch.manual_seed(0)
    return Network(**options).eval()


def outputs(found, changed, images, batches=1):
    """What the network gives with four values of the changed tensors: shared, and without sharing."""
    plain, shared = [], []
    state = found.state_dict()
    start = {name: tensor.clone() for name, tensor in state.items()}
    prefix = SharedPrefix(found, changed)

    def change(alpha):
        for name in changed:
            state[name].copy_(start[name] + alpha)

    with torch.inference_mode():
        for batch in range(batches):
            for alpha in ALPHAS:
                change(alpha)
                plain.append(found(images + batch))
        for block in found.blocks:
            block.calls = 0
        for batch in range(batches):
            with prefix.batch(found) as compute:
                for alpha in ALPHAS:
                    change(alpha)
                    shared.append(compute(images + batch))
    return plain, shared, [block.calls for block in found.blocks]


IMAGES = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("changed", "calls"),
    [
        (["end.weight"], [1, 1, 1, 1]),
        (["blocks.2.weight", "end.weight"], [1, 1, 4, 4]),
        (["blocks.1.bias", "blocks.3.bias"], [1, 4, 4, 4]),
        (["blocks.0.bias"], [4, 4, 4, 4]),
        (["stem.weight"], [4, 4, 4, 4]),
        (["stem.weight", "blocks.3.weight"], [4, 4, 4, 4]),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_the_bits_are_those_of_running_every_block(changed, calls, inplace):
    plain, shared, counted = outputs(network(inplace=inplace), changed, IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(plain, shared, strict=True))
    assert inplace or counted == calls  # what changes its input in place ends a run early


def test_every_batch_is_recorded_anew():
    plain, shared, calls = outputs(network(), ["end.bias"], IMAGES, batches=3)
    assert all(torch.equal(one, other) for one, other in zip(plain, shared, strict=True))
    assert calls == [3] * 4


def test_blocks_that_do_not_follow_each_other_are_not_shared():
    found = network(between=lambda own, number, value: value + (number == 2))
    plain, shared, calls = outputs(found, ["end.bias"], IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(plain, shared, strict=True))
    assert calls == [1, 1, 4, 4]


def test_a_network_that_changes_its_mind_is_run_again_without_sharing():
    """What changed is zero in the first pass, so the blocks seemed to follow each other."""
    found = network(between=lambda own, number, value: value + own.shift if number == 2 and own.shift.any() else value)
    found.register_buffer("shift", torch.zeros(()))
    plain, shared, _ = outputs(found, ["shift"], IMAGES)
    assert not torch.equal(plain[0], plain[1])
    assert all(torch.equal(one, other) for one, other in zip(plain, shared, strict=True))


def test_what_meddles_with_the_stand_in_only_is_run_again_without_sharing():
    """All that the blocks give is positive but the last, so changing it in place changed nothing at first."""
    found = network(inplace=True)
    with torch.no_grad():
        for block in found.blocks:
            block.weight.copy_(torch.eye(5))
            block.bias.fill_(9.0)
        found.blocks[3].bias.fill_(-99.0)
    plain, shared, _ = outputs(found, ["end.bias"], IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(plain, shared, strict=True))


def test_the_network_is_left_as_it_was_also_after_an_error():
    found = network()
    with pytest.raises(ZeroDivisionError), SharedPrefix(found, ["end.bias"]).batch(found):
        raise ZeroDivisionError
    assert all("forward" not in vars(block) for block in found.blocks)


@pytest.fixture(scope="module")
def zero_shot():
    digits = load_benchmark("digits", limit=4)
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


def tuned(model, parts):
    """A copy in which the parameters whose names hold one of these parts moved."""
    found = copy.deepcopy(model)
    found.head_kind = LINEAR
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if any(part in name for part in parts):
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    return found


LAST = "visual.transformer.resblocks.3"
CASES = {
    "head": ["head."],
    "last block": [LAST, "head."],
    "norm after the blocks": ["visual.ln_post"],
    "first block": ["visual.transformer.resblocks.0"],
    "stem": ["visual.conv1", LAST],
    "everything": [""],
}


@pytest.mark.parametrize("case", CASES)
def test_a_sweep_equals_one_evaluation_per_alpha(zero_shot, case):
    fine_tuned = tuned(zero_shot, CASES[case])
    images = torch.randint(0, 256, (9, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sweep = Interpolation(zero_shot, fine_tuned, ALPHAS)
    for batch in (images, images.flip(0), images[:3]):
        found = sweep.logits(batch)
        with torch.inference_mode():
            for index, alpha in enumerate(ALPHAS):
                expected = sweep.model(alpha)(batch)
                exact = {"rtol": 0, "atol": 1e-4 if case == "head" else 0}
                torch.testing.assert_close(found[:, index], expected, **exact)


@pytest.mark.parametrize(("case", "blocks"), [("last block", 3), ("norm after the blocks", 4), ("everything", 0)])
def test_what_is_equal_in_a_tower_is_found(zero_shot, case, blocks):
    assert Interpolation(zero_shot, tuned(zero_shot, CASES[case]), ALPHAS)._prefix.blocks == blocks


def test_a_tower_of_another_library_is_shared_too(zero_shot, tmp_path):
    pytest.importorskip("transformers")
    from vlm_models.export import export_huggingface

    encoder = load_encoder(f"hf:{export_huggingface(zero_shot.encoder, tmp_path / 'model')}")
    start = zero_shot_classifier(encoder, zero_shot.class_names, zero_shot.templates)
    sweep = Interpolation(start, tuned(start, ["layers.3.", "head."]), ALPHAS)
    assert sweep._prefix.blocks == 3
    images = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        for _ in range(2):
            found = sweep.logits(images)
            assert all(run.is_useful for run in sweep._prefix._runs)
            for index, alpha in enumerate(ALPHAS):
                assert torch.equal(found[:, index], sweep.model(alpha)(images))
