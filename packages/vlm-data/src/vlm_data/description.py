"""What a benchmark consists of, as plain values: for people, and for programs that read JSON."""

from typing import Any

import numpy as np

from vlm_data.benchmark import Benchmark
from vlm_data.dataset import UNLABELLED, FileDataset, ImageDataset


def describe(benchmark: Benchmark) -> dict[str, Any]:
    """Return names, templates, hashes and sizes of a benchmark; no image is opened.

    Returns:
        JSON-able values: `name`, `class_names`, `class_names_hash`, `templates`, `templates_hash`, `skipped`, `notes`
        and `sets`, one entry per split and per member of a shift with `data`, `split`, `role` (`id` or `shift`),
        `shift`, `group`, `severity`, `images`, `labelled`, `classes` (how many occur), `captions`, `evidence` (of how
        many images is known what a right answer should rest on) and `hash` (see `ImageDataset.fingerprint`).

    Example:
        >>> from vlm_data import load_benchmark
        >>> digits = describe(load_benchmark("digits"))
        >>> digits["sets"][0]["images"], digits["sets"][-1]["data"]
        (797, 'digits/blur-5')
    """
    training = [(benchmark.name, dataset) for dataset in (benchmark.train, benchmark.val)]
    own = {"role": "id", "shift": "", "group": "", "severity": None}
    sets = [{"data": data, **own, **_set_facts(dataset)} for data, dataset in training]
    for tested in benchmark.evaluation_sets():
        place = {
            "role": tested.role,
            "shift": tested.shift,
            "group": tested.group,
            "severity": tested.severity or None,
        }
        sets.append({"data": tested.data, **place, **_set_facts(tested.dataset)})
    return {
        "name": benchmark.name,
        "class_names": list(benchmark.class_names),
        "class_names_hash": benchmark.class_names_hash,
        "templates": list(benchmark.templates),
        "templates_hash": benchmark.templates_hash,
        "skipped": list(benchmark.skipped),
        "notes": list(benchmark.notes),
        "sets": sets,
    }


def _set_facts(dataset: ImageDataset) -> dict[str, Any]:
    labels = dataset.labels[dataset.labels != UNLABELLED]
    return {
        "split": dataset.split,
        "images": len(dataset),
        "labelled": len(labels),
        "classes": len(np.unique(labels)),
        "captions": sum(len(captions) for captions in dataset.captions),
        "evidence": _evidence_count(dataset),
        "hash": dataset.fingerprint,
    }


def _evidence_count(dataset: ImageDataset) -> int:
    if isinstance(dataset, FileDataset):  # its masks need the sizes of its images
        source = dataset.evidence_source
        return 0 if source is None else sum(source.knows(sample_id) for sample_id in dataset.ids)
    return sum(dataset.evidence(index) is not None for index in range(len(dataset)))
