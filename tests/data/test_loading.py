from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_data.captions import Captioner
from vlm_data.dataset import ArrayDataset, FileDataset
from vlm_data.errors import CallError, UnreadableImageError
from vlm_data.loading import (
    Batch,
    epoch_order,
    evaluation_batches,
    sample_rng,
    steps_per_epoch,
    training_batches,
    training_order,
)
from vlm_data.preprocess import Preprocess

# Workers are forked, which Python 3.12 and later call risky in a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CAPTIONER = Captioner(("cat", "dog", "owl"), ("a {c}", "the {c}", "one {c}", "{c}"))
PREPROCESS = Preprocess(8)


def arrays(n: int, side: int = 8) -> ArrayDataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return ArrayDataset("pets", "train", tuple(f"{i}" for i in range(n)), np.arange(n) % 3, images)


@pytest.fixture
def files(tmp_path: Path, write_image: Callable[..., Path]) -> FileDataset:
    paths = tuple(write_image(tmp_path / f"{i}.png") for i in range(10))
    return FileDataset("pets", "train", tuple(path.name for path in paths), np.arange(10) % 3, paths)


def content(batches: Iterable[Batch]) -> list[tuple[list[int], list[int], list[int], tuple[str, ...]]]:
    return [(b.indices.tolist(), b.images.flatten().tolist(), b.labels.tolist(), b.captions) for b in batches]


def shares(draw: st.DataObject) -> tuple[int, int, int]:
    """Draw a number of samples, a global batch size and a number of processes that divides it."""
    world = draw.draw(st.integers(1, 4))
    share = draw.draw(st.integers(1, 5))
    return draw.draw(st.integers(share * world, 60)), share * world, world


@given(st.data(), st.integers(0, 3), st.integers(0, 3))
def test_processes_share_every_global_batch_and_no_sample_comes_twice(data: st.DataObject, seed: int, epoch: int):
    n, batch_size, world = shares(data)
    whole = training_order(n, batch_size, seed, epoch)
    parts = [training_order(n, batch_size, seed, epoch, rank, world) for rank in range(world)]
    assert [list(chain(*step)) for step in zip(*parts, strict=True)] == whole
    seen = list(chain(*whole))
    assert len(set(seen)) == len(seen) == batch_size * steps_per_epoch(n, batch_size)
    assert set(seen) <= set(range(n))
    assert n - len(seen) < batch_size


@given(st.data())
def test_resuming_at_any_step_is_the_rest_of_the_order(data: st.DataObject):
    n, batch_size, world = shares(data)
    order = training_order(n, batch_size, 0, 1, 0, world)
    step = data.draw(st.integers(0, len(order)))
    whole = content(training_batches(arrays(n), PREPROCESS, order, seed=0, epoch=1, captioner=CAPTIONER))
    rest = content(training_batches(arrays(n), PREPROCESS, order[step:], seed=0, epoch=1, captioner=CAPTIONER))
    assert rest == whole[step:]


@settings(deadline=None)
@given(st.data())
def test_crops_and_captions_of_a_sample_do_not_depend_on_the_number_of_processes(data: st.DataObject):
    n, batch_size, world = shares(data)
    dataset = arrays(n, side=12)

    def samples(rank: int, world: int) -> dict[int, tuple[list[int], str]]:
        order = training_order(n, batch_size, 0, 0, rank, world)
        batches = training_batches(
            dataset, PREPROCESS, order, seed=0, epoch=0, augmentation="crop", captioner=CAPTIONER
        )
        return {
            int(index): (image.flatten().tolist(), caption)
            for batch in batches
            for index, image, caption in zip(batch.indices, batch.images, batch.captions, strict=True)
        }

    together = {index: sample for rank in range(world) for index, sample in samples(rank, world).items()}
    assert together == samples(0, 1)


