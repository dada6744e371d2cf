"""What every model offers, whatever library its towers come from."""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models.capabilities import CapabilityError, require
from vlm_models.region_attention import VisionStack
from vlm_models.region_batch import RegionBatch
from vlm_models.text_reading import TextReading

PARAMETER_GROUPS = ("vision", "text", "fusion", "vision projection", "text projection", "logit")
"""The parts `DualEncoder.parameter_groups` sorts parameters into."""


@dataclasses.dataclass(frozen=True)
class FamilyInfo:
    """What `vlm models ls` tells about a family before anything is loaded.

    Attributes:
        summary: one sentence.
        spec: how the user writes a model of this family.
        capabilities: what its models can do, names of `vlm_models.capabilities`; one model may do less.
        options: keys that may follow the source in a spec, `FAMILY:SOURCE,key=value`; the preprocessing options of
            `vlm_models.spec` are understood by every family.
        licence: of its weights where all have the same, for example `Apache-2.0`.
    """

    summary: str
    spec: str
    capabilities: tuple[str, ...] = ("image", "text")
    options: tuple[str, ...] = ()
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class VisionOutput:
    """What an image tower says before its projection.

    Attributes:
        tokens: prefix tokens (class, registers), then patches row by row; after the tower's final norm.
        pooled: the vector that is projected to the image feature; of a tower that ends in attention pooling, what that
            gives.
        prefix_tokens: how many tokens stand before the patches.
        grid: rows and columns of patches.
        features: raw image features, as `encode_image` returns them.
    """

    tokens: Float[Tensor, "n tokens width"]
    pooled: Float[Tensor, "n width"]
    prefix_tokens: int
    grid: tuple[int, int]
    features: Float[Tensor, "n d"] | None = None

    @property
    def patches(self) -> Float[Tensor, "n rows columns width"]:
        """The patch tokens in their places.

        Example:
            >>> import torch
            >>> VisionOutput(torch.zeros(2, 7, 5), torch.zeros(2, 5), 1, (2, 3)).patches.shape
            torch.Size([2, 2, 3, 5])
        """
        return self.tokens[:, self.prefix_tokens :].unflatten(1, self.grid)


