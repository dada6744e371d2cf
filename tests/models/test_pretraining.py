"""The recipe of the shipped weights: true captions, a growing difficulty, and a run that can be repeated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from safetensors.torch import load_file
from torch.nn import functional

from vlm_data.digits.colours import COLOUR_NAMES, PALETTE, luminance
from vlm_models import tiny
from vlm_models.pretrain_tiny import pretrain
from vlm_models.pretraining.caption_grammar import DIGIT_WORDS, draw_captions, grammar_words
from vlm_models.pretraining.images import CURRICULUM, draw_chunk
from vlm_models.pretraining.merges import learn_merges, write_merges
from vlm_models.pretraining.stages import learning_rate_factor, symmetric_loss


def test_captions_tell_the_truth_in_the_stated_shares():
    n, rng = 4000, np.random.default_rng(0)
    digits, ink = rng.integers(0, 10, n), rng.integers(0, 5, n)
    ground = ink + 5
    named_ink = named_ground = as_word = 0
    for caption, digit, i, g in zip(draw_captions(digits, ink, ground, rng), digits, ink, ground, strict=True):
        words = caption.split()
        assert [w for w in words if w in DIGIT_WORDS or w.isdigit()] in ([DIGIT_WORDS[digit]], [str(digit)])
        named = [w for w in words if w in COLOUR_NAMES]
        assert named == [COLOUR_NAMES[i], COLOUR_NAMES[g]][: len(named)]
        assert set(words) <= {*grammar_words(), *"0123456789"}
        named_ink, named_ground = named_ink + (len(named) >= 1), named_ground + (len(named) == 2)
        as_word += DIGIT_WORDS[digit] in words
    assert named_ink / n == pytest.approx(0.5, abs=0.03)
    assert named_ground / n == pytest.approx(0.4, abs=0.03)
    assert as_word / n == pytest.approx(0.7, abs=0.03)


def test_the_longest_caption_fits_the_context():
    tokenizer = tiny.build_tokenizer()
    captions = draw_chunk(3000, CURRICULUM[-1], np.random.default_rng(0)).captions
    assert max(len(tokenizer.encode(caption)) for caption in captions) + 2 <= tiny.CONTEXT_LENGTH


@given(st.lists(st.text("abcde", min_size=1, max_size=6), min_size=1, max_size=8, unique=True))
def test_merges_make_every_word_one_token(words: list[str]):
    merges = learn_merges(words)
    assert len(set(merges)) == len(merges)
    made = {"".join(pair) for pair in merges}
    assert {word + "</w>" for word in words if len(word) > 1} <= made


def test_merges_file_is_read_back_by_the_tokenizer(tmp_path: Path):
    words = ["one", "none", "on"]
    write_merges(learn_merges(words), tmp_path / "m.gz")
    tokenizer = tiny.build_tokenizer(tmp_path / "m.gz")
    assert [len(tokenizer.encode(word)) for word in words] == [1, 1, 1]
    assert tokenizer.vocab_size == 512 + len(learn_merges(words)) + 2


def test_chunks_are_labelled_and_get_harder():
    easy, _, hard = (draw_chunk(500, level, np.random.default_rng(0)) for level in CURRICULUM)
    light = luminance(PALETTE)
    assert (light[easy.ink] > light[easy.ground]).all()
    assert 0.5 < (light[hard.ink] > light[hard.ground]).mean() < 0.9
    assert sum(level.share for level in CURRICULUM) == 1
    corner = easy.images[:, :, 0, 0].float() / 255
    assert (corner - torch.from_numpy(PALETTE)[easy.ground]).abs().mean() < 0.1


def test_chunks_depend_on_their_generator_alone():
    first, again, other = (draw_chunk(50, CURRICULUM[-1], np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert first.captions == again.captions
    assert not torch.equal(first.images, other.images)


def test_learning_rate_rises_and_falls():
    factors = [learning_rate_factor(step, 1000.0) for step in range(1001)]
    assert np.argmax(factors) in (38, 39, 40)
    assert factors[39] == pytest.approx(1, abs=0.01)
    assert factors[-1] == pytest.approx(0.05)


def test_symmetric_loss_is_that_of_open_clip():
    images, texts = (functional.normalize(torch.randn(8, 4, generator=generator()), dim=1) for _ in range(2))
    scale = torch.tensor(20.0)
    assert torch.allclose(symmetric_loss(images, texts, scale), ClipLoss()(images, texts, scale))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_short_pretraining_can_be_repeated_and_learns(tmp_path: Path):
    lines: list[str] = []
    scores = pretrain(tmp_path / "a", seed=1, images=4000, text_steps=100, report=lines.append)
    pretrain(tmp_path / "b", seed=1, images=4000, text_steps=100, report=lines.append)
    assert all(0 <= score <= 1 for score in scores.values())
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("image tower")]
    assert losses[0] < 5 * np.log(10)
    for name in (tiny.CONFIG_FILE, tiny.MERGES_FILE, tiny.WEIGHTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    trained = load_file(tmp_path / "a" / tiny.WEIGHTS_FILE)
    start = tiny.build_clip(tiny.shipped_config(), 1).state_dict()
    assert trained.keys() == start.keys() == tiny.shipped_weights().keys()
    assert all(not torch.equal(trained[name].float(), start[name]) for name in trained)
