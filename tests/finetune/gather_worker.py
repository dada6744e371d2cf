"""One of several processes of `test_gather.py`: what each rank computes is written to a file."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from vlm_finetune.gather import gather_rows
from vlm_finetune.losses import (
    contrastive,
    contrastive_exclusive,
    contrastive_soft_targets,
    contrastive_without_collisions,
    pair_logits,
    self_distillation,
)


class Towers(nn.Module):
    """Two linear towers and a scale; the forward pass is the sum of all losses over pairs."""

    def __init__(self, size):
        super().__init__()
        torch.manual_seed(0)
        self.image_tower = nn.Linear(size, size, dtype=torch.float64)
        self.text_tower = nn.Linear(size, size, dtype=torch.float64)
        self.log_scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, images, texts, labels):
        pair = functional.normalize(self.image_tower(images)), functional.normalize(self.text_tower(texts))
        scale = self.log_scale.exp()
        aware = (contrastive_soft_targets, contrastive_without_collisions, contrastive_exclusive)
        return (
            contrastive(*pair, scale, label_smoothing=0.1)
            + self_distillation(*pair, scale, images, texts, 5.0)
            + sum(loss(*pair, scale, labels) for loss in aware)
        )


def published(golden, own):
    """Loss and gradients of this rank for the stored features."""
    leaves = {name: torch.tensor(golden[name][own], requires_grad=True) for name in ("image_features", "text_features")}
    leaves["logit_scale"] = torch.tensor(golden["logit_scale"], requires_grad=True)
    loss = contrastive(*leaves.values())
    loss.backward()
    found = {f"grad_{name}": leaf.grad.numpy() for name, leaf in leaves.items()}
    shape = pair_logits(*(leaf.detach() for leaf in leaves.values())).logits_per_image.shape
    return {"loss": loss.detach().numpy(), "logits_shape": np.array(shape), **found}


def averaged(golden, own):
    """Loss and gradients of a model under DDP, which averages gradients over processes."""
    images, texts = (torch.tensor(golden[name][own]) for name in ("image_features", "text_features"))
    labels = torch.arange(len(golden["image_features"]))[own] % 2  # classes that reach across processes
    towers = Towers(images.shape[1])
    # held until after the backward pass: DDP averages in hooks that end with it
    model = DistributedDataParallel(towers) if dist.is_initialized() else towers
    loss = model(images, texts, labels)
    loss.backward()
    return {"ddp/loss": loss.item(), **{f"ddp/{name}": p.grad.numpy() for name, p in towers.named_parameters()}}


def share_of(golden, rank, world):
    """Everything that process `rank` of `world` computes."""
    rows = len(golden["image_features"]) // world
    own = slice(rank * rows, (rank + 1) * rows)
    gathered = gather_rows(torch.arange(2 * rows).view(rows, 2) + 100 * rank)
    return {"gathered": gathered.numpy(), **published(golden, own), **averaged(golden, own)}


def main(golden_file, folder, rank, world):
    """Compute the share of one process and write it to `<rank>.npz`."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    np.savez(Path(folder) / f"{rank}.npz", **share_of(np.load(golden_file), rank, world))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
