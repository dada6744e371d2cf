"""Small random models in the formats of their authors, see `specimens`."""

import sys
import types

import pytest
import torch

from specimens import clip, fusion
from vlm_models import load_encoder, load_model, save_model
from vlm_models.adapters import add_adapters, merged
from vlm_models.export import export_huggingface


@pytest.fixture(scope="session")
def small_fusion_sizes():
    """An ALBEF of two text and two fusion layers."""
    return fusion.SIZES


@pytest.fixture(scope="session")
def fusion_state():
    """The function that returns the tensors of a small random file of ALBEF's or BLIP's authors."""
    return fusion.fusion_state


@pytest.fixture(scope="session")
def fusion_words():
    """The vocabulary of these files, without the two tokens of BLIP."""
    return fusion.WORDS


@pytest.fixture(scope="session")
def fusion_folder(tmp_path_factory):
    """A function that writes such a file with its vocabulary, and returns its model spec."""

    def write(family, state=None, folder=None, words=fusion.WORDS):
        return fusion.write_fusion(family, folder or tmp_path_factory.mktemp(family), state, words)

    return write


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
    """A function that writes a small CLIP as OpenAI saves its state, and returns its model spec."""
    return lambda family: clip.write_clip(tmp_path_factory.mktemp(family), family)


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory):
    """A function that writes a CLIP in Hugging Face layout, and returns its model spec."""
    return lambda family: f"{family}:{export_huggingface(load_encoder('tiny'), tmp_path_factory.mktemp(family))}"


@pytest.fixture
def not_installed(monkeypatch):
    """A function that makes classes pretend to be of a module `a.b.c` of a program that is not installed."""

    def pretend(module, classes):
        parents = module.split(".")
        for length in range(1, len(parents) + 1):
            name = ".".join(parents[:length])
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        for cls in classes:
            monkeypatch.setattr(cls, "__module__", module)
            setattr(sys.modules[module], cls.__name__, cls)

    return pretend


@pytest.fixture
def assert_merging_changes_nothing(tmp_path):
    """A function that adapts an encoder, disturbs the adapters, merges and saves it, and compares `features` of it."""

    @torch.no_grad()
    def check(encoder, features, targets=()):
        keys, before = list(encoder.state_dict()), features(encoder)
        add_adapters(encoder, rank=2, alpha=8, targets=targets)
        torch.testing.assert_close(features(encoder), before, rtol=1e-5, atol=1e-5)
        for number, parameter in enumerate(p for p in encoder.parameters() if p.requires_grad):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
        expected, plain = features(encoder), merged(encoder)
        assert all((a - b).abs().max() > 1e-3 for a, b in zip(before, expected, strict=True))
        torch.testing.assert_close(features(plain), expected, rtol=1e-5, atol=1e-5)
        assert list(plain.state_dict()) == keys
        saved = load_model(f"file:{save_model(plain, tmp_path / 'saved')}")
        torch.testing.assert_close(features(saved), features(plain), rtol=1e-5, atol=1e-6)

    return check
