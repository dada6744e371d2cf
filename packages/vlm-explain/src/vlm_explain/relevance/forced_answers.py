"""Answers that are given, not generated: token ids behind those of the prompts."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from vlm_data.errors import CallError


def padded_answers(
    answers: Sequence[Sequence[int]], ids: Int64[Tensor, "n prompt"]
) -> tuple[Int64[Tensor, "n length"], Bool[Tensor, "n length"]]:
    """Return answers as one tensor on the device of the prompts, padded on the right, and what of it is no padding.

    Raises:
        CallError: if there is not one answer of at least one token for every prompt.

    Example:
        >>> padded_answers([[5], [6, 7]], torch.zeros(2, 3, dtype=torch.int64))[0].tolist()
        [[5, 0], [6, 7]]
    """
    if len(answers) != len(ids) or not all(len(answer) for answer in answers):
        raise CallError(
            f"there are {len(answers)} answers of {[len(answer) for answer in answers]} tokens for {len(ids)} prompts. "
            "Expected one for each, of at least one token."
        )
    rows = [torch.tensor(list(answer), dtype=torch.int64, device=ids.device) for answer in answers]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=ids.device)
    return tokens, torch.arange(tokens.shape[1], device=ids.device) < lengths[:, None]


def continued(
    inputs: Mapping[str, Tensor], tokens: Int64[Tensor, "n length"], known: Bool[Tensor, "n length"]
) -> dict[str, Tensor]:
    """Return the inputs of a model with the answers behind the prompts.

    What else runs along with the ids, such as the kind of every token, says 0 there, which means text.

    Args:
        inputs: `input_ids`, `attention_mask` and whatever else the processor returned.
        tokens: of the answers.
        known: which of them are no padding.

    Raises:
        CallError: if prompts are padded on the right.

    Example:
        >>> ids = torch.tensor([[3, 4]])
        >>> continued({"input_ids": ids}, torch.tensor([[5]]), torch.tensor([[True]]))["input_ids"]
        tensor([[3, 4, 5]])
    """
    ids = inputs["input_ids"]
    mask = inputs["attention_mask"] if "attention_mask" in inputs else torch.ones_like(ids)
    if not bool(mask[:, -1].all()):
        raise CallError(
            "prompts are padded on the right, so answers would not follow them. Expected padding on the left: set "
            "padding_side='left' of the tokenizer."
        )
    added = {"input_ids": tokens, "attention_mask": known.to(mask.dtype)}
    along = {
        name: torch.cat((values, added.get(name, torch.zeros_like(tokens)).to(values.dtype)), dim=1)
        for name, values in {**inputs, "attention_mask": mask}.items()
        if values.shape == ids.shape
    }
    return {**inputs, **along}
