"""Running the image tower of ALBEF and BLIP."""

from typing import cast

from torch import Tensor
from transformers import BlipVisionModel

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def fusion_preprocess(image_size: int) -> Preprocess:
    """Return how both models were trained to see images: squashed to a square, normalised as for CLIP.

    Example:
        >>> fusion_preprocess(224).resize
        'squash'
    """
    return Preprocess(image_size, _MEAN, _STD, "bicubic", "squash")


def image_tokens(tower: BlipVisionModel, images: Tensor, preprocess: Preprocess, spec: str) -> Tensor:
    """Return the tokens of images after the tower's final norm, (n, 1 + patches, width), the class token first.

    Not `pooler_output`: transformers applies the final norm to it a second time.

    Args:
        tower: the image tower.
        images: uint8, or float images that are normalised already.
        preprocess: the normalisation it was trained with.
        spec: of the model, for messages.

    Raises:
        CallError: if images have another size: the tower would leave positions out without a word.
    """
    side = tower.embeddings.image_size
    if images.shape[-2:] != (side, side):
        raise CallError(
            f"images of {images.shape[-2]} x {images.shape[-1]} pixels do not fit {spec}; expected {side} x {side}. "
            "Resize them, or load the model with the option image_size."
        )
    pixels = preprocess.normalise(images).to(tower.post_layernorm.weight.dtype)
    return cast(Tensor, tower(pixel_values=pixels).last_hidden_state)
