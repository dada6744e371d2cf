"""The weights of a CLIP under the names of open_clip (which are OpenAI's) and under those of transformers.

Both libraries compute the same. They differ in names, in the direction of the two projections, and in whether query,
key and value are one map or three.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vlm_models.weight_space import State

_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",  # sic
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "logit_scale": "logit_scale",
}
"""Names, or what names begin with where they end in a dot."""
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_BLOCK = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}
_PARTS = ("q_proj", "k_proj", "v_proj")
_THREE_IN_ONE = re.compile(r"(.*)attn\.in_proj_(weight|bias)")
_ONE_OF_THREE = re.compile(rf"(.*)self_attn\.({'|'.join(_PARTS)})\.(weight|bias)")


def to_transformers(state: State) -> dict[str, Tensor]:
    """Rename the weights of `open_clip.CLIP` with a vision transformer to those of `transformers.CLIPModel`.

    What neither library knows keeps its name, so that a strict comparison names it.

    Example:
        >>> found = to_transformers({"transformer.resblocks.0.attn.in_proj_bias": torch.arange(3)})
        >>> {name.rpartition("layers.")[2]: tensor.tolist() for name, tensor in found.items()}
        {'0.self_attn.q_proj.bias': [0], '0.self_attn.k_proj.bias': [1], '0.self_attn.v_proj.bias': [2]}
    """
    renamed: dict[str, Tensor] = {}
    for given, tensor in state.items():
        name = given.removeprefix("text.")  # where `CustomTextCLIP` keeps its text tower
        if name in _TRANSPOSED:
            renamed[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif match := _THREE_IN_ONE.fullmatch(name):
            block = _rename(match[1], _NAMES)
            parts = zip(_PARTS, tensor.chunk(3), strict=True)
            renamed |= {f"{block}self_attn.{part}.{match[2]}": piece.clone() for part, piece in parts}
        else:
            renamed[_rename(name, _NAMES, _BLOCK)] = tensor
    return renamed


def to_open_clip(state: State) -> dict[str, Tensor]:
    """Rename the weights of `transformers.CLIPModel` to those of `open_clip.CLIP` with a vision transformer.

    Example:
        >>> state = {"visual.proj": torch.ones(2, 3), "transformer.resblocks.1.attn.in_proj_bias": torch.arange(6)}
        >>> again = to_open_clip(to_transformers(state))
        >>> again.keys() == state.keys(), torch.equal(again["visual.proj"], state["visual.proj"])
        (True, True)
    """
    names, block = _inverse(_NAMES), _inverse(_BLOCK)
    transposed = _inverse(_TRANSPOSED)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in transposed:
            renamed[transposed[name]] = tensor.T.contiguous()
        elif match := _ONE_OF_THREE.fullmatch(name):
            if match[2] == _PARTS[0]:
                pieces = [state[f"{match[1]}self_attn.{part}.{match[3]}"] for part in _PARTS]
                renamed[f"{_rename(match[1], names)}attn.in_proj_{match[3]}"] = torch.cat(pieces)
        else:
            renamed[_rename(name, names, block)] = tensor
    return renamed


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def _rename(name: str, names: Mapping[str, str], inside: Mapping[str, str] | None = None) -> str:
    """Replace the beginning of a name and, after the number of a block, what comes inside of it."""
    for old, new in names.items():
        if name == old or (old.endswith(".") and name.startswith(old)):
            rest = name.removeprefix(old)
            number, dot, part = rest.partition(".")
            if inside and number.isdecimal():
                found = next((key for key in inside if part.startswith(key)), "")
                rest = number + dot + (inside[found] + part.removeprefix(found) if found else part)
            return new + rest
    return name
