import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm_data.dataset import ArrayDataset, FileDataset
from vlm_data.errors import UnreadableImageError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def files(*paths: Path) -> FileDataset:
    labels = np.arange(len(paths), dtype=np.int64)
    return FileDataset("photos", "test", tuple(path.name for path in paths), labels, paths)


def arrays(n: int, captions: bool = False) -> ArrayDataset:
    return ArrayDataset(
        "photos",
        "train",
        tuple(f"{i}" for i in range(n)),
        np.arange(n, dtype=np.int64),
        RNG.integers(0, 256, (n, 9, 7, 3), dtype=np.uint8),
        RNG.random((n, 9, 7)) < 0.5,
        tuple((f"image {i}", f"picture {i}") for i in range(n)) if captions else (),
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "webp", "jpg"])
def test_files_of_every_format_are_decoded_as_rgb(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((9, 7, 3), (200, 100, 50), dtype=np.uint8)).save(path)
    image = files(path).image(0)
    assert (image.mode, image.size) == ("RGB", (7, 9))
    np.testing.assert_allclose(np.asarray(image)[4, 3], (200, 100, 50), atol=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (7, 9), "white").convert(mode).save(path)
    assert np.asarray(files(path).image(0)).tolist() == np.full((9, 7, 3), 255).tolist()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.{suffix}"
    grey = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(path)
    assert np.asarray(files(path).image(0))[:, :, 0].tolist() == [[0, 0, 1], [128, 255, 255]]


def test_values_without_a_known_range_are_refused(tmp_path: Path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.ones((3, 3), dtype=np.float32)).save(path)
    with pytest.raises(UnreadableImageError, match="pixel mode 'F' has no known range"):
        files(path).image(0)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_an_image_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(
        UnreadableImageError, match=r"cannot decode .*a\.png \(sample 'a\.png' of photos/test\).*--skip"
    ):
        files(path).image(0)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UnreadableImageError, match=r"cannot decode .*gone\.png"):
        files(tmp_path / "gone.png").image(0)


@pytest.mark.filterwarnings("ignore")  # Pillow says what it noticed before it fails
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_a_damaged_file_is_decoded_or_refused_but_never_anything_else(tmp_path: Path, data: st.DataObject, suffix: str):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, suffix)
    content = bytearray(buffer.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert files(path).image(0).mode == "RGB"
    except UnreadableImageError as error:
        assert str(path) in str(error)


@given(st.lists(st.integers(0, 4)))
def test_select_takes_rows_of_everything_in_order(rows: list[int]):
    whole = arrays(5, captions=True)
    part = whole.select(rows)
    assert part.ids == tuple(str(row) for row in rows)
    assert part.labels.tolist() == rows
    assert part.captions == tuple(whole.captions[row] for row in rows)
    for new, old in enumerate(rows):
        assert np.array_equal(np.asarray(part.image(new)), whole.images[old])
        assert np.array_equal(part.evidence(new), whole.evidence(old))


def test_selected_files_are_the_files_of_these_rows(tmp_path: Path):
    dataset = files(*(tmp_path / f"{i}.png" for i in range(3))).select([2, 0])
    assert [path.name for path in dataset.paths] == list(dataset.ids) == ["2.png", "0.png"]
    assert dataset.labels.tolist() == [2, 0]
    assert (dataset.captions, dataset.evidence(0)) == ((), None)


def test_the_fingerprint_of_arrays_changes_with_ids_labels_captions_and_pixels():
    dataset = arrays(3)
    changed = dataset.images.copy()
    changed[0, 0, 0, 0] ^= 1
    replaced = [
        ArrayDataset("photos", "train", ids, labels, images, captions=captions)
        for ids, labels, images, captions in [
            (dataset.ids, dataset.labels, dataset.images, ()),
            (("0", "1", "x"), dataset.labels, dataset.images, ()),
            (dataset.ids, dataset.labels[::-1].copy(), dataset.images, ()),
            (dataset.ids, dataset.labels, changed, ()),
            (dataset.ids, dataset.labels, dataset.images, (("a",), ("b",), ("c",))),
        ]
    ]
    assert len({one.fingerprint for one in replaced}) == 5
    assert replaced[0].fingerprint == dataset.fingerprint


def test_the_fingerprint_of_files_changes_with_their_sizes(tmp_path: Path):
    paths = (tmp_path / "a", tmp_path / "b")
    prints = []
    for sizes in ((1, 23), (12, 3), (12, 0)):
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes(bytes(size))
        prints.append(files(*paths).fingerprint)
    paths[1].unlink()
    assert len(set(prints)) == 3
    assert files(*paths).fingerprint == prints[-1]