class DualEncoder(nn.Module, ABC):
    """An image tower and a text tower into one space, with a learned logit scale.

    Attributes:
        spec: the model spec it was loaded from.
        architecture: JSON-able description from which the family builds the same modules again.
        preprocess: size and normalisation of its images.
        embedding_dim: d, the size of the shared space.
        capabilities: what this model can do, names of `vlm_models.capabilities`.
        logit_bias: b in `scale * cosine + b` of models trained with a sigmoid loss; None for a softmax loss.
        licence: of the weights, as far as they say it themselves; else empty.
        region_size: rows and columns that `region_features` wants a part of the region map resampled to.
        region_head_is_shared: whether `region_features` pools by the weights that pool a whole image.
    """

    spec: str
    architecture: Mapping[str, Any]
    preprocess: Preprocess
    embedding_dim: int
    capabilities: frozenset[str] = frozenset({"image", "text"})
    logit_bias: Float[Tensor, ""] | None = None
    region_size: int = 7
    region_head_is_shared: bool = False
    licence: str = ""

    @abstractmethod
    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw (not unit-norm) image features of uint8 images, or of float images that are normalised already."""

    @abstractmethod
    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw (not normalised) text features; what is padding follows from the ids."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids on the CPU, padded or cut to one length."""

    def needed_tokens(self, tokens: Int64[Tensor, "n length"]) -> Int64[Tensor, "n shorter"]:
        """Return the token ids without columns at the end on which no feature depends; all of them by default.

        `encode_text` takes both, and gives the same features and gradients within rounding.
        """
        return tokens

    @property
    @abstractmethod
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale of cosine similarities, already exponentiated (100 for OpenAI's CLIP)."""

    @abstractmethod
    def image_tower(self) -> nn.Module:
        """Return the module that holds every parameter used by `encode_image` and none used by `encode_text`."""

    def parameter_group(self, name: str) -> str:
        """Return which of `PARAMETER_GROUPS` a parameter belongs to, by its full name.

        Without knowledge of the modules: what the image tower holds is vision, scalars are logit, the rest is text.
        """
        parameter = self.get_parameter(name)
        if any(parameter is one for one in self.image_tower().parameters()):
            return "vision"
        return "text" if parameter.dim() else "logit"

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return all parameters, each in one of `PARAMETER_GROUPS`.

        Example:
            >>> from vlm_models import load_encoder
            >>> {group: len(found) for group, found in load_encoder("tiny").parameter_groups().items()}
            {'vision': 55, 'text': 28, 'fusion': 0, 'vision projection': 1, 'text projection': 1, 'logit': 1}
        """
        groups: dict[str, list[nn.Parameter]] = {group: [] for group in PARAMETER_GROUPS}
        for name, parameter in self.named_parameters():
            groups[self.parameter_group(name)].append(parameter)
        return groups

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield parameters that neither features nor the logit scale depend on, such as a decoder of captions."""
        return iter(())

    def projections(self) -> tuple[Float[Tensor, "width d"], Float[Tensor, "text_width d"]]:
        """Return the last linear maps of the image and the text tower, embedding dimension last.

        Raises:
            CallError: if this architecture ends in something other than a linear map.
        """
        raise CallError(
            f"{self.spec} has no linear projections; methods that regularise them, such as carot, need another model."
        )

    def vision_tokens(self, images: Tensor) -> VisionOutput:
        """Return the tokens of the image tower.

        Raises:
            CapabilityError: if it has none.
        """
        raise require(self, "tokens")

    def project_image(self, pooled: Float[Tensor, "k width"]) -> Float[Tensor, "k d"]:
        """Return the image features of pooled tokens: the last linear map of the image tower.

        Raises:
            CapabilityError: if that map takes something else than tokens, as after the attention pooling of CoCa.
        """
        last = self.projections()[0]
        if pooled.shape[-1] != len(last):
            raise CapabilityError(
                f"{self.spec} projects vectors of {len(last)} numbers, not its tokens of {pooled.shape[-1]}: it pools "
                "them by a layer of its own first. Take the region pooling attention or crop."
            )
        return pooled @ last

    def features_and_map(self, images: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n width rows columns"]]:
        """Return raw image features and the map that regions are cut from, here the patch tokens in their places.

        Raises:
            CapabilityError: if the image tower has no such map.
        """
        output = self.vision_tokens(images)
        features = self.encode_image(images) if output.features is None else output.features
        return features, output.patches.permute(0, 3, 1, 2)

    def region_features(self, cut: Float[Tensor, "k width rows columns"]) -> Float[Tensor, "k d"]:
        """Return one feature per part of a region map: its mean, projected as a whole image would be."""
        return self.project_image(cut.mean(dim=(2, 3)))

    def attend_regions(self, images: Tensor, regions: RegionBatch) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k d"]]:
        """Return raw image features, and those of regions pooled as the tower pools an image, from their patches only.

        Raises:
            CapabilityError: if the tower cannot be pooled so.
        """
        raise require(self, "region attention")

    def vision_stack(self, images: Tensor) -> VisionStack:
        """Return the blocks of the image tower, to which images of this size can be shown in part.

        Raises:
            CapabilityError: if the tower is no transformer that reads a class token or pools by attention.
        """
        raise CapabilityError(
            f"{self.spec} cannot be shown a part of an image only: its image tower is no transformer of a known kind "
            "that reads a class token or pools by attention. Take the region pooling crop."
        )

    def last_stage(self) -> nn.Module:
        """Return the module of a convolutional image tower that gives its last feature map, (n, width, rows, columns).

        Raises:
            CapabilityError: if the image tower is not convolutional, or not known well enough.
        """
        raise require(self, "feature map")

    def attention_modules(self, tower: str) -> Sequence[nn.Module]:
        """Return the attention modules of a tower, first layer first, for `vlm_models.attention`.

        Args:
            tower: `vision`, `text`, `cross` (text looks at image) or `pooling` (the head that pools patch tokens).

        Raises:
            CapabilityError: if there is no such attention.
        """
        raise require(self, f"{tower} attention")

    def read_text(self, tokens: Int64[Tensor, "n length"]) -> TextReading:
        """Return which token ids are words of the text, and where the text feature is taken from.

        Raises:
            CapabilityError: if that is not one place, or not known.
        """
        raise require(self, "text attention")

    def adapter_targets(self) -> str:
        """Return a regular expression of the full names of the linear maps that low-rank adapters go to.

        Raises:
            CapabilityError: if none are known for this architecture.
        """
        raise require(self, "adapters")

    def write_files(self, directory: Path) -> None:
        """Write what `build` needs beside weights and `model.json`, such as a tokenizer."""


class MatchingModel(DualEncoder):
    """A dual encoder whose further layers look at an image and a text together, and say whether they match."""

    @abstractmethod
    def match(
        self, vision: VisionOutput, tokens: Int64[Tensor, "n length"]
    ) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n length width"]]:
        """Return matching logits of image i with text i (column 1 = they match), and the fused text states.

        Args:
            vision: of the images, from `vision_tokens`; one image goes with every text, and one text with every image.
            tokens: from `tokenize`.
        """

    @abstractmethod
    def is_padding(self, tokens: Int64[Tensor, "n length"]) -> Bool[Tensor, "n length"]:
        """Return which token ids only fill up the length."""

    @property
    @abstractmethod
    def grounding_layer(self) -> int:
        """The cross-attention layer, counted from 0, in which the authors look for the words of a text in the image."""


class GenerativeModel(nn.Module, ABC):
    """A model that answers in words about an image.

    Attributes:
        spec: the model spec it was loaded from.
        capabilities: what it can do.
    """

    spec: str
    capabilities: frozenset[str] = frozenset({"generation"})

    @abstractmethod
    def prepare(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the model's inputs for images with their prompts."""

    @abstractmethod
    def generate(self, inputs: Mapping[str, Tensor], max_new_tokens: int) -> list[str]:
        """Return one answer per row, by greedy decoding."""

    @abstractmethod
    def score_continuations(
        self, inputs: Mapping[str, Tensor], continuations: Sequence[str]
    ) -> Float[Tensor, "n continuations"]:
        """Return the sum of log probabilities of every continuation after every row."""


def parameter_count(module: nn.Module) -> int:
    """Return the number of scalar parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode while the block runs; afterwards every module is in the mode it was.

    Also after an error, and where modules differ, as when a frozen tower stays in evaluation mode during training.

    Example:
        >>> model = nn.Dropout().train()
        >>> with evaluating(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Exclude parameters from training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
