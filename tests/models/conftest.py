"""Small random models in the formats of their authors, see `specimens`."""

import pytest

from specimens import clip, fusion
from vlm_models import load_encoder
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
