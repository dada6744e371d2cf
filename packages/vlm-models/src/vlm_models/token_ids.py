"""Whether a tokenizer and a text tower belong together."""

from jaxtyping import Int64
from torch import Tensor

from vlm_models.errors import CheckpointError


def check_ids(tokens: Int64[Tensor, "n length"], vocabulary_size: int | None, spec: str) -> Int64[Tensor, "n length"]:
    """Return token ids that all have a row in the embedding table.

    Args:
        tokens: ids of a tokenizer.
        vocabulary_size: rows of the table; None if unknown.
        spec: of the model, for the message.

    Raises:
        CheckpointError: if an id has no row: reading beyond the table ends a program on a GPU without a word.
    """
    largest = int(tokens.max()) if tokens.numel() else 0
    if vocabulary_size is not None and largest >= vocabulary_size:
        raise CheckpointError(
            f"the tokenizer of {spec} gives the id {largest}, but its table of token embeddings has {vocabulary_size} "
            "rows. Expected the tokenizer the weights were trained with; take it from where they are from."
        )
    return tokens
