"""What the region proposal network of a detector of torchvision takes for objects of any kind."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models import detection
from torchvision.transforms.v2 import functional

from vlm_data.dataset import ImageDataset
from vlm_data.errors import CallError
from vlm_models.errors import CheckpointError, reason
from vlm_models.proposals import Proposals, ProposerCall, ProposerInfo
from vlm_models.spec import parse_spec, positive_integer
from vlm_models.weight_files import read_weight_file

INFO = ProposerInfo(
    "Objects of any kind, by the proposal network of Faster or Mask R-CNN; weights from a file of torchvision.",
    "rpn:FILE,nms=0.9,size=800",
)
_OPTIONS = ("nms", "size")
_NMS, _COUNT, _SIZE, _LONGEST = 0.9, 100, 800, 1333 / 800
"""How RegionCLIP (Zhong et al. 2022) extracts features: the best 100 after NMS at 0.9, of images of 800 pixels."""


@dataclasses.dataclass(frozen=True)
class _Settings:
    file: Path
    nms: float
    size: int


def propose(dataset: ImageDataset, call: ProposerCall) -> Proposals:
    """Return the proposals of every image, best first; 100 per image unless another number was asked for.

    Raises:
        CallError: for a missing file name or a wrong option.
        CheckpointError: if the file holds no detector of torchvision with a ResNet-50 or MobileNetV3 and an FPN.
    """
    settings = _settings(call.source)
    model = _detector(settings, call.most or _COUNT).to(call.device).eval()
    rows, boxes, scores = [], [], []
    for start in range(0, len(dataset), call.batch_size):
        stop = min(start + call.batch_size, len(dataset))
        images = [functional.pil_to_tensor(dataset.image(index)) for index in range(start, stop)]
        for number, (found, sure) in enumerate(_proposed(model, images, call.device)):
            rows.append(np.full(len(found), start + number))
            boxes.append(found)
            scores.append(sure)
        call.progress(f"proposing regions of {dataset.name} ({dataset.split})", stop, len(dataset))
    return Proposals(np.concatenate(rows), np.concatenate(boxes), np.concatenate(scores))


def _settings(source: str) -> _Settings:
    spec = parse_spec(f"rpn:{source}")
    unknown = sorted(set(spec.options) - set(_OPTIONS))
    if not spec.source or unknown:
        raise CallError(
            f"rpn:{source} {f'has the unknown option {unknown[0]}' if unknown else 'names no file'}; expected "
            "rpn:FILE, and if wished nms= and size=. For example rpn:maskrcnn.pth,nms=0.5."
        )
    try:
        nms = float(spec.options.get("nms", _NMS))
    except ValueError:
        nms = -1.0
    if not 0 < nms <= 1:
        raise CallError(f"the option nms={spec.options['nms']} is not a share; expected a number above 0, at most 1.")
    return _Settings(Path(spec.source), nms, positive_integer(spec.options, "size") or _SIZE)


def _detector(settings: _Settings, most: int) -> Any:
    """Return a detector with the weights of a file, of which backbone and proposal network are used."""
    tensors = read_weight_file(settings.file).tensors
    state = {name: tensor for name, tensor in tensors.items() if name.startswith(("backbone.", "rpn."))}
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        torch.manual_seed(0)
        model = _architecture(state)(
            weights=None,
            weights_backbone=None,
            num_classes=2,
            min_size=settings.size,
            max_size=round(settings.size * _LONGEST),
            rpn_nms_thresh=settings.nms,
            rpn_post_nms_top_n_test=most,
            rpn_score_thresh=0.0,
        )
    for part in ("backbone", "rpn"):
        own = {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
        try:
            getattr(model, part).load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(
                f"the {part} in {settings.file} does not fit: {reason(error)}. Expected a state of torchvision's "
                "fasterrcnn_resnet50_fpn, its v2, maskrcnn_resnet50_fpn, its v2, or fasterrcnn_mobilenet_v3_large_fpn."
            ) from error
    return model


def _architecture(state: dict[str, Tensor]) -> Callable[..., Any]:
    """Return what builds the detector that these names belong to; Mask R-CNN proposes as Faster R-CNN does."""
    if "backbone.body.0.0.weight" in state:
        return detection.fasterrcnn_mobilenet_v3_large_fpn
    if any(name.startswith("backbone.fpn.inner_blocks.0.1.") for name in state):
        return detection.fasterrcnn_resnet50_fpn_v2
    return detection.fasterrcnn_resnet50_fpn


@torch.inference_mode()
def _proposed(model: Any, images: list[Tensor], device: torch.device | str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return boxes in pixels of each image, and their scores."""
    kept: list[tuple[list[Tensor], list[Tensor]]] = []
    filtered = model.rpn.filter_proposals

    def keep(*args: Any) -> tuple[list[Tensor], list[Tensor]]:
        kept.append(filtered(*args))
        return kept[-1]

    model.rpn.filter_proposals = keep  # the network itself returns boxes without their scores
    try:
        resized, _ = model.transform([image.to(device).float() / 255 for image in images])
        model.rpn(resized, model.backbone(resized.tensors))
    finally:
        del model.rpn.filter_proposals
    found = []
    for image, size, boxes, scores in zip(images, resized.image_sizes, *kept[-1], strict=True):
        height, width = image.shape[-2:]
        scale = boxes.new_tensor([width / size[1], height / size[0]] * 2)
        pixels = (boxes * scale).double().cpu().numpy()
        large = (pixels[:, 2:] > pixels[:, :2]).all(axis=1)
        found.append((pixels[large], scores.cpu().numpy()[large]))
    return found
