"""The head of ALBEF that names masked words from an image and the rest of the text; loaded only when asked for."""

from pathlib import Path

from torch import nn
from transformers.models.blip.modeling_blip_text import BlipTextOnlyMLMHead

from vlm_models.errors import CheckpointError
from vlm_models.fusion.architecture import text_config, undefined_weights
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.fusion.weights import check_tensors
from vlm_models.weight_files import read_weight_file

_PREFIX = "text_encoder.cls."


def load_masked_word_head(path: str | Path, encoder: FusionEncoder) -> nn.Module:
    """Load the head that names masked words, from a pretraining file of ALBEF.

    Args:
        path: of the file.
        encoder: the model in the same file. `head(encoder.match(vision, tokens)[1])` gives the logits of all word
            pieces at every place of the text, (n, length, words).

    Returns:
        The head, in evaluation mode.

    Raises:
        CheckpointError: if the file has no such head, or it does not fit the encoder.
    """
    tensors = read_weight_file(path).tensors
    given = {name: tensor.float() for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    if not given:
        raise CheckpointError(
            f"{path} has no head for masked words, {_PREFIX}predictions; fine-tuned files come without. "
            "Take the pretraining file, ALBEF.pth."
        )
    with undefined_weights():
        head = BlipTextOnlyMLMHead(text_config(encoder.sizes, 1, False))
    expected = {_PREFIX + name: tensor for name, tensor in head.state_dict().items()}
    check_tensors(expected, given, "albef", str(path))
    head.load_state_dict({name.removeprefix(_PREFIX): tensor for name, tensor in given.items()})
    return head.to(encoder.temp.device).eval()
