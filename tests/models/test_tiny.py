"""The shipped model: its files are pinned, its tokenizer has the right ids, and it reads digits and colours."""

import gzip
import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file

from vlm_data import load_benchmark
from vlm_data.dataset import ArrayDataset
from vlm_models import tiny
from vlm_models.pretraining.caption_grammar import grammar_words
from vlm_models.pretraining.checks import ink_naming_accuracy, zero_shot_accuracy
from vlm_models.pretraining.merges import learn_merges

CONTENT_HASHES = {
    tiny.CONFIG_FILE: "953deef08d2bea72",
    tiny.MERGES_FILE: "fc92001edc6e1038",
    tiny.WEIGHTS_FILE: "69f8234c617ef6ad",
}
FIRST_WORD = 512  # 256 bytes, each inside and at the end of a word


@pytest.fixture(scope="module")
def tokenizer() -> SimpleTokenizer:
    return tiny.build_tokenizer()


@pytest.fixture(scope="module")
def clip() -> open_clip.CLIP:
    return tiny.build_tiny()[0]


def merges_text() -> str:
    return gzip.decompress(tiny.shipped_file(tiny.MERGES_FILE).read_bytes()).decode()


@pytest.mark.parametrize("name", CONTENT_HASHES)
def test_shipped_files_are_pinned(name: str):
    """Whoever replaces the weights has to say so here, and to measure again what the documentation claims."""
    data = tiny.shipped_file(name).read_bytes()
    content = gzip.decompress(data) if name.endswith(".gz") else data
    assert hashlib.sha256(content).hexdigest()[:16] == CONTENT_HASHES[name]


def test_weights_are_small_half_precision_and_finite():
    path = tiny.shipped_file(tiny.WEIGHTS_FILE)
    assert path.stat().st_size < 1e6
    stored = load_file(path)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    given = tiny.shipped_weights()
    assert all(torch.equal(given[name], tensor.float()) for name, tensor in stored.items())
    assert all(tensor.isfinite().all() for tensor in given.values())


def test_architecture_is_the_documented_one(clip: open_clip.CLIP):
    config = tiny.shipped_config()
    assert config == tiny.architecture(config["text_cfg"]["vocab_size"])
    assert clip.visual.grid_size == (4, 4)
    assert sum(p.numel() for p in clip.visual.parameters()) == 217_728
    assert sum(p.numel() for p in clip.parameters()) == 362_625 - 64 * (616 - clip.vocab_size)


def test_merges_file_is_what_the_grammar_gives():
    lines = merges_text().split("\n")
    assert [tuple(line.split()) for line in lines[1:]] == learn_merges(grammar_words())


def test_vocabulary_fits_the_table_and_ends_with_the_special_tokens(clip: open_clip.CLIP, tokenizer: SimpleTokenizer):
    """An empty last line in the merges file would shift the special ids out of the table."""
    assert tokenizer.vocab_size == clip.vocab_size == clip.get_parameter("token_embedding.weight").shape[0]
    assert tokenizer.sot_token_id == clip.vocab_size - 2
    assert tokenizer.eot_token_id == clip.vocab_size - 1  # the text tower pools at the largest id


def test_every_word_of_the_grammar_is_one_token(tokenizer: SimpleTokenizer):
    ids = [tokenizer.encode(word) for word in grammar_words()]
    assert {len(tokens) for tokens in ids} == {1}
    long = [tokens[0] for word, tokens in zip(grammar_words(), ids, strict=True) if len(word) > 1]
    assert len(set(long)) == len(long)
    assert min(long) >= FIRST_WORD


def test_token_ids_are_pinned(tokenizer: SimpleTokenizer):
    expected = [606, 320, 589, 584, 600, 583, 597, 607]
    assert tokenizer("A photo of the number seven").tolist() == [expected + [0] * (20 - len(expected))]


def test_every_prompt_of_the_benchmark_is_made_of_whole_words(tokenizer: SimpleTokenizer):
    digits = load_benchmark("digits")
    for template in digits.templates:
        for name in digits.class_names:
            prompt = template.replace("{c}", name)
            assert len(tokenizer.encode(prompt)) == len(prompt.split())


def test_an_unknown_word_falls_apart_and_a_long_text_is_cut(tokenizer: SimpleTokenizer):
    assert len(tokenizer.encode("sketch")) == 6
    ids = tokenizer("the number " * 20)[0]
    assert len(ids) == 20
    assert ids[-1] == tokenizer.eot_token_id


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = (tiny.build_clip(tiny.shipped_config(), seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.visual.proj, second.visual.proj)
    assert not torch.equal(first.visual.proj, other.visual.proj)


@pytest.mark.parametrize(("split", "least"), [("val", 0.66), ("test", 0.62)])
def test_it_reads_handwriting_zero_shot(clip: open_clip.CLIP, tokenizer: SimpleTokenizer, split: str, least: float):
    written = getattr(load_benchmark("digits"), split)
    accuracy = zero_shot_accuracy(clip, tokenizer, *pixels_and_labels(written))
    assert least < accuracy < 0.85  # better than that would leave fine-tuning nothing to show


def test_it_reads_fonts_it_has_not_seen(clip: open_clip.CLIP, tokenizer: SimpleTokenizer):
    render = next(shift for shift in load_benchmark("digits").shifts if shift.name == "render").datasets[0]
    assert isinstance(render, ArrayDataset)
    assert zero_shot_accuracy(clip, tokenizer, *pixels_and_labels(render)) > 0.8


def test_it_names_the_colour_of_the_ink(clip: open_clip.CLIP, tokenizer: SimpleTokenizer):
    assert ink_naming_accuracy(clip, tokenizer, 300, np.random.default_rng(1)) > 0.8


def pixels_and_labels(dataset: ArrayDataset) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(dataset.images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(dataset.labels)


def test_config_is_readable_json():
    assert json.loads(tiny.shipped_file(tiny.CONFIG_FILE).read_text()) == tiny.shipped_config()
