"""Reading attention probabilities of unmodified library models, inside the autograd graph."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models.capabilities import require
from vlm_models.errors import VlmModelsError
from vlm_models.interface import DualEncoder

_AXES = 4
"""Of attention probabilities: images or texts, heads, queries, keys."""


class AttentionRecord:
    """What was recorded in the last forward pass.

    Attributes:
        layers: the layers that are recorded, counted from 0, ascending.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self._found: dict[int, Tensor] = {}

    def put(self, layer: int, probabilities: Tensor) -> Tensor:
        """Keep the probabilities of a layer and return the tensor to go on with.

        Where no weight asks for a gradient the graph starts here, so nothing below the first recorded layer is kept.
        """
        if torch.is_grad_enabled() and not probabilities.requires_grad:
            probabilities = probabilities.requires_grad_()
        self._found[layer] = probabilities
        return probabilities

    @property
    def probabilities(self) -> list[Float[Tensor, "n heads queries keys"]]:
        """Attention probabilities, one tensor per recorded layer, before dropout; rows sum to 1.

        Raises:
            CallError: if the model has not been called since recording began.
        """
        missing = [layer for layer in self.layers if layer not in self._found]
        if missing:
            raise CallError(
                f"attention layers {missing} were not called while recording. "
                "Expected a forward pass of this tower inside `with record_attention(...)`; call the model there."
            )
        return [self._found[layer] for layer in self.layers]

    def gradients(self, score: Float[Tensor, ""]) -> list[Float[Tensor, "n heads queries keys"]]:
        """Return the derivative of a score by the probabilities of every recorded layer, zero where it has none.

        Raises:
            CallError: if the forward pass ran without gradients.
        """
        found = self.probabilities
        if not all(tensor.requires_grad for tensor in found):
            raise CallError(
                "the forward pass ran without gradients (torch.no_grad or torch.inference_mode); expected them. "
                "Call the model outside of these, or under torch.enable_grad()."
            )
        return list(torch.autograd.grad(score, found, materialize_grads=True))


@contextlib.contextmanager
def record_attention(
    model: DualEncoder, tower: str = "vision", layers: Sequence[int] | None = None
) -> Iterator[AttentionRecord]:
    """Record attention probabilities while the block runs; afterwards the model is as it was, also after an error.

    Fused attention never computes probabilities. For the chosen layers, and only while they run, it is replaced by
    `softmax(scale Q K^T + mask) V`, computed in single precision at least; models that compute it this way themselves
    are listened to. Other layers stay fused.

    Args:
        model: in evaluation mode, else dropout is part of what is explained.
        tower: `vision`, `text`, `cross` or `pooling`, see `DualEncoder.attention_modules`.
        layers: which layers, negative ones from the end; None = all.

    Yields:
        The record, filled by every forward pass; it keeps the last one.

    Raises:
        CapabilityError: if the model has no such attention.
        CallError: for a layer that does not exist.
        VlmModelsError: in the forward pass, if a layer computes attention in a way that cannot be recorded.

    Example:
        >>> from vlm_models import load_encoder
        >>> tiny = load_encoder("tiny")
        >>> with record_attention(tiny, "vision", [-1]) as attention:
        ...     feature = tiny.encode_image(torch.zeros(1, 3, 32, 32))
        >>> attention.probabilities[0].shape, attention.gradients(feature.sum())[0].shape
        (torch.Size([1, 4, 17, 17]), torch.Size([1, 4, 17, 17]))
    """
    if f"{tower} attention" not in model.capabilities:
        raise require(model, f"{tower} attention")
    with record_modules(model.attention_modules(tower), layers) as record:
        yield record


@contextlib.contextmanager
def record_modules(modules: Sequence[nn.Module], layers: Sequence[int] | None = None) -> Iterator[AttentionRecord]:
    """Record attention as `record_attention` does, in modules that belong to no dual encoder.

    Args:
        modules: attention modules, first layer first, such as those of a language model of transformers that was told
            to take `sdpa`.
        layers: which of them, negative ones from the end; None = all.

    Yields:
        The record, filled by every forward pass; it keeps the last one.

    Raises:
        CallError: for a layer that does not exist.
        VlmModelsError: in the forward pass, if a layer computes attention in a way that cannot be recorded.

    Example:
        >>> attention = nn.MultiheadAttention(4, 2, batch_first=True)
        >>> x = torch.ones(1, 3, 4)
        >>> with record_modules([attention]) as record:
        ...     _ = attention(x, x, x)
        >>> record.probabilities[0].shape
        torch.Size([1, 2, 3, 3])
    """
    chosen = _layer_numbers(layers, len(modules))
    record = AttentionRecord(chosen)
    with contextlib.ExitStack() as undo:
        for layer in chosen:
            _listen(modules[layer], layer, record, undo)
        yield record


