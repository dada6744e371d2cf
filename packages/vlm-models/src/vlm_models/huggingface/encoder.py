"""Dual encoders of transformers behind the house's protocol: CLIP, MetaCLIP 2, SigLIP, Chinese-CLIP, AltCLIP."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_data.preprocess import Preprocess
from vlm_models.capabilities import require
from vlm_models.huggingface import towers as towers
from vlm_models.huggingface.tokens import HfTokens
from vlm_models.interface import DualEncoder, VisionOutput
from vlm_models.key_bias import silence_key_biases
from vlm_models.region_attention import VisionStack
from vlm_models.region_batch import RegionBatch
from vlm_models.text_reading import TextReading, read_at_end, read_at_place

TOKENIZER_FOLDER = "tokenizer"


class HfEncoder(DualEncoder):
    """Wraps an unmodified model of transformers as a dual encoder.

    Attributes:
        model: of transformers, with fused attention.
        tokens: its tokenizer, texts to ids of one length.
    """

    model: Any  # six classes share names of modules and methods, but no base class that declares them

    def __init__(
        self,
        model: nn.Module,
        tokens: HfTokens,
        *,
        spec: str,
        architecture: Mapping[str, Any],
        preprocess: Preprocess,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens
        self.spec = spec
        self.architecture = architecture
        self.preprocess = preprocess
        self.licence = architecture.get("licence", "")
        self.embedding_dim = towers.embedding_dim(self.model)
        self.capabilities = towers.capabilities(self.model)
        self.region_head_is_shared = towers.pools_by_attention(self.model)
        silence_key_biases(model)  # all have absolute positions, so the bias of a key never has an effect

    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw image features; uint8 images are normalised first."""
        return self.project_image(towers.run_vision(self.model, self._pixels(images)).pooler_output)

    def _pixels(self, images: Tensor) -> Tensor:
        return self.preprocess.normalise(images).to(self.model.logit_scale.dtype)

    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw text features; a BERT does not see padding, SigLIP was trained to."""
        return towers.text_features(self.model, tokens, self.tokens.padding)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids padded or cut to the length texts had in training.

        Raises:
            CheckpointError: if the tokenizer gives an id that the text tower has no row for.
        """
        return self.tokens(texts, self.spec)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale, `exp` of the stored parameter."""
        return self.model.logit_scale.exp().squeeze()

    @property
    def logit_bias(self) -> Float[Tensor, ""] | None:  # type: ignore[override]
        """The bias of SigLIP's sigmoid loss, None for other models."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else bias.squeeze()

    def image_tower(self) -> nn.Module:
        """Return the vision model and its projection, where there is one, under their own names."""
        names = [name for name in ("vision_model", "visual_projection") if hasattr(self.model, name)]
        return nn.ModuleDict({name: getattr(self.model, name) for name in names})

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the logit bias of SigLIP."""
        if hasattr(self.model, "logit_bias"):
            yield self.model.logit_bias

    def parameter_group(self, name: str) -> str:
        """Return the part of the model a parameter belongs to."""
        return towers.parameter_group(name.removeprefix("model."))

    def projections(self) -> tuple[Float[Tensor, "width d"], Float[Tensor, "text_width d"]]:
        """Return the last linear maps of both towers, embedding dimension last (see `DualEncoder.projections`)."""
        if not hasattr(self.model, "visual_projection"):
            return super().projections()
        return self.model.visual_projection.weight.T, self.model.text_projection.weight.T

    def vision_tokens(self, images: Tensor) -> VisionOutput:
        """Return the tokens of the image tower after its final norm."""
        return towers.vision_tokens(self.model, self._pixels(images))

    def project_image(self, pooled: Float[Tensor, "k width"]) -> Float[Tensor, "k d"]:
        """Return the image features of pooled tokens."""
        return towers.project_image(self.model, pooled)

    def region_features(self, cut: Float[Tensor, "k width rows columns"]) -> Float[Tensor, "k d"]:
        """Return one feature per part of a region map, pooled by attention where the tower pools an image so."""
        if not towers.pools_by_attention(self.model):
            return super().region_features(cut)
        return self.project_image(self.model.vision_model.head(cut.flatten(2).transpose(1, 2)))

    def attend_regions(self, images: Tensor, regions: RegionBatch) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
        """Return image features, and those of regions pooled as the tower pools an image."""
        return towers.attend_regions(self.model, self._pixels(images), regions)

    def vision_stack(self, images: Tensor) -> VisionStack:
        """Return the blocks of the image tower."""
        return towers.vision_stack(self.model, images)

    def attention_modules(self, tower: str) -> Sequence[nn.Module]:
        """Return the attention modules of a tower, first layer first.

        Raises:
            CapabilityError: if there is no such attention.
        """
        found = towers.attention_modules(self.model, tower)
        if not found:
            raise require(self, f"{tower} attention")
        return found

    def read_text(self, tokens: Int64[Tensor, "n length"]) -> TextReading:
        """Return which token ids are words of the text, and where the text feature is taken from."""
        own = self.tokens.tokenizer

        def decode(number: int) -> str:
            return own.decode([number]).strip()

        end = towers.end_places(self.model, tokens)
        if end is not None:
            return read_at_end(tokens, end, decode)
        return read_at_place(tokens, 0 if towers.reads_mask(self.model) else -1, own.all_special_ids, decode)

    def adapter_targets(self) -> str:
        """Return where low-rank adapters go: attention and MLP of both towers."""
        return towers.ADAPTER_TARGETS

    def write_files(self, directory: Path) -> None:
        """Write the tokenizer into a folder of its own."""
        self.tokens.write(directory / TOKENIZER_FOLDER)
