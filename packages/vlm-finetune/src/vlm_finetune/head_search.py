"""Heads that are fitted to cached features, one after the other; each is judged on ID validation, and one is kept."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.files import write_bytes
from vlm_data.progress import Progress, silent
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.run_log import RunLog
from vlm_finetune.validation import accuracy_and_nll
from vlm_models.classifier import LinearHead
from vlm_models.features import extract_features
from vlm_models.interface import DualEncoder

Facts = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Raw features of a frozen encoder and their labels; images without label are left out."""

    features: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"]

    @classmethod
    def of(cls, encoder: DualEncoder, dataset: ImageDataset, progress: Progress = silent) -> "LabelledFeatures":
        """Extract the features of a data set, on the device of the encoder."""
        features = torch.from_numpy(extract_features(encoder, dataset, progress=progress)["feature"])
        labels, device = torch.from_numpy(dataset.labels), next(encoder.parameters()).device
        known = labels != UNLABELLED
        return cls(features[known].to(device), labels[known].to(device))

    def judge(self, head: LinearHead) -> Facts:
        """Return `val_accuracy` and `val_nll` of a head on these features; empty without any."""
        if not len(self.labels):
            return {}
        with torch.inference_mode():
            accuracy, nll = accuracy_and_nll(head(self.features), self.labels)
        return {"val_accuracy": accuracy, "val_nll": nll}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A fitted head.

    Attributes:
        head: on raw features, as every head.
        facts: what it was fitted with and what came out, for the log and for going on after a pause.
        is_kept: whether it takes the place of the head kept so far.
    """

    head: LinearHead
    facts: Facts
    is_kept: bool


@dataclasses.dataclass(frozen=True)
class Past:
    """What a search did before it was interrupted.

    Attributes:
        facts: of all candidates so far, in order.
        last: head of the last of them.
        kept: head to be kept so far.
    """

    facts: tuple[Facts, ...] = ()
    last: LinearHead | None = None
    kept: LinearHead | None = None

    def then(self, candidate: Candidate) -> "Past":
        """Return the past after one more candidate."""
        kept = candidate.head if candidate.is_kept else self.kept
        return Past((*self.facts, candidate.facts), candidate.head, kept)

    def save(self, path: Path) -> None:
        """Write it into one file, atomically."""
        heads = {"last": self.last, "kept": self.kept}
        tensors = {
            f"{role}.{name}": tensor.detach().cpu().contiguous().clone()  # a head may have both roles
            for role, head in heads.items()
            for name, tensor in (head.state_dict() if head else {}).items()
        }
        write_bytes(path, save(tensors, metadata={"facts": json.dumps(self.facts)}))

    @classmethod
    def load(cls, path: Path) -> "Past":
        """Read what `save` wrote; an empty past if the file is not there.

        Raises:
            VlmFinetuneError: if it is damaged.
        """
        if not path.exists():
            return cls()
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                names = set(file.keys())
                heads = {
                    role: LinearHead(file.get_tensor(f"{role}.weight"), file.get_tensor(f"{role}.bias"))
                    for role in ("last", "kept")
                    if f"{role}.weight" in names
                }
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise VlmFinetuneError(
                f"cannot read {path}: {' '.join(str(error).split())[:200]}. Expected the heads of an interrupted "
                f"search. Remove {path.parent} to begin again."
            ) from error
        return cls(tuple(facts), heads.get("last"), heads.get("kept"))


@dataclasses.dataclass(frozen=True, eq=False)
class SearchData:
    """What a search sees: training and ID validation features, and how many classes there are."""

    train: LabelledFeatures
    val: LabelledFeatures
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, encoder: DualEncoder, benchmark: Benchmark, progress: Progress = silent) -> "SearchData":
        """Extract the features of both splits; each image is encoded once for all candidates."""
        train, val = (LabelledFeatures.of(encoder, split, progress) for split in (benchmark.train, benchmark.val))
        return cls(train, val, benchmark.class_names)


def run_search(
    search: Callable[[Past], Iterator[Candidate]],
    resume: Path,
    log: RunLog,
    facts: Mapping[str, Any],
    is_main: bool = True,
    progress: Progress = silent,
) -> tuple[LinearHead, int]:
    """Fit all candidates, from where an interrupted search stopped, and leave a resume point after each.

    Args:
        search: continues a past.
        resume: file of the resume point.
        log: receives one event per candidate.
        facts: what the first event tells.
        is_main: whether this process writes; all do the same work.
        progress: told about candidates.

    Returns:
        The kept head, and how many candidates there were.
    """
    past = Past.load(resume)
    done = len(past.facts)
    log.rewind(0, done)
    log.append([{"event": "resume" if done else "start", "phase": 0, "step": done, **facts}])
    for number, candidate in enumerate(search(past), start=done + 1):
        past = past.then(candidate)
        log.append([{"event": "candidate", "phase": 0, "step": number, **candidate.facts, "kept": candidate.is_kept}])
        if is_main:
            past.save(resume)
        progress("heads fitted", number, number)
    if past.kept is None:
        raise RuntimeError("the search of a method kept none of its heads")
    return past.kept, len(past.facts)
