import copy
import gzip
import hashlib
import json
from pathlib import Path

import pytest
import torch

from vlm_models.errors import CheckpointError
from vlm_models.fusion.tokens import BertTokens, read_vocabulary, shipped_vocabulary, with_blip_tokens

GOLDEN = Path(__file__).parents[1] / "golden" / "fusion" / "tokenizer"
EXPECTED = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
WORDS = read_vocabulary(GOLDEN / "vocab.txt")


@pytest.mark.parametrize("case", ["albef", "albef_longest12", "blip"])
def test_ids_are_those_of_the_authors(case):
    words = with_blip_tokens(WORDS) if case == "blip" else WORDS
    tokens = BertTokens(words, closing=case == "blip", length=EXPECTED[case]["max_length"])
    found = tokens(EXPECTED["texts"])
    assert found.dtype == torch.int64
    assert found.tolist() == EXPECTED[case]["input_ids"]
    assert found.ne(tokens.padding_id).long().tolist() == EXPECTED[case]["attention_mask"]


def test_blip_has_two_more_tokens_at_the_end():
    tokens = BertTokens(with_blip_tokens(WORDS), closing=True, length=5)
    expected = EXPECTED["blip"]
    assert tokens.id_of("[DEC]") == expected["dec_token_id"]
    assert tokens.id_of("[ENC]") == expected["enc_token_id"]
    assert len(tokens.vocabulary) == expected["vocab_size"]
    assert with_blip_tokens(with_blip_tokens(WORDS)) == with_blip_tokens(WORDS)


def test_the_shipped_vocabulary_is_that_of_bert():
    words = shipped_vocabulary()
    data = "".join(f"{word}\n" for word in words).encode()
    assert hashlib.sha256(data).hexdigest() == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert [words.index(word) for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 100, 101, 102, 103]
    assert len(words) == len(set(words)) == 30522


def test_known_ids_of_bert():
    texts = ["a photo of a dog", "Café, naïve!", "unaffable", "日本", "\u00adzero\u200dwidth\ttab"]
    albef = BertTokens(shipped_vocabulary(), closing=False, length=9)(texts)
    assert albef[0].tolist() == [101, 1037, 6302, 1997, 1037, 3899, 0, 0, 0]
    words = shipped_vocabulary()
    assert [words[index] for index in albef[1]][1:5] == ["cafe", ",", "naive", "!"]
    assert [words[index] for index in albef[2]][1:4] == ["una", "##ffa", "##ble"]
    assert [words[index] for index in albef[3]][1:3] == ["日", "本"]
    assert [words[index] for index in albef[4]][1:6] == ["zero", "##wi", "##dt", "##h", "tab"]
    blip = BertTokens(with_blip_tokens(words), closing=True, length=9)(texts)
    assert blip[0].tolist() == [101, 1037, 6302, 1997, 1037, 3899, 102, 0, 0]


def test_long_texts_keep_their_frame():
    words = with_blip_tokens(WORDS)
    text = "a photo of the dog cat bird"
    assert BertTokens(words, closing=True, length=4)([text]).tolist() == [[1, 5, 6, 2]]
    assert BertTokens(words, closing=False, length=4)([text]).tolist() == [[1, 5, 6, 7]]


def test_no_texts_and_empty_texts():
    tokens = BertTokens(WORDS, closing=False, length=4)
    assert tokens([]).shape == (0, 4)
    assert tokens(["", " \n"]).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


def test_text_of_ids():
    tokens = BertTokens(with_blip_tokens(WORDS), closing=True, length=9)
    assert tokens.text(tokens(["a photo of the goldfinch"])[0].tolist()) == "a photo of the goldfinch"


def test_a_copy_gives_the_same_ids():
    tokens = BertTokens(WORDS, closing=False, length=12)
    assert torch.equal(copy.deepcopy(tokens)(EXPECTED["texts"]), tokens(EXPECTED["texts"]))


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_vocabulary_file(tmp_path, end):
    words = [*WORDS, "\u2028", "x\x85y"]
    (tmp_path / "vocab.txt").write_bytes(("\n".join(words) + end).encode())
    assert read_vocabulary(tmp_path / "vocab.txt") == tuple(words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the vocabulary"),
        (gzip.compress(b"[PAD]", mtime=0), "cannot read the vocabulary"),
        (b"", r"lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[MASK]\nword\n", r"is not a vocabulary of BERT: it lacks \[SEP\]\. Expected one word"),
    ],
)
def test_what_is_no_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(path)
