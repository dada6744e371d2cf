"""Tokenizers of models that read text with BERT: WordPiece, with or without a closing [SEP]."""

import functools
import gzip
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from vlm_models.errors import CheckpointError

PADDING, UNKNOWN, FIRST, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
DECODING, MATCHING = "[DEC]", "[ENC]"
"""What BLIP adds: the first token of captions, and of texts that are matched with an image."""
_SHIPPED = Path(__file__).parents[1] / "assets" / "bert" / "vocab.txt.gz"


@functools.cache
def shipped_vocabulary() -> tuple[str, ...]:
    """Return the 30 522 word pieces of the uncased English BERT, which ALBEF and BLIP were trained with.

    Example:
        >>> words = shipped_vocabulary()
        >>> len(words), words[0], words.index("[CLS]"), words[2023]
        (30522, '[PAD]', 101, 'this')
    """
    return _lines(gzip.decompress(_SHIPPED.read_bytes()).decode())


def _lines(text: str) -> tuple[str, ...]:
    """Cut at line ends only: `str.splitlines` would also cut at signs that may be word pieces."""
    return tuple(text.removesuffix("\n").split("\n"))


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Return the word pieces of a `vocab.txt`, one per line.

    Raises:
        CheckpointError: if the file cannot be read, or lacks a special token.
    """
    try:
        words = _lines(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the vocabulary {path}: {error}. Expected a text file with one word piece per line."
        ) from error
    return check_vocabulary(words, path)


def check_vocabulary(words: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Return word pieces that hold the special tokens of BERT.

    Raises:
        CheckpointError: if one is missing.
    """
    missing = [word for word in (PADDING, UNKNOWN, FIRST, SEPARATOR, MASK) if word not in words]
    if missing:
        raise CheckpointError(
            f"{path} is not a vocabulary of BERT: it lacks {', '.join(missing)}. Expected one word piece per line; "
            "take the file that belongs to the weights."
        )
    return words


def with_blip_tokens(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Return a vocabulary with the two tokens of BLIP at its end, unless they are in it.

    Example:
        >>> with_blip_tokens(["[PAD]", "a"])
        ('[PAD]', 'a', '[DEC]', '[ENC]')
    """
    return (*vocabulary, *(word for word in (DECODING, MATCHING) if word not in vocabulary))


class BertTokens:
    """Turns texts into token ids: lower case, accents stripped, words cut into pieces, `[CLS] X` or `[CLS] X [SEP]`.

    ALBEF was trained without the closing [SEP]; a stock BERT tokenizer would change every one of its text features.

    Attributes:
        vocabulary: word pieces in the order of their ids.
        length: ids per text, padded or cut.
        padding_id: id of `[PAD]`.

    Example:
        >>> tokens = BertTokens(shipped_vocabulary(), closing=False, length=5)
        >>> tokens(["A café"])
        tensor([[ 101, 1037, 7668,    0,    0]])
    """

    def __init__(self, vocabulary: Sequence[str], *, closing: bool, length: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.length = length
        self._ids = {word: index for index, word in enumerate(self.vocabulary)}
        self.padding_id = self._ids[PADDING]
        tokenizer = Tokenizer(models.WordPiece(self._ids, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        special = [PADDING, UNKNOWN, FIRST, SEPARATOR, MASK, DECODING, MATCHING]
        tokenizer.add_special_tokens([AddedToken(word, special=True) for word in special if word in self._ids])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{FIRST} $A {SEPARATOR}" if closing else f"{FIRST} $A",
            special_tokens=[(word, self._ids[word]) for word in (FIRST, SEPARATOR)],
        )
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(pad_id=self.padding_id, pad_token=PADDING, length=length)
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return the ids of texts."""
        # One by one: batches start threads of the library, which then complains about every process forked later.
        rows = [self._tokenizer.encode(text).ids for text in texts]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.length)

    def id_of(self, word: str) -> int:
        """Return the id of a word piece.

        Example:
            >>> BertTokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"], closing=True, length=4).id_of("[SEP]")
            3
        """
        return self._ids[word]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out.

        Example:
            >>> BertTokens(shipped_vocabulary(), closing=True, length=9).text([101, 1037, 2630, 3899, 102])
            'a blue dog'
        """
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)
