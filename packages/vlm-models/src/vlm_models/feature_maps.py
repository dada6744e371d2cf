"""The last spatial features of an image tower, inside the autograd graph of the feature they lead to."""

import dataclasses
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vlm_models.capabilities import CapabilityError
from vlm_models.interface import DualEncoder


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """What an image tower knows about every place of an image, last before it makes one vector of it.

    Attributes:
        node: (n, width, rows, columns) of a convolutional tower, else (n, tokens, width); every feature depends on it.
        features: raw image features, as `encode_image` returns them.
        prefix_tokens: how many tokens of `node` stand before the patches.
        grid: rows and columns.
    """

    node: Tensor
    features: Float[Tensor, "n d"]
    prefix_tokens: int
    grid: tuple[int, int]

    def places(self, values: Tensor) -> Float[Tensor, "n width rows columns"]:
        """Return `node`, or a gradient of its shape, as a map.

        Example:
            >>> import torch
            >>> tokens = torch.zeros(2, 7, 5)
            >>> FeatureMap(tokens, torch.zeros(2, 3), 1, (2, 3)).places(tokens).shape
            torch.Size([2, 5, 2, 3])
        """
        if values.ndim == 4:
            return values
        return values[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)


def last_feature_map(model: DualEncoder, images: Tensor) -> FeatureMap:
    """Run the image tower once and return its last feature map with the features that follow from it.

    Where no weight asks for a gradient, the graph starts at the map. Of a convolutional tower it is the output of its
    last stage. Of a transformer it is what the last attention reads: that of the pooling head, else that of the last
    block (normed tokens), since after it the class token is all that counts and patches have no gradient.

    Args:
        model: in evaluation mode.
        images: uint8, or float images that are normalised already.

    Raises:
        CapabilityError: if the model has neither a feature map nor attention that can be recorded.

    Example:
        >>> import torch
        >>> from vlm_models import load_encoder
        >>> found = last_feature_map(load_encoder("tiny"), torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        >>> found.places(found.node).shape
        torch.Size([1, 64, 4, 4])
    """
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        found.append(tensor if tensor.requires_grad else tensor.requires_grad_())

    def keep_map(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        keep(output)

    def keep_tokens(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(_read_tokens(module, args, kwargs))

    if "feature map" in model.capabilities:
        handle = model.last_stage().register_forward_hook(keep_map)
    else:
        handle = _last_attention(model).register_forward_pre_hook(keep_tokens, with_kwargs=True)
    try:
        if "feature map" in model.capabilities:
            features = model.encode_image(images)
            return FeatureMap(found[0], features, 0, (found[0].shape[-2], found[0].shape[-1]))
        output = model.vision_tokens(images)
        features = model.encode_image(images) if output.features is None else output.features
        return FeatureMap(found[-1], features, output.prefix_tokens, output.grid)
    finally:
        handle.remove()


def _last_attention(model: DualEncoder) -> nn.Module:
    for tower in ("pooling", "vision"):
        if f"{tower} attention" in model.capabilities:
            return model.attention_modules(tower)[-1]
    raise CapabilityError(
        f"{model.spec} has no map of features that is known: its image tower is neither a ResNet or ConvNeXt, nor a "
        "transformer whose attention can be recorded. Take a method that needs the pixels only, input-gradient."
    )


def _read_tokens(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the tokens that attention reads: the keys of PyTorch's module, else its first argument of that shape."""
    if isinstance(module, nn.MultiheadAttention):
        return args[1] if len(args) > 1 else kwargs["key"]
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim == 3)
