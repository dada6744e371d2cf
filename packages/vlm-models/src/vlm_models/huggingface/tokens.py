"""Tokenizers of transformers: found in a folder, checked against the text tower, asked for ids of one length."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import AutoTokenizer

from vlm_data.files import write_bytes
from vlm_models.errors import CheckpointError, reason
from vlm_models.hub import quiet_transformers
from vlm_models.huggingface.config import Kind
from vlm_models.huggingface.towers import LEGACY_END, end_token, positions, reads_mask, vocabulary_size
from vlm_models.token_ids import check_ids

_FILES = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json")
"""Without one of these transformers makes a tokenizer that knows two tokens, and says nothing."""


@dataclasses.dataclass(frozen=True)
class HfTokens:
    """Texts to ids of one length, the way a text tower was trained.

    Attributes:
        tokenizer: of transformers.
        length: ids per text.
        lower_case: whether text is lowered first.
        rows: of the table of token embeddings.
    """

    tokenizer: Any
    length: int
    lower_case: bool
    rows: int

    @property
    def padding(self) -> int:
        """The id that fills what is left after a text."""
        return self.tokenizer.pad_token_id

    def __call__(self, texts: Sequence[str], spec: str) -> Int64[Tensor, "n length"]:
        """Return ids, padded on the right or cut so that the end token stays.

        Raises:
            CheckpointError: if an id has no row in the table.
        """
        if not texts:
            return torch.zeros(0, self.length, dtype=torch.int64)
        words = [text.lower() for text in texts] if self.lower_case else list(texts)
        found = self.tokenizer(
            words, padding="max_length", truncation=True, max_length=self.length, return_attention_mask=False
        )
        return check_ids(torch.tensor(found["input_ids"], dtype=torch.int64), self.rows, spec)

    def write(self, folder: Path) -> None:
        """Write the files of the tokenizer, each atomically."""
        with TemporaryDirectory() as place, quiet_transformers():
            self.tokenizer.save_pretrained(place)
            for path in sorted(Path(place).iterdir()):
                write_bytes(folder / path.name, path.read_bytes())


def read_tokens(folder: Path, model: Any, kind: Kind, spec: str) -> HfTokens:
    """Read the tokenizer of a text tower from a folder.

    All of these models were trained on text that is padded and cut on the right, whatever a tokenizer for
    generation, as SigLIP 2 has it, does by default.

    Raises:
        CheckpointError: if its files are missing, cannot be read or belong to another text tower.
    """
    _check_files(folder, spec)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, config=model.config, local_files_only=True, trust_remote_code=False
            )
    except ImportError as error:
        raise CheckpointError(
            f"the tokenizer of {spec} needs a package: {reason(error, 400).split('. ')[0]}. "
            "Expected SentencePiece for the tokenizer of SigLIP; `pip install sentencepiece protobuf`."
        ) from error
    except Exception as error:  # damaged files make the tokenizers library raise a bare Exception
        raise CheckpointError(
            f"cannot read the tokenizer of {spec}: {reason(error)}. "
            "Expected the files that were published with the weights; download them again."
        ) from error
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    length = min(kind.text_length or positions(model), positions(model))
    tokens = HfTokens(tokenizer, length, kind.lower_case, vocabulary_size(model))
    _check_ends(tokens, model, spec)
    return tokens


def _check_files(folder: Path, spec: str) -> None:
    found = [name for name in _FILES if (folder / name).is_file()]
    if not found or (found == ["vocab.json"] and not (folder / "merges.txt").is_file()):
        missing = "merges.txt beside vocab.json" if found else f"tokenizer: none of {', '.join(_FILES)}"
        raise CheckpointError(
            f"{spec} has no {missing}. Expected the files of the tokenizer in the folder of the weights; "
            "download them from where the weights are from."
        )


def _check_ends(tokens: HfTokens, model: Any, spec: str) -> None:
    """Refuse a tokenizer whose ids would be read at the wrong position, or whose padding would be read as text."""
    if tokens.tokenizer.pad_token_id is None:
        raise CheckpointError(
            f"the tokenizer of {spec} has no padding token. Expected pad_token in tokenizer_config.json; add it there."
        )
    own = getattr(model.text_model.config, "pad_token_id", None)
    if reads_mask(model) and own != tokens.padding:
        raise CheckpointError(
            f"the tokenizer of {spec} pads with the id {tokens.padding}, but its text tower takes {own} for padding. "
            "Expected the tokenizer the weights were trained with; take it from where they are from."
        )
    end = end_token(model)
    if end is None:
        return
    ids = tokens(["a"], spec)[0]
    is_legacy = end == LEGACY_END and model.config.model_type == "clip"
    fits = int(ids.max()) == tokens.tokenizer.eos_token_id if is_legacy else end in ids.tolist()
    if not fits:
        own = tokens.tokenizer.eos_token_id
        raise CheckpointError(
            f"the tokenizer of {spec} has {'no end token' if own is None else f'the end token {own}'}, but its text "
            f"tower is read at {'the largest id' if is_legacy else f'the id {end}'}. Expected the tokenizer that the "
            "weights were trained with, and the config.json that belongs to both; download them again."
        )
