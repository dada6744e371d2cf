"""The contract of every data set and reader, and what `load_benchmark` adds to it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from specimens.published import PUBLISHED
from vlm_data import benchmark_info, benchmark_names, load_benchmark
from vlm_data.benchmark import Benchmark, ClassSources, DatasetInfo
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import CallError, DataLayoutError, UnreadableImageError, VlmError
from vlm_data.published import same_names
from vlm_data.text import names_class

ROWS = {"image": [f"cats and dogs/{i}.png" for i in range(30)], "label": ["cat", "dog", "owl"] * 10}


@pytest.fixture
def sources(tmp_path: Path, write_image: Callable[..., Path], digit_setting: Path) -> dict[str, str]:
    """What a reader reads: one source for each spec that ends in a path."""
    for name, label in zip(ROWS["image"], ROWS["label"], strict=True):
        write_image(tmp_path / name)
        write_image(tmp_path / "tree" / label / Path(name).name)
    rows = list(zip(*ROWS.values(), strict=True))
    (tmp_path / "t.csv").write_text("\n".join(map("\t".join, [tuple(ROWS), *rows])))
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(dict(zip(ROWS, row, strict=True))) for row in rows))
    pyarrow.parquet.write_table(pa.table(ROWS), tmp_path / "t.parquet")
    folders = {"folder": f"{tmp_path}/tree", "spurious": str(digit_setting)}
    return folders | {kind: f"{tmp_path}/t.{kind}" for kind in ("csv", "jsonl", "parquet")}


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder that holds a miniature of each published data set."""
    folder = tmp_path_factory.mktemp("published")
    for write in PUBLISHED.values():
        write(folder)
    return dict.fromkeys(PUBLISHED, folder)


def spec_of(name: str, sources: dict[str, str]) -> str:
    if ":" not in benchmark_info(name).spec:
        return name
    assert name in sources, f"give the reader {name!r} something to read: add it to the fixture `sources`"
    return f"{name}:{sources[name]}"


def datasets(benchmark: Benchmark) -> Iterator[ImageDataset]:
    yield from (benchmark.train, benchmark.val)
    yield from (one.dataset for one in benchmark.evaluation_sets())


def classes_of(benchmark: Benchmark, data: ImageDataset) -> ClassSources:
    return next((one.classes for one in benchmark.evaluation_sets() if one.dataset is data), ())


@pytest.mark.parametrize("name", benchmark_names())
def test_it_says_what_it_is(name: str):
    info = benchmark_info(name)
    assert isinstance(info, DatasetInfo)
    assert info.summary
    assert info.spec == name or (info.spec.startswith(f"{name}:") and info.layout)
    assert (info.spec == name and bool(info.layout)) == (name in PUBLISHED)
    assert info.licence or info.layout


def test_telling_what_there_is_imports_no_torch():
    asked = "import sys, vlm_data; [vlm_data.benchmark_info(name) for name in vlm_data.benchmark_names()]"
    done = subprocess.run([sys.executable, "-c", f"{asked}; print('torch' in sys.modules)"], capture_output=True)
    assert (done.returncode, done.stdout.split()) == (0, [b"False"])


@pytest.mark.parametrize("name", benchmark_names())
def test_a_benchmark_is_whole(name: str, sources: dict[str, str], roots: dict[str, Path]):
    benchmark = load_benchmark(spec_of(name, sources), roots.get(name))
    assert len(benchmark.class_names) >= 2
    assert set(same_names(benchmark.class_names)) <= set(benchmark.notes)  # names that occur twice are told
    assert benchmark.templates
    assert all(names_class(template) for template in benchmark.templates)
    splits = benchmark.train, benchmark.val, benchmark.test
    assert [data.split for data in splits] == ["train", "val", "test"]
    assert {data.name for data in splits} == {benchmark.name}
    assert not set(benchmark.train.ids) & {*benchmark.val.ids, *benchmark.test.ids}
    assert not set(benchmark.val.ids) & set(benchmark.test.ids)
    names = [one.data for one in benchmark.evaluation_sets()]
    assert len(set(names)) == len(names)
    assert names[0] == benchmark.name


@pytest.mark.parametrize("name", benchmark_names())
def test_every_data_set_keeps_the_protocol(name: str, sources: dict[str, str], roots: dict[str, Path]):
    benchmark = load_benchmark(spec_of(name, sources), roots.get(name))
    for data in datasets(benchmark):
        n = len(data)
        assert n == len(data.ids) == len(set(data.ids)) == len(data.labels) > 0
        assert data.labels.dtype == np.int64
        assert data.labels.min() >= UNLABELLED
        assert data.labels.max() < len(benchmark.names_of(classes_of(benchmark, data)))
        assert len(data.captions) in (0, n)
        image, evidence = data.image(n - 1), data.evidence(n - 1)
        assert image.mode == "RGB"
        assert evidence is None or (evidence.dtype, evidence.shape) == (np.bool_, image.size[::-1])
        part = data.select([n - 1, 0])
        assert part.ids == (data.ids[-1], data.ids[0])
        assert part.labels.tolist() == [data.labels[-1], data.labels[0]]
        assert part.image(0).tobytes() == image.tobytes()
        assert part.fingerprint != data.fingerprint or n == 1


