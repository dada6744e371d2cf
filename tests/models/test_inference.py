import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.dataset import ArrayDataset, FileDataset
from vlm_data.errors import CallError, UnreadableImageError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.inference import map_images, process_place

PREPROCESS = Preprocess(4)


def numbered(n):
    """n images whose pixels are all their own number."""
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 4, 4, 3)).copy()
    return ArrayDataset("numbers", "test", tuple(map(str, range(n))), np.arange(n), pixels)


@given(st.integers(1, 40), st.integers(1, 50))
def test_every_sample_once_and_in_order(n, batch_size):
    found = map_images(lambda images: images[:, 0, 0, :2].float(), numbered(n), PREPROCESS, batch_size=batch_size)
    assert found.shape == (n, 2) and found.dtype == np.float32
    assert found[:, 0].tolist() == list(range(n))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_result_does_not_depend_on_the_batch_size(batch_size):
    encoder = load_encoder("tiny")
    data = ArrayDataset(
        "noise",
        "test",
        tuple(map(str, range(20))),
        np.zeros(20, dtype=np.int64),
        np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
    )
    whole = map_images(encoder.encode_image, data, encoder.preprocess, batch_size=20)
    parts = map_images(encoder.encode_image, data, encoder.preprocess, batch_size=batch_size)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)


def test_rows_of_any_shape():
    found = map_images(lambda images: images.float(), numbered(5), PREPROCESS, batch_size=2)
    assert found.shape == (5, 3, 4, 4)


def test_an_empty_data_set_is_refused():
    with pytest.raises(CallError, match=r"numbers \(test\) has no images"):
        map_images(lambda images: images[:, 0, 0].float(), numbered(0), PREPROCESS)


def test_progress_ends_with_the_last_batch():
    seen = []
    map_images(
        lambda images: images[:, 0, 0].float(),
        numbered(5),
        PREPROCESS,
        batch_size=2,
        progress=lambda *event: seen.append(event),
    )
    assert [(done, total) for _, done, total in seen] == [(1, 3), (2, 3), (3, 3)]
    assert "numbers" in seen[0][0]


def test_no_gradients_are_kept():
    model = torch.nn.Linear(4, 2)
    map_images(lambda images: model(images[:, 0, 0].float()), numbered(3), PREPROCESS)
    assert model.weight.grad is None


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(CallError, match="--batch-size is 0"):
        map_images(lambda images: images, numbered(3), PREPROCESS, batch_size=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named(tmp_path, workers):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    data = FileDataset("files", "test", ("a",), np.zeros(1, dtype=np.int64), (tmp_path / "cut.jpg",))
    with pytest.raises(UnreadableImageError, match=r"cut\.jpg"):
        map_images(lambda images: images[:, 0, 0].float(), data, PREPROCESS, workers=workers)


def test_one_process_is_the_first_of_one():
    assert process_place() == (0, 1)
