"""What this machine offers, line by line: each check asks one thing and says what to do where it is amiss."""

import dataclasses
import os
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

OWN = ("vlm-data", "vlm-models", "vlm-finetune", "vlm-eval", "vlm-explain", "vlm-cli")
FOREIGN = ("torch", "torchvision", "open_clip_torch", "accelerate", "numpy", "pillow", "pyarrow", "safetensors")
_GIGABYTE = 1e9
_LITTLE_SPACE = 2.0  # gigabytes; a run of the embedded default takes 0.1, one of a ViT-B/16 with resume points 2


@dataclasses.dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        status: `ok`, `warning` (something will be slower or refused) or `problem` (vlm will not work here).
        found: in one sentence.
        advice: what to do; empty when all is well.
    """

    name: str
    status: str
    found: str
    advice: str = ""


def check_up() -> Iterator[Check]:
    """Yield the findings one after the other; a check that fails by itself is a problem, not the end."""
    for check in (_versions, _devices, _threads, _current_folder, _model_cache, _weights, _embedded_model_and_data):
        name = check.__name__.strip("_").replace("_", " ")
        try:
            yield check(name)
        except Exception as error:
            yield Check(name, "problem", f"{type(error).__name__}: {error}", "Install vlm again.")


def _versions(name: str) -> Check:
    found, missing = [f"python {platform.python_version()}"], []
    for package in (*FOREIGN, *OWN):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check(name, "problem", f"{', '.join(missing)} not installed", "Install vlm again.")
    return Check(name, "ok", ", ".join(found))


def _devices(name: str) -> Check:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("mps")
    if gpus:
        return Check(name, "ok", f"{', '.join(gpus)}, cpu")
    return Check(name, "ok", "cpu; no GPU, so keep to small models (tiny, ViT-S-32) or to linear-probe")


def _threads(name: str) -> Check:
    import torch

    used, cores = torch.get_num_threads(), _usable_cores()
    found = f"PyTorch computes with {used} threads on {cores} cores"
    if used > cores:
        return Check(name, "warning", found, f"Too many get in each other's way: set OMP_NUM_THREADS={cores}.")
    if used < cores and "OMP_NUM_THREADS" in os.environ:
        return Check(name, "warning", found, "The environment variable OMP_NUM_THREADS limits it; unset it for speed.")
    return Check(name, "ok", found)


def _usable_cores() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _current_folder(name: str) -> Check:
    return _storage(name, Path.cwd(), "problem", "Runs go to ./runs by default: go to another folder, or use --out.")


def _model_cache(name: str) -> Check:
    from vlm_models.openclip.published import cache_folder

    advice = "Downloaded weights go there: set HF_HOME to a folder you can write. tiny needs no download."
    return _storage(name, Path(cache_folder()), "warning", advice)


def _storage(name: str, folder: Path, worst: str, advice: str) -> Check:
    from vlm_data.storage import inspect_storage

    storage = inspect_storage(folder)
    if storage.problem:
        return Check(name, worst, f"{folder} cannot be written: {storage.problem}", advice)
    free = storage.free_bytes / _GIGABYTE
    found = f"{folder} can be written, {free:.1f} GB free"
    return (
        Check(name, "warning", found, f"That is little. {advice}") if free < _LITTLE_SPACE else Check(name, "ok", found)
    )


def _weights(name: str) -> Check:
    from vlm_models.variants import family_variants

    cached = [f"openclip:{v.architecture}/{tag}" for v in family_variants("openclip") for tag in v.cached]
    none = "none of open_clip's tags in the cache: the first use of a tag downloads it; tiny works without"
    return Check(name, "ok", ", ".join(cached) or none)


def _embedded_model_and_data(name: str) -> Check:
    from vlm_data import load_benchmark
    from vlm_eval import predict, score
    from vlm_models.zero_shot import load_classifier

    digits = load_benchmark("digits", limit=100)
    row = score(predict(load_classifier("tiny", digits.class_names, digits.templates), digits.test))
    accuracy, low = row["metrics"]["accuracy"], row["intervals"]["accuracy"][0]
    found = f"tiny reads {row['n']} digits without training: accuracy {accuracy:.0%}, chance is 10 %"
    if low <= 1 / len(digits.class_names):
        return Check(name, "problem", found, "Embedded weights and data do not belong together: install vlm again.")
    return Check(name, "ok", found)
