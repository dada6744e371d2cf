"""ALBEF and BLIP behind the house's protocol: two towers, and text layers that look at the image."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import BlipTextModel

from vlm_data.errors import CallError
from vlm_data.files import write_text
from vlm_models.capabilities import require
from vlm_models.fusion.architecture import FusionSizes, fusion_tower, text_tower, undefined_weights, vision_tower
from vlm_models.fusion.tokens import (
    FIRST,
    MATCHING,
    PADDING,
    SEPARATOR,
    BertTokens,
    shipped_vocabulary,
    with_blip_tokens,
)
from vlm_models.fusion.vision import fusion_preprocess, image_tokens
from vlm_models.interface import MatchingModel, VisionOutput
from vlm_models.key_bias import silence_key_biases
from vlm_models.region_attention import VisionStack, pooled_by_class_token
from vlm_models.region_batch import RegionBatch
from vlm_models.text_reading import TextReading, read_at_place
from vlm_models.token_ids import check_ids

VOCABULARY_FILE = "vocab.txt"
CAPABILITIES = (
    "image",
    "text",
    "tokens",
    "region attention",
    "vision attention",
    "text attention",
    "cross attention",
    "matching",
    "adapters",
)
_FUSION = re.compile(r"fusion_encoder\.|itm_head\.|.*\.crossattention\.")
_ADAPTERS = (
    r".*(vision_model\.encoder\.layers\.\d+\.(self_attn\.(qkv|projection)|mlp\.fc[12])"
    r"|text_encoder\.encoder\.layer\.\d+\.attention\.self\.(query|key|value))"
)


class FusionEncoder(MatchingModel):
    """An image tower, a text tower and layers in which text looks at an image, all of transformers' BLIP classes.

    The fusion layers either continue from the states of the text tower (ALBEF, Li et al. 2021), or they are the text
    tower itself, run again with its cross-attention and `[ENC]` as the first token (BLIP, Li et al. 2022).

    Attributes:
        sizes: what it was built from.
        tokenizer: texts to ids.
        temp: the learned temperature; `logit_scale` is its inverse.
    """

    def __init__(
        self, sizes: FusionSizes, tokenizer: BertTokens, *, spec: str, architecture: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokenizer = tokenizer
        self.spec = spec
        self.architecture = {**architecture, "sizes": dataclasses.asdict(sizes)}
        self.preprocess = fusion_preprocess(sizes.image_size)
        self.embedding_dim = sizes.embedding_dim
        self.capabilities = frozenset(CAPABILITIES)
        with undefined_weights():
            self.vision_model = vision_tower(sizes)
            self.text_encoder = text_tower(sizes)
            self.fusion_encoder = fusion_tower(sizes)
            self.vision_proj = nn.Linear(sizes.vision_width, sizes.embedding_dim)
            self.text_proj = nn.Linear(sizes.text_width, sizes.embedding_dim)
            self.itm_head = nn.Linear(sizes.text_width, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))
        silence_key_biases(self)

    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw image features, the projected class token; uint8 images are normalised first.

        Raises:
            CallError: if images have another size than the tower.
        """
        return cast(Tensor, self.vision_tokens(images).features)

    def project_image(self, pooled: Float[Tensor, "k width"]) -> Float[Tensor, "k d"]:
        """Return the image features of pooled tokens; the projection has a bias."""
        return self.vision_proj(pooled)

    def vision_tokens(self, images: Tensor) -> VisionOutput:
        """Return the tokens of the image tower after its final norm, the class token first.

        Raises:
            CallError: if images have another size than the tower.
        """
        tokens = image_tokens(self.vision_model, images, self.preprocess, self.spec)
        return VisionOutput(tokens, tokens[:, 0], 1, self.sizes.grid, self.vision_proj(tokens[:, 0]))

    def attend_regions(self, images: Tensor, regions: RegionBatch) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
        """Return image features, and those of regions whose class token sees their patches only."""

        def finish(tokens: Tensor) -> Tensor:
            return self.vision_proj(self.vision_model.post_layernorm(tokens))

        return pooled_by_class_token(lambda: self.encode_image(images), self.vision_stack(images), finish, regions)

    def vision_stack(self, images: Tensor) -> VisionStack:
        """Return the blocks of the image tower, which compute attention themselves and take no mask."""
        return VisionStack(list(self.vision_model.encoder.layers), self.sizes.grid, mask=None)

    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw text features, the projected first state; columns that are padding in every row cost nothing."""
        return self.text_proj(self.text_states(self._without_padding(tokens))[:, 0])

    def text_states(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n length width"]:
        """Return the states of the text tower, in which no image has a part."""
        found = self.text_encoder(input_ids=tokens, attention_mask=self._mask(tokens))
        return cast(Tensor, found.last_hidden_state)

    def match(
        self, vision: VisionOutput, tokens: Int64[Tensor, "n length"]
    ) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n length width"]]:
        """Return matching logits of image i with text i (column 1 = they match), and the fused text states.

        One image goes with every text, and one text with every image.

        Raises:
            CallError: if there are several of both, and not as many.
        """
        images, texts = len(vision.tokens), len(tokens)
        if images != texts and 1 not in (images, texts):
            raise CallError(
                f"{images} images cannot be matched with {texts} texts; expected as many of both, or one of either. "
                "Repeat the one that is to be compared with all others."
            )
        seen = vision.tokens.expand(texts, -1, -1) if images == 1 else vision.tokens
        fused = self._fused_states(seen, tokens.expand(images, -1) if texts == 1 else tokens)
        return self.itm_head(fused[:, 0]), fused

    def _fused_states(self, image_tokens: Tensor, tokens: Tensor) -> Tensor:
        seen = {"attention_mask": self._mask(tokens), "encoder_hidden_states": image_tokens}
        if self.fusion_encoder is not None:
            found = self.fusion_encoder(encoder_embeds=self.text_states(tokens), **seen)
        else:  # trained with [ENC] first; transformers itself leaves [CLS], and its logits are others
            first = torch.full_like(tokens[:, :1], self.tokenizer.id_of(MATCHING))
            found = self.text_encoder(input_ids=torch.cat((first, tokens[:, 1:]), dim=1), **seen)
        return cast(Tensor, found.last_hidden_state)

    def is_padding(self, tokens: Int64[Tensor, "n length"]) -> Bool[Tensor, "n length"]:
        """Return which token ids only fill up the length."""
        return tokens.eq(self.tokenizer.padding_id)

    @property
    def grounding_layer(self) -> int:
        """The cross-attention layer of the published Grad-CAM, counted from 0 among those that there are.

        Of the six of ALBEF-base the third, index 8 of its text layers (Li et al. 2021); of the twelve of BLIP-base the
        eighth, as in LAVIS and PNP-VQA (Tiong et al. 2022). Other depths: the same share.
        """
        count = len(self.attention_modules("cross"))
        return count // 3 if self.fusion_encoder is not None else count * 7 // 12

    def _mask(self, tokens: Tensor) -> Tensor:
        return (~self.is_padding(tokens)).long()

    def _without_padding(self, tokens: Tensor) -> Tensor:
        used = tokens.ne(self.tokenizer.padding_id).any(dim=0).nonzero()
        return tokens[:, : int(used[-1]) + 1] if len(used) else tokens[:, :1]

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids padded or cut to one length.

        Raises:
            CheckpointError: if the tokenizer gives an id that the text tower has no row for.
        """
        return check_ids(self.tokenizer(texts), self.sizes.vocabulary_size, self.spec)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale, the inverse of the temperature; BLIP's is kept in [0.001, 0.5], ALBEF's is free."""
        if self.sizes.temperature_range is None:
            return 1 / self.temp
        # The gradient passes: a temperature beyond a bound can come back, as after the authors' clamping in place.
        return 1 / (self.temp + (self.temp.clamp(*self.sizes.temperature_range) - self.temp).detach())

    def image_tower(self) -> nn.Module:
        """Return the image tower with its projection."""
        return nn.ModuleDict({"vision_model": self.vision_model, "vision_proj": self.vision_proj})

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what only matching uses: cross-attention, fusion layers and their head."""
        for name, parameter in self.named_parameters():
            if _FUSION.match(name):
                yield parameter

    def parameter_group(self, name: str) -> str:
        """Return the part of the model a parameter belongs to."""
        if _FUSION.match(name):
            return "fusion"
        groups = {
            "vision_model": "vision",
            "vision_proj": "vision projection",
            "text_proj": "text projection",
            "temp": "logit",
        }
        return groups.get(name.split(".")[0], "text")

    def projections(self) -> tuple[Float[Tensor, "width d"], Float[Tensor, "text_width d"]]:
        """Return the last linear maps of both towers without their biases, embedding dimension last."""
        return self.vision_proj.weight.T, self.text_proj.weight.T

    def attention_modules(self, tower: str) -> Sequence[nn.Module]:
        """Return the attention modules of a tower, first layer first.

        The layers of `cross` are counted from the first that has cross-attention: of ALBEF's twelve text layers the
        papers call the one at index 2 layer 8, of BLIP's the numbers agree.

        Raises:
            CapabilityError: if there is no such attention.
        """
        looking = cast(BlipTextModel, self.fusion_encoder or self.text_encoder)
        found: dict[str, list[Any]] = {
            "vision": [layer.self_attn for layer in self.vision_model.encoder.layers],
            "text": [cast(Any, layer).attention.self for layer in self.text_encoder.encoder.layer],
            "cross": [cast(Any, layer).crossattention.self for layer in looking.encoder.layer],
        }
        if tower not in found:
            raise require(self, f"{tower} attention")
        return found[tower]

    def read_text(self, tokens: Int64[Tensor, "n length"]) -> TextReading:
        """Return which token ids are words of the text; the feature is taken from the first place."""
        words = self.tokenizer.vocabulary
        special = [self.tokenizer.id_of(word) for word in (PADDING, FIRST, SEPARATOR)]
        return read_at_place(tokens, 0, special, lambda number: words[number])

    def adapter_targets(self) -> str:
        """Return where low-rank adapters go: attention and MLP of the image tower, self-attention of the text tower."""
        return _ADAPTERS

    def write_files(self, directory: Path) -> None:
        """Write the vocabulary unless it is the shipped one."""
        if not is_shipped(self.tokenizer.vocabulary):
            write_text(directory / VOCABULARY_FILE, "\n".join(self.tokenizer.vocabulary) + "\n")


def is_shipped(vocabulary: Sequence[str]) -> bool:
    """Say whether a vocabulary is the one that ships with the package, with or without the tokens of BLIP."""
    return tuple(vocabulary) in (shipped_vocabulary(), with_blip_tokens(shipped_vocabulary()))
