"""Models of the open_clip library behind the house's protocol."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_data.preprocess import Preprocess
from vlm_models.interface import DualEncoder
from vlm_models.key_bias import silence_key_biases


class OpenClipEncoder(DualEncoder):
    """Wraps an unmodified open_clip model (`CLIP`, `CustomTextCLIP`, `CoCa`) as a dual encoder."""

    clip: Any  # the three classes share methods, but no base class that declares them

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        spec: str,
        architecture: Mapping[str, Any],
        preprocess: Preprocess,
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.spec = spec
        self.architecture = architecture
        self.preprocess = preprocess
        self.embedding_dim = embedding_dim
        silence_key_biases(clip)

    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw image features; uint8 images are normalised first."""
        pixels = self.preprocess.normalise(images).to(self.clip.logit_scale.dtype)
        return self.clip.encode_image(pixels)

    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw text features."""
        return self.clip.encode_text(tokens)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids padded or cut to the context length."""
        return self.tokenizer(list(texts))

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale, `exp` of the stored parameter."""
        return self.clip.logit_scale.exp().squeeze()

    def image_tower(self) -> nn.Module:
        """Return open_clip's visual module."""
        return self.clip.visual

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the caption decoder of CoCa and the logit bias of SigLIP."""
        for name, parameter in self.clip.named_parameters():
            if name == "logit_bias" or name.startswith("text_decoder."):
                yield parameter

    def projections(self) -> tuple[Float[Tensor, "width d"], Float[Tensor, "text_width d"]]:
        """Return the last linear maps of both towers, embedding dimension last (see `DualEncoder.projections`)."""
        visual = self.clip.visual
        text = getattr(self.clip, "text", self.clip)
        image_map = _linear_map(
            getattr(visual, "proj", None),  # vision transformer: (width, d) parameter
            getattr(getattr(visual, "attnpool", None), "c_proj", None),  # modified ResNet: Linear(width, d)
            getattr(getattr(visual, "head", None), "proj", None),  # timm tower
        )
        text_map = _linear_map(getattr(text, "text_projection", None))
        if image_map is None or text_map is None:
            return super().projections()
        return image_map, text_map


def _linear_map(*candidates: object) -> Tensor | None:
    """Return the first candidate that is a linear map as a (width, d) tensor."""
    for candidate in candidates:
        if isinstance(candidate, nn.Linear):
            return candidate.weight.T
        if isinstance(candidate, torch.Tensor):
            return candidate
    return None