def _layer_numbers(layers: Sequence[int] | None, count: int) -> list[int]:
    wanted = range(count) if layers is None else layers
    for layer in wanted:
        if not -count <= layer < count:
            raise CallError(f"there is no attention layer {layer}; expected a number from {-count} to {count - 1}.")
    return sorted({layer % count for layer in wanted})


def _listen(module: nn.Module, layer: int, record: AttentionRecord, undo: contextlib.ExitStack) -> None:
    """Fill the record in every forward pass of an attention module, by whichever way it computes probabilities.

    It may call PyTorch's fused attention. Or it computes them itself and hands them to its module `dropout`, as BERT
    and the vision tower of BLIP and ALBEF do. Whether it owns such a module tells nothing: BERT of other models owns
    one that it never calls, others drop parts of inputs or outputs by it. So what is fused always counts, what reaches
    `dropout` only if nothing was heard before.
    """
    original, dropout = module.forward, getattr(module, "dropout", None)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if isinstance(module, nn.MultiheadAttention):
            kwargs["need_weights"] = False  # asking for weights would give a copy outside the graph
            args = _sequence_first(args) if module.batch_first else args
        heard = False

        def keep(probabilities: Tensor) -> Tensor:
            nonlocal heard
            heard = True
            return record.put(layer, probabilities)

        def dropped(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
            return None if heard or inputs[0].ndim != _AXES else keep(inputs[0])

        with contextlib.ExitStack() as hooks:
            hooks.enter_context(_explicit_attention(keep))
            if isinstance(dropout, nn.Dropout):
                hooks.callback(dropout.register_forward_pre_hook(dropped).remove)
            output = original(*args, **kwargs)
        if not heard:
            raise _unheard(module, layer)
        return output

    module.forward = forward
    undo.callback(delattr, module, "forward")


def _sequence_first(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lay query, key and value out in memory so that swapping images and tokens leaves them contiguous.

    That is what `nn.MultiheadAttention` does with them first; their projection would then be one small product of
    matrices per token, which takes several times longer. Equal inputs stay one tensor: they are projected together.
    """
    laid = {id(x): x.transpose(0, 1).contiguous().transpose(0, 1) for x in inputs[:3]}
    return tuple(laid.get(id(x), x) for x in inputs)


def _unheard(module: nn.Module, layer: int) -> VlmModelsError:
    return VlmModelsError(
        f"attention layer {layer}, a {type(module).__name__}, computed no probabilities that could be recorded. "
        "Expected a call of torch.nn.functional.scaled_dot_product_attention, or of its module `dropout` with them. "
        "Models of transformers do that when they are built with attn_implementation='sdpa'."
    )


def _softmax(scores: Tensor, *, may_be_blind: bool) -> Tensor:
    """Return probabilities over keys; zeros, as PyTorch's fused attention has it, for a query that sees no key.

    Such are the places of padding on the left under a causal mask; NaN there would spread through the values.
    """
    if not may_be_blind:
        return scores.softmax(dim=-1)
    blind = scores.amax(dim=-1, keepdim=True) == -math.inf
    return scores.masked_fill(blind, 0).softmax(dim=-1).masked_fill(blind, 0)


@contextlib.contextmanager
def _explicit_attention(keep: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Compute attention step by step wherever a library calls PyTorch's fused one."""
    fused = functional.scaled_dot_product_attention
    fastpath = torch.backends.mha.get_fastpath_enabled()

    def explicit(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        wide = torch.promote_types(query.dtype, torch.float32)
        scores = (query * scale @ key.transpose(-2, -1)).to(wide)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
        probabilities = keep(_softmax(scores, may_be_blind=attn_mask is not None))
        return functional.dropout(probabilities, dropout_p).to(value.dtype) @ value

    functional.scaled_dot_product_attention = explicit
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = fused
        torch.backends.mha.set_fastpath_enabled(fastpath)
