import numpy as np

from vlm_data.benchmark import Benchmark, EvaluationSet, Shift
from vlm_data.dataset import ArrayDataset


def dataset(name: str, split: str = "test") -> ArrayDataset:
    return ArrayDataset(name, split, ("a",), np.zeros(1, np.int64), np.zeros((1, 2, 2, 3), np.uint8))


def benchmark(names: tuple[str, ...] = ("cat", "dog"), templates: tuple[str, ...] = ("{c}",)) -> Benchmark:
    invert = Shift("invert", "natural", (dataset("pets/invert"),))
    noise = Shift("noise", "corruption", tuple(dataset(f"pets/noise-{i}") for i in (1, 2)))
    splits = (dataset("pets", split) for split in ("train", "val", "test"))
    return Benchmark("pets", names, templates, *splits, shifts=(invert, noise))


def facts(one: EvaluationSet) -> tuple[str, str, str, str, int]:
    return one.data, one.role, one.shift, one.group, one.severity


def test_evaluation_sets_are_the_test_set_and_every_severity_of_every_shift():
    sets = list(benchmark().evaluation_sets())
    assert [facts(one) for one in sets] == [
        ("pets", "id", "", "", 0),
        ("pets/invert", "shift", "invert", "natural", 0),
        ("pets/noise-1", "shift", "noise", "corruption", 1),
        ("pets/noise-2", "shift", "noise", "corruption", 2),
    ]
    assert [one.dataset.name for one in sets] == [one.data for one in sets]


def test_hashes_tell_names_and_templates_apart():
    base = benchmark()
    assert benchmark(names=("dog", "cat")).class_names_hash != base.class_names_hash
    assert benchmark(names=("dog", "cat")).templates_hash == base.templates_hash
    assert benchmark(templates=("a {c}",)).templates_hash != base.templates_hash
