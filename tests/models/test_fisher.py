from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from specimens.wise import Published, published
from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_data.loading import evaluation_batches
from vlm_models import load_encoder
from vlm_models.fisher import SquaredGradients, fisher_information
from vlm_models.interface import freeze
from vlm_models.weight_space import fisher_merge
from vlm_models.zero_shot import zero_shot_classifier

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"


class PartlyUsed(Published):
    """The golden encoder, with a layer that no output depends on."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(2, 2)


class Deciding(PartlyUsed):
    """The same, but it looks at the values, which `vmap` cannot."""

    def encode_image(self, images):
        return super().encode_image(images) if float(images.sum()) < 1e9 else images


def evaluated(group, kind=PartlyUsed):
    return published(group, kind).eval()


def examples():
    golden = np.load(GOLDEN / "sweep.npz")
    return torch.from_numpy(golden["fisher_x"].astype(np.float32)), torch.from_numpy(golden["fisher_targets"])


def assert_published(found, number):
    names = {"encoder.tower.": "image_encoder.", "head.": "classification_head."}
    weights = load_file(GOLDEN / "weights.safetensors")
    expected = {name: tensor for name, tensor in weights.items() if name.startswith(f"fisher{number}/")}
    assert len(found) == len(expected) == 8
    for name, tensor in found.items():
        start = next(start for start in names if name.startswith(start))
        wanted = expected[f"fisher{number}/{names[start]}{name.removeprefix(start)}"]
        torch.testing.assert_close(tensor, wanted, rtol=0, atol=1e-4 * float(wanted.max()))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", [Published, Deciding])
@pytest.mark.parametrize("memory", [1, 30_000, 2**30])
def test_published_information(number, kind, memory):
    images, labels = examples()
    gradients = SquaredGradients(evaluated(f"theta{number}", kind), memory)
    gradients.add(images[:5], labels[number, :5])
    gradients.add(images[5:], labels[number, 5:])
    found = gradients.mean()
    assert_published(found.information, number)
    assert found.examples == 12
    assert bool(found.slow_because) == (kind is Deciding)
    if found.slow_because:
        assert "item" in found.slow_because


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=6)


def tower(name, hf_folder):
    return load_encoder("tiny" if name == "tiny" else hf_folder("hf"))


@pytest.mark.parametrize("name", ["tiny", "hf"])
def test_towers_of_both_libraries_are_batched_and_equal_one_example_at_a_time(name, hf_folder, digits):
    model = zero_shot_classifier(tower(name, hf_folder), digits.class_names, digits.templates)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = fisher_information(model, digits.train, seed=3)
    assert found.slow_because == "" and found.examples == 6
    draws = torch.rand(6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sums = {}
    (batch,) = evaluation_batches(digits.train, model.encoder.preprocess, 6)
    for image, draw in zip(batch.images.split(1), draws, strict=True):
        model.zero_grad()
        logits = model.eval()(image)
        label = int((logits.double().softmax(1).cumsum(1)[0] <= draw).sum())
        functional.cross_entropy(logits, torch.tensor([label])).backward()
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                sums[key] = sums.get(key, 0) + parameter.grad.square()
    model.zero_grad()
    assert found.information.keys() == sums.keys() and not any("text" in key for key in sums)
    for key, total in sums.items():
        expected = total / 6
        torch.testing.assert_close(
            found.information[key], expected, rtol=1e-3, atol=1e-4 * float(expected.max()) + 1e-12
        )
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_the_result_depends_on_the_seed_and_not_on_batches(digits):
    model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
    start, other = (fisher_information(model, digits.train, seed=seed).information for seed in (0, 1))
    parts = fisher_information(model, digits.train, batch_size=4, memory=1).information
    for name, tensor in start.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=1e-5 * float(tensor.max()) + 1e-12)
    assert any(not torch.allclose(start[name], other[name]) for name in start)


def test_labels_are_drawn_from_the_model(digits):
    """With two classes of equal probability the information about the biases is p (1 - p) = 1/4, whatever is drawn."""
    model = zero_shot_classifier(load_encoder("tiny"), digits.class_names[:2], digits.templates)
    with torch.no_grad():
        model.head.weight.zero_()
    found = fisher_information(model, digits.train).information
    torch.testing.assert_close(found["head.bias"], torch.full((2,), 0.25))


def test_it_merges_models(digits):
    ends = [zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates) for _ in range(2)]
    with torch.no_grad():
        ends[1].head.weight += 1
    fishers = [fisher_information(model, digits.train).information for model in ends]
    merged = fisher_merge(ends[0].state_dict(), ends[1].state_dict(), 0.5, *fishers)
    low, high = (model.head.weight for model in ends)
    assert ((merged["head.weight"] >= low) & (merged["head.weight"] <= high)).all()
    assert not torch.allclose(merged["head.weight"], (low + high) / 2)


def test_frozen_parameters_are_left_out_and_something_must_be_trainable(digits):
    model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
    freeze(model.encoder.parameters())
    assert fisher_information(model, digits.train).information.keys() == {"head.weight", "head.bias"}
    freeze(model.parameters())
    with pytest.raises(CallError, match="no parameter of tiny is trainable"):
        fisher_information(model, digits.train)
