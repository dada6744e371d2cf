"""Low-rank adapters (LoRA) in the linear maps of an encoder, and the plain encoder again."""

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vlm_data.errors import CallError
from vlm_models.capabilities import require
from vlm_models.errors import VlmModelsError
from vlm_models.interface import DualEncoder


def adapter_targets(encoder: DualEncoder) -> list[str]:
    """Return the full names of the modules that adapters can go to, as the family of the encoder says.

    A module inside another one of them is left out: adapters of an attention module cover its output map.

    Raises:
        CapabilityError: if the encoder can take no adapters.

    Example:
        >>> from vlm_models import load_encoder
        >>> targets = adapter_targets(load_encoder("tiny"))
        >>> len(targets), targets[0]
        (18, 'clip.visual.transformer.resblocks.0.attn')
    """
    if "adapters" not in encoder.capabilities:
        raise require(encoder, "adapters")
    pattern = re.compile(encoder.adapter_targets())
    names = [name for name, _ in encoder.named_modules() if pattern.fullmatch(name)]
    if not names:
        raise VlmModelsError(
            f"no module of {encoder.spec} has a name like {pattern.pattern!r}, where its family wants adapters. "
            "Expected at least one; take another model, or train without adapters."
        )
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def add_adapters(
    encoder: DualEncoder, rank: int, alpha: float, dropout: float = 0.0, seed: int = 0, targets: Sequence[str] = ()
) -> list[str]:
    """Put adapters into an encoder, in place; afterwards they alone are trained.

    A linear map becomes `x W^T + (alpha / rank) (x A^T) B^T` (Hu et al. 2022, "LoRA", section 4.1), with A
    (rank, in) drawn uniformly from +- 1/sqrt(in) and B (out, rank) zero, so that the encoder is the same function at
    first. In `nn.MultiheadAttention` the maps of query, key and value together have one adapter and the output map has
    another.

    Args:
        encoder: stays the same object; adapted modules are replaced inside it.
        rank: from 1 to the smaller side of the smallest map.
        alpha: numerator of the scale.
        dropout: probability with which elements of x are zeroed before A, in training.
        seed: of A; the global generator is left alone.
        targets: names of the modules, see `adapter_targets`; all of these by default.

    Returns:
        The names of the adapted modules.

    Raises:
        CapabilityError: if the encoder can take no adapters.
        CallError: if a map is too small for the rank, or a module has no place for dropout.
        VlmModelsError: if the package peft is missing, or a module is of a kind that cannot be adapted.

    Example:
        >>> from vlm_models import load_encoder
        >>> tiny = load_encoder("tiny")
        >>> len(add_adapters(tiny, rank=4, alpha=16))
        18
        >>> sum(parameter.numel() for parameter in tiny.parameters() if parameter.requires_grad)
        24576
    """
    names = list(targets) or adapter_targets(encoder)
    for name in names:
        _check(encoder, name, rank, dropout)
    settings = _settings(names, rank, alpha, dropout)
    with torch.random.fork_rng(devices=[]):  # drawn on the CPU, whatever the device
        torch.manual_seed(seed)
        _peft().inject_adapter_in_model(settings, encoder)
    encoder.train(encoder.training)  # new modules start in training mode
    return names


def _settings(names: Sequence[str], rank: int, alpha: float, dropout: float) -> Any:
    """Return what peft has to know."""
    peft = _peft()
    from vlm_models.adapted_attention import AdaptedAttention

    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=cast(int, alpha),  # peft takes any number
        lora_dropout=dropout,
        target_modules="|".join(map(re.escape, names)),  # a list would match ends of names, too
    )
    settings._register_custom_module({nn.MultiheadAttention: AdaptedAttention})
    return settings


def merged(encoder: DualEncoder) -> DualEncoder:
    """Return a frozen copy with plain weights `W + (alpha / rank) B A`, of the structure it had before `add_adapters`.

    Example:
        >>> from vlm_models import load_encoder
        >>> tiny = load_encoder("tiny")
        >>> keys = list(tiny.state_dict())
        >>> _ = add_adapters(tiny, rank=4, alpha=16)
        >>> list(merged(tiny).state_dict()) == keys
        True
    """
    plain = copy.deepcopy(encoder)
    for name, layer in reversed(_adapted_layers(plain)):  # maps inside attention first
        _add_increment(layer)
        parent, _, child = name.rpartition(".")
        setattr(plain.get_submodule(parent), child, layer.base_layer)
    vars(plain).pop("peft_config", None)
    return plain.requires_grad_(False)


def increments(encoder: DualEncoder) -> Iterator[Tensor]:
    """Yield what the adapters add to each weight, `(alpha / rank) B A`, in the shape of the weight and with gradient.

    Example:
        >>> from vlm_models import load_encoder
        >>> tiny = load_encoder("tiny")
        >>> _ = add_adapters(tiny, rank=4, alpha=16)
        >>> any(increment.any() for increment in increments(tiny))  # B is zero at first
        False
    """
    for _, layer in _adapted_layers(encoder):
        yield layer.get_delta_weight(layer.active_adapters[0])


def _adapted_layers(encoder: DualEncoder) -> list[tuple[str, Any]]:
    kind: Any = _peft().tuners.lora.LoraLayer
    return [(name, module) for name, module in encoder.named_modules() if isinstance(module, kind)]


@torch.no_grad()
def _add_increment(layer: Any) -> None:
    base = layer.base_layer
    weight = base.in_proj_weight if isinstance(base, nn.MultiheadAttention) else base.weight
    weight += layer.get_delta_weight(layer.active_adapters[0])


def _check(encoder: DualEncoder, name: str, rank: int, dropout: float) -> None:
    """Raise unless a module can be adapted."""
    module: Any = encoder.get_submodule(name)
    if isinstance(module, nn.MultiheadAttention):
        if dropout:
            raise CallError(
                f"a dropout of {dropout:g} for adapters has no place in {name} of {encoder.spec}: PyTorch's fused "
                "attention hands its input to no adapter. Expected 0; write --set lora.dropout=0."
            )
        smaller = module.embed_dim
    elif isinstance(module, nn.Linear):
        smaller = min(module.in_features, module.out_features)
    else:
        raise VlmModelsError(
            f"{name} of {encoder.spec} is a {type(module).__name__}; adapters go to Linear and MultiheadAttention. "
            "Take another model, or train without adapters."
        )
    if not 1 <= rank <= smaller:
        raise CallError(
            f"adapters of rank {rank} do not fit {name} of {encoder.spec}, whose smaller side is {smaller}. "
            f"Expected a rank from 1 to {smaller}; change --lora-rank."
        )


def _peft() -> Any:
    """Import peft.

    Raises:
        VlmModelsError: if it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise VlmModelsError(
            f"low-rank adapters need the package peft, which cannot be imported ({error}). "
            "Install it: pip install 'vlm-models[lora]'."
        ) from error
    return peft
