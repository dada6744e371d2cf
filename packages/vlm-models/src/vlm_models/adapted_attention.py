"""LoRA for PyTorch's `nn.MultiheadAttention`; needs the package peft."""

from typing import Any

import torch
from peft.tuners.lora.layer import MultiheadAttention
from torch import Tensor
from torch.func import functional_call


class AdaptedAttention(MultiheadAttention):
    """Adds `scale B A` to the weights of one forward pass, and leaves the weights of the module alone.

    peft's own layer adds the increment to the weights before every forward pass and subtracts it afterwards.
    `(W + D) - D` is not W in floating point: frozen weights drift. It also registers them anew each time, last in their
    module, so that they are other objects in another order for whoever keeps a list of them, such as an optimiser, DDP
    or an EMA teacher.
    """

    def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what the attention module returns with the adapted weights: its output, and weights if asked for."""
        attention: Any = self.base_layer
        adapter = self.active_adapters[0]
        with torch.autocast(query.device.type, enabled=False):  # the sum would be as coarse as its coarsest term
            weights = {
                "in_proj_weight": attention.in_proj_weight + self.get_delta_weight(adapter),
                "out_proj.base_layer.weight": attention.out_proj.weight + attention.out_proj.get_delta_weight(adapter),
            }
        return functional_call(attention, weights, (query, *args), kwargs)

    def _restore_weights(self) -> None:
        """Do nothing: peft puts weights back here that its forward pass takes away."""
