"""Models of the open_clip library behind the house's protocol."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_data.preprocess import Preprocess
from vlm_models.capabilities import require
from vlm_models.interface import DualEncoder, VisionOutput
from vlm_models.key_bias import silence_key_biases
from vlm_models.openclip import towers as towers
from vlm_models.openclip.causal_text import encode_short_text, needed_tokens
from vlm_models.openclip.region_attention import attend_regions, vision_stack
from vlm_models.openclip.text_reading import read_text
from vlm_models.region_attention import VisionStack
from vlm_models.region_batch import RegionBatch
from vlm_models.text_reading import TextReading
from vlm_models.token_ids import check_ids


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
        self.capabilities = towers.capabilities(self.clip)
        self._vocabulary_size = towers.vocabulary_size(self.clip)
        self.region_size = towers.region_size(self.clip.visual)
        self.region_head_is_shared = towers.shares_region_head(self.clip.visual)
        silence_key_biases(clip)

    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw image features; uint8 images are normalised first."""
        return self.clip.encode_image(self._pixels(images))

    def _pixels(self, images: Tensor) -> Tensor:
        return self.preprocess.normalise(images).to(self.clip.logit_scale.dtype)

    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw text features."""
        return encode_short_text(self.clip, tokens)

    def needed_tokens(self, tokens: Int64[Tensor, "n length"]) -> Int64[Tensor, "n shorter"]:
        """Return the token ids without padding that a causal tower never looks at."""
        return needed_tokens(self.clip, tokens)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids padded or cut to the context length.

        Raises:
            CheckpointError: if the tokenizer gives an id that the text tower has no row for.
        """
        return check_ids(self.tokenizer(list(texts)), self._vocabulary_size, self.spec)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale, `exp` of the stored parameter."""
        return self.clip.logit_scale.exp().squeeze()

    @property
    def logit_bias(self) -> Float[Tensor, ""] | None:  # type: ignore[override]
        """The bias of SigLIP's sigmoid loss, None for other models."""
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else bias.squeeze()

    def image_tower(self) -> nn.Module:
        """Return open_clip's visual module."""
        return self.clip.visual

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the caption decoder of CoCa and the logit bias of SigLIP."""
        for name, parameter in self.clip.named_parameters():
            if name == "logit_bias" or name.startswith("text_decoder."):
                yield parameter

    def parameter_group(self, name: str) -> str:
        """Return the part of the model a parameter belongs to."""
        return towers.parameter_group(name.removeprefix("clip."))

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

    def vision_tokens(self, images: Tensor) -> VisionOutput:
        """Return the tokens of the image tower; of a convolutional one, the cells of its last feature map.

        Raises:
            CapabilityError: if it has none.
        """
        if "tokens" not in self.capabilities:
            raise require(self, "tokens")
        return towers.vision_tokens(self.clip.visual, self._pixels(images))

    def features_and_map(self, images: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n width rows columns"]]:
        """Return image features and patch tokens; of a ResNet the map before its last stage, as RegionCLIP cuts it."""
        visual = self.clip.visual
        if not hasattr(visual, "attnpool"):
            return super().features_and_map(images)
        found = towers.map_before_last_stage(visual, self._pixels(images))
        return visual.attnpool(visual.layer4(found)), found

    def region_features(self, cut: Float[Tensor, "k width rows columns"]) -> Float[Tensor, "k d"]:
        """Return one feature per part of a region map, pooled as the tower pools an image where it can."""
        pooled = towers.pooled_region(self.clip.visual, cut)
        return super().region_features(cut) if pooled is None else pooled

    def attend_regions(self, images: Tensor, regions: RegionBatch) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
        """Return image features, and those of regions pooled as the tower pools an image.

        Raises:
            CapabilityError: if the tower cannot be pooled so.
        """
        if "region attention" not in self.capabilities:
            raise require(self, "region attention")
        return attend_regions(self.clip.visual, self._pixels(images), regions)

    def vision_stack(self, images: Tensor) -> VisionStack:
        """Return the blocks of the image tower.

        Raises:
            CapabilityError: if it is no transformer that reads a class token or pools by attention.
        """
        found = vision_stack(self.clip.visual, images)
        return super().vision_stack(images) if found is None else found

    def last_stage(self) -> nn.Module:
        """Return the last stage of a ResNet of OpenAI's kind, or all stages of a convolutional tower of timm.

        Raises:
            CapabilityError: if the image tower is something else.
        """
        found = towers.last_stage(self.clip.visual)
        if found is None:
            raise require(self, "feature map")
        return found

    def attention_modules(self, tower: str) -> Sequence[nn.Module]:
        """Return the attention modules of a tower, first layer first.

        Raises:
            CapabilityError: if there is no such attention.
        """
        found = towers.attention_modules(self.clip, tower)
        if not found:
            raise require(self, f"{tower} attention")
        return found

    def read_text(self, tokens: Int64[Tensor, "n length"]) -> TextReading:
        """Return which token ids are words of the text, and where the text feature is taken from.

        Raises:
            CapabilityError: if it is the mean of many places.
        """
        found = read_text(self.clip, self.tokenizer, tokens)
        return super().read_text(tokens) if found is None else found

    def adapter_targets(self) -> str:
        """Return where low-rank adapters go: attention and MLP of both towers."""
        return towers.ADAPTER_TARGETS


def _linear_map(*candidates: object) -> Tensor | None:
    """Return the first candidate that is a linear map as a (width, d) tensor."""
    for candidate in candidates:
        if isinstance(candidate, nn.Linear):
            return candidate.weight.T
        if isinstance(candidate, torch.Tensor):
            return candidate
    return None