@given(n=st.integers(0, 40), batch_size=st.integers(1, 12), world=st.integers(1, 5))
def test_evaluation_sees_every_sample_once_in_batches_that_do_not_depend_on_the_processes(
    n: int, batch_size: int, world: int
):
    dataset = arrays(n)
    whole = content(evaluation_batches(dataset, PREPROCESS, batch_size))
    parts = [content(evaluation_batches(dataset, PREPROCESS, batch_size, rank=r, world=world)) for r in range(world)]
    assert sorted(chain(*(batch[0] for part in parts for batch in part))) == list(range(n))
    assert list(chain(*(batch[0] for batch in whole))) == list(range(n))
    assert all(batch in whole for part in parts for batch in part)


@pytest.mark.parametrize("augmentation", ["none", "crop"])
def test_workers_deliver_what_one_process_does(files: FileDataset, augmentation: str):
    order = training_order(10, 4, seed=1, epoch=2)

    def batches(workers: int) -> list:
        return content(
            training_batches(
                files,
                PREPROCESS,
                order,
                seed=1,
                epoch=2,
                augmentation=augmentation,
                captioner=CAPTIONER,
                workers=workers,
            )
        )

    assert batches(2) == batches(0)
    both = [content(evaluation_batches(files, PREPROCESS, 3, workers=workers)) for workers in (0, 2)]
    assert both[0] == both[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_is_one_clear_paragraph_also_from_a_worker(files: FileDataset, workers: int):
    files.paths[4].write_bytes(b"cut")
    with pytest.raises(UnreadableImageError) as caught:
        list(evaluation_batches(files, PREPROCESS, 3, workers=workers))
    assert str(caught.value).startswith(f"cannot decode {files.paths[4]} (sample '4.png' of pets/train)")
    assert "Traceback" not in str(caught.value)


def test_reading_draws_nothing_from_global_generators(files: FileDataset):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    order = training_order(10, 4, seed=0, epoch=0)
    list(training_batches(files, PREPROCESS, order, seed=0, epoch=0, augmentation="crop", captioner=CAPTIONER))
    list(evaluation_batches(files, PREPROCESS, 4, workers=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [epoch_order(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(50, 1, 2).tolist() == epoch_order(50, 1, 2).tolist()


def test_captions_change_between_epochs():
    order = [list(range(30))]
    epochs = [
        next(iter(training_batches(arrays(30), PREPROCESS, order, seed=0, epoch=epoch, captioner=CAPTIONER))).captions
        for epoch in (0, 1, 0)
    ]
    assert epochs[0] == epochs[2] != epochs[1]


def test_generators_of_samples_differ_from_each_other_and_from_that_of_the_order():
    firsts = [sample_rng(seed, epoch, index).random() for seed in range(4) for epoch in range(4) for index in range(4)]
    firsts += [np.random.default_rng((seed, epoch)).random() for seed in range(4) for epoch in range(4)]
    assert len(set(firsts)) == len(firsts)


def test_images_of_the_right_size_are_not_touched():
    dataset = arrays(3)
    (batch,) = evaluation_batches(dataset, PREPROCESS, 3)
    assert batch.images.dtype == torch.uint8
    assert torch.equal(batch.images.permute(0, 2, 3, 1), torch.from_numpy(dataset.images))


def test_a_batch_moves_its_tensors():
    batch = Batch(torch.arange(2), torch.zeros(2, 3, 4, 4), torch.arange(2), ("a", "b")).to("meta")
    assert (batch.images.device.type, batch.labels.device.type, batch.captions) == ("meta", "meta", ("a", "b"))


def test_a_data_set_smaller_than_a_batch_is_one_batch():
    assert steps_per_epoch(5, 8) == 1
    assert [sorted(batch) for batch in training_order(5, 8, 0, 0)] == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(("batch_size", "world"), [(9, 2), (1, 2), (0, 1), (-4, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, world: int):
    with pytest.raises(CallError, match=rf"a global batch of {batch_size} samples cannot be split evenly over {world}"):
        training_order(10, batch_size, 0, 0, 0, world)


def test_an_evaluation_batch_of_nothing_is_refused():
    with pytest.raises(CallError, match="--batch-size is 0; expected at least 1"):
        list(evaluation_batches(arrays(3), PREPROCESS, 0))
