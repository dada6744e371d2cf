"""Loading published ALBEF and BLIP files with the tokenizer that belongs to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError
from vlm_models.fusion.architecture import FusionSizes, sizes_of
from vlm_models.fusion.encoder import VOCABULARY_FILE, FusionEncoder, is_shipped
from vlm_models.fusion.recognition import check_contents
from vlm_models.fusion.sizes import read_sizes
from vlm_models.fusion.tokens import BertTokens, read_vocabulary, shipped_vocabulary, with_blip_tokens
from vlm_models.fusion.weights import POSITIONS, RESIZE_RULE, grid_side, load_published
from vlm_models.weight_files import read_weight_file

SHIPPED = "bert-uncased"
"""What `model.json` calls the shipped vocabulary."""


def load_fusion(family: str, source: str, options: Mapping[str, str]) -> FusionEncoder:
    """Load a file of ALBEF's or BLIP's authors.

    Sizes are read off the tensors. Attention heads cannot be: they are 12 and 16 for the published widths 768 and
    1024; of other widths the options `vision_heads` and `text_heads`, or a `config.json` with these names beside the
    file, must tell. A `vocab.txt` beside the file replaces the vocabulary of BERT.

    Args:
        family: `albef` or `blip`.
        source: path of the file.
        options: values of `vlm_models.fusion.sizes.OPTIONS`.

    Raises:
        CallError: if there is no such file, it belongs to another family, or an option is impossible.
        CheckpointError: if it is damaged, lacks a part, or does not fit its tokenizer.
    """
    if not source:
        raise CallError(f"the model spec {family}: lacks its file; write {family}:FILE.pth.")
    tensors = read_weight_file(source).tensors
    check_contents(tensors, family, source)
    sizes = read_sizes(tensors, family, source, options)
    tokenizer = fusion_tokenizer(family, sizes, vocabulary_beside(source), source)
    architecture = fusion_architecture(family, tokenizer)
    learned = grid_side(tensors[POSITIONS]) * sizes.patch_size
    if learned != sizes.image_size:
        architecture["resize"] = {"from": learned, "to": sizes.image_size, "rule": RESIZE_RULE}
    encoder = FusionEncoder(sizes, tokenizer, spec=f"{family}:{source}", architecture=architecture)
    load_published(encoder, tensors, family, source)
    return encoder


def build_fusion(family: str, architecture: Mapping[str, Any], directory: Path | None) -> FusionEncoder:
    """Build the modules that `model.json` describes, weights to be loaded afterwards.

    Args:
        family: `albef` or `blip`.
        architecture: of an encoder that was saved.
        directory: where `FusionEncoder.write_files` may have left a vocabulary.

    Raises:
        CheckpointError: if that vocabulary is missing or does not fit.
    """
    sizes = sizes_of(architecture["sizes"])
    is_own = architecture["vocabulary"] != SHIPPED
    words = read_vocabulary(Path(directory or ".") / VOCABULARY_FILE) if is_own else shipped_vocabulary()
    tokenizer = fusion_tokenizer(family, sizes, words, str(directory))
    return FusionEncoder(sizes, tokenizer, spec=f"{family}:", architecture=architecture)


def fusion_tokenizer(family: str, sizes: FusionSizes, vocabulary: Sequence[str], source: str) -> BertTokens:
    """Return the tokenizer of a model.

    Args:
        family: `albef` reads `[CLS] X`, `blip` reads `[CLS] X [SEP]` and has two more tokens.
        sizes: of the model.
        vocabulary: word pieces; those of BLIP are added where they are missing.
        source: of the weights, for messages.

    Raises:
        CheckpointError: if the vocabulary is not as long as the table of embeddings.
    """
    words = with_blip_tokens(vocabulary) if family == "blip" else tuple(vocabulary)
    if len(words) != sizes.vocabulary_size:
        whose = " of BERT" if is_shipped(words) else ""
        raise CheckpointError(
            f"the tokenizer of {source} has {len(words)} word pieces{whose}, but its table of embeddings has "
            f"{sizes.vocabulary_size} rows. Expected the vocabulary the weights were trained with; "
            f"put it beside them as {VOCABULARY_FILE}, one word piece per line."
        )
    return BertTokens(words, closing=family == "blip", length=sizes.text_length)


def vocabulary_beside(source: str) -> tuple[str, ...]:
    """Return the word pieces of the `vocab.txt` in the folder of a weight file, those of BERT if there is none.

    Raises:
        CheckpointError: if it is no vocabulary.
    """
    path = Path(source).parent / VOCABULARY_FILE
    return read_vocabulary(path) if path.is_file() else shipped_vocabulary()


def fusion_architecture(family: str, tokenizer: BertTokens) -> dict[str, Any]:
    """Return the entries of `model.json` beside the sizes."""
    return {"family": family, "vocabulary": SHIPPED if is_shipped(tokenizer.vocabulary) else VOCABULARY_FILE}
