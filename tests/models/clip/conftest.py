"""Small random models of CLIP, and their files as OpenAI writes them."""

import warnings

import open_clip
import pytest
import torch

VIT = {"layers": 2, "width": 128, "patch_size": 8, "image_size": 32}
SINGLE = ("ln_", "class_embedding", "positional_embedding", "token_embedding", "logit_scale", "bn", "downsample.1")
"""Parts of names of the tensors that OpenAI leaves in single precision."""


def build(vision=None, quick_gelu=True, vocabulary=60):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        text = open_clip.CLIPTextCfg(context_length=12, vocab_size=vocabulary, width=64, heads=1, layers=2)
        vision = open_clip.CLIPVisionCfg(**{**VIT, **(vision or {})})
        clip = open_clip.CLIP(24, vision, text, quick_gelu=quick_gelu).eval()
        for name, parameter in clip.named_parameters():
            if name != "logit_scale":
                parameter.data += 0.05 * torch.randn(parameter.shape)
    return clip


def halved(state):
    return {
        name: one if one.dtype == torch.int64 or any(part in name for part in SINGLE) else one.half()
        for name, one in state.items()
    }


def rounded(clip):
    own = clip.state_dict()
    clip.load_state_dict({name: one.to(own[name].dtype) for name, one in halved(own).items()})
    return clip


def images(size=32, count=3):
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def ids():
    return torch.tensor([[58, 3, 4, 59] + 8 * [0], [58, 9, 59] + 9 * [0], [58, *range(1, 11), 59]])


@torch.no_grad()
def compare(encoder, clip):
    pixels = images(encoder.preprocess.size)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    expected = clip.encode_image((pixels.float() / 255 - mean) / std)
    torch.testing.assert_close(encoder.encode_image(pixels), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder.encode_text(ids()), clip.encode_text(ids()), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(encoder.logit_scale, clip.logit_scale.exp())


def trace(clip, path):
    size = clip.visual.image_size[0] if isinstance(clip.visual.image_size, tuple) else clip.visual.image_size
    for name, value in (("input_resolution", size), ("context_length", 12), ("vocab_size", 60)):
        vars(clip).pop(name, None)  # open_clip has numbers in their place
        clip.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the files that it wrote stay
        traced = torch.jit.trace(clip, (torch.randn(1, 3, size, size), ids()[:1]), check_trace=False)
        half = halved(dict(traced.named_parameters()))
        for name, parameter in traced.named_parameters():
            parameter.data = half[name].data
        traced.save(path)


@pytest.fixture(scope="session")
def make_clip():
    """A function that builds a small random model, always the same for the same sizes."""
    return build


@pytest.fixture(scope="session")
def half_as_openai():
    """A function that gives linear and convolutional maps half precision, and leaves the rest in single precision."""
    return halved


@pytest.fixture(scope="session")
def as_half_and_back():
    """A function that takes the weights of a model through the precision of OpenAI's files."""
    return rounded


@pytest.fixture(scope="session")
def write_torchscript():
    """A function that writes an archive as OpenAI publishes it: traced, settings as tensors, in half precision."""
    return trace


@pytest.fixture(scope="session")
def assert_equal_features():
    """A function that compares the features of an encoder with those of open_clip's own module."""
    return compare


@pytest.fixture(scope="session")
def pixels():
    """A function that returns uint8 images of a size."""
    return images


@pytest.fixture(scope="session")
def tokens():
    """A function that returns token ids of three texts."""
    return ids


@pytest.fixture(scope="session")
def clip():
    """A model whose weights have the precision of OpenAI's files."""
    return rounded(build())
