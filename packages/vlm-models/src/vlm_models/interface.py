"""What every dual encoder offers, whatever library its towers come from."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class FamilyInfo:
    """What `vlm models ls` tells about a family before anything is loaded.

    Attributes:
        summary: one sentence.
        spec: how the user writes a model of this family.
        capabilities: what its models can do, for example `image`, `text`.
    """

    summary: str
    spec: str
    capabilities: tuple[str, ...] = ("image", "text")


class DualEncoder(nn.Module, ABC):
    """An image tower and a text tower into one space, with a learned logit scale.

    Attributes:
        spec: the model spec it was loaded from.
        architecture: JSON-able description from which the family builds the same modules again.
        preprocess: size and normalisation of its images.
        embedding_dim: d, the size of the shared space.
    """

    spec: str
    architecture: Mapping[str, Any]
    preprocess: Preprocess
    embedding_dim: int

    @abstractmethod
    def encode_image(self, images: Tensor) -> Float[Tensor, "n d"]:
        """Return raw (not unit-norm) image features of uint8 images, or of float images that are normalised already."""

    @abstractmethod
    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Return raw (not normalised) text features."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return token ids on the CPU, padded or cut to the context length."""

    @property
    @abstractmethod
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplicative scale of cosine similarities, already exponentiated (100 for OpenAI's CLIP)."""

    @abstractmethod
    def image_tower(self) -> nn.Module:
        """Return the module that holds every parameter used by `encode_image` and none used by `encode_text`."""

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


def parameter_count(module: nn.Module) -> int:
    """Return the number of scalar parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Exclude parameters from training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