@pytest.mark.parametrize("name", benchmark_names())
def test_the_same_seed_gives_the_same_data(name: str, sources: dict[str, str], roots: dict[str, Path]):
    first, again = (load_benchmark(spec_of(name, sources), roots.get(name), seed=7) for _ in range(2))
    assert [data.fingerprint for data in datasets(first)] == [data.fingerprint for data in datasets(again)]
    assert (first.class_names_hash, first.templates_hash) == (again.class_names_hash, again.templates_hash)


@pytest.mark.parametrize("name", [name for name in benchmark_names() if ":" in benchmark_info(name).spec])
def test_a_reader_without_data_says_so(name: str, tmp_path: Path):
    with pytest.raises(CallError, match=f"{name!r} names no data"):
        load_benchmark(f"{name}:")
    with pytest.raises(VlmError, match=r"nowhere does not exist.*[Ee]xpected"):
        load_benchmark(f"{name}:nowhere", root=tmp_path)


def test_a_limit_keeps_so_many_of_every_data_set(sources: dict[str, str]):
    whole = load_benchmark("digits")
    benchmark = load_benchmark("digits", limit=7)
    assert {len(data) for data in datasets(benchmark)} == {7}
    positions = [whole.train.ids.index(one) for one in benchmark.train.ids]
    assert positions == sorted(positions) != list(range(7))
    assert len(load_benchmark(f"csv:{sources['csv']}", limit=1000).train) == 24
    with pytest.raises(CallError, match="--limit is 0; expected at least 1"):
        load_benchmark("digits", limit=0)


def test_unreadable_files_are_left_out_on_request_and_listed(sources: dict[str, str]):
    spec = f"folder:{sources['folder']}"
    broken = load_benchmark(spec).train.paths[:2]  # type: ignore[attr-defined]
    for path in broken:
        path.write_bytes(path.read_bytes()[:30])
    benchmark = load_benchmark(spec)
    with pytest.raises(UnreadableImageError, match=broken[0].name):
        benchmark.train.image(0)
    calls: list[tuple[str, int, int]] = []
    benchmark = load_benchmark(spec, skip_unreadable=True, progress=lambda *call: calls.append(call))
    assert benchmark.skipped == tuple(map(str, broken))
    assert len(benchmark.train) == 22
    assert calls[23] == ("files of tree/train decoded", 24, 24)
    assert len(calls) == 30


def test_a_split_without_a_readable_file_is_an_error(sources: dict[str, str]):
    spec = f"folder:{sources['folder']}"
    for path in load_benchmark(spec).val.paths:  # type: ignore[attr-defined]
        path.write_bytes(b"")
    with pytest.raises(DataLayoutError, match="none of the 3 files of tree/val can be decoded"):
        load_benchmark(spec, skip_unreadable=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_data_that_is_not_there_says_where_it_was_looked_for(name: str, tmp_path: Path):
    with pytest.raises(DataLayoutError, match=rf"{name} is not below {tmp_path}: there is no folder .*--layout"):
        load_benchmark(name, tmp_path)
    with pytest.raises(CallError, match=f"'{name}:here' names a source"):
        load_benchmark(f"{name}:here", tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_groups_have_a_value_for_every_image(name: str, roots: dict[str, Path]):
    for data in datasets(load_benchmark(name, roots[name])):
        assert all(len(values) == len(data) for values in data.groups.values())
        assert data.select([len(data) - 1]).groups == {key: values[-1:] for key, values in data.groups.items()}


@pytest.mark.parametrize(("written", "offered"), [("digist", "digits"), ("foldr:x", "folder"), ("cvs:x.csv", "csv")])
def test_an_unknown_name_gets_the_nearest_one(written: str, offered: str):
    with pytest.raises(CallError, match=f"unknown data set .*Did you mean '{offered}'"):
        load_benchmark(written)


def test_a_path_without_a_reader_gets_one_offered(sources: dict[str, str], tmp_path: Path):
    (tmp_path / "t.tsv").write_text("")
    for path, spec in [
        (sources["folder"], "folder"),
        (sources["parquet"], "parquet"),
        (str(tmp_path / "t.tsv"), "csv"),
    ]:
        with pytest.raises(
            CallError, match=f"is a path; expected the name of a data set or a reader. Write {spec}:{path}"
        ):
            load_benchmark(path)
