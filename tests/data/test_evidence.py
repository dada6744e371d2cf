import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.dataset import FileDataset
from vlm_data.errors import VlmDataError
from vlm_data.evidence.source import EvidenceSource
from vlm_data.evidence_batches import evaluation_masks
from vlm_data.preprocess import Preprocess
from vlm_data.transforms import evaluation_mask, evaluation_transform


@dataclasses.dataclass(frozen=True)
class LeftHalf:
    """The left half of every image but `unknown.png` is evidence."""

    fingerprint: str = "0123456789abcdef"

    def knows(self, sample_id: str) -> bool:
        return sample_id != "unknown.png"

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        mask = np.zeros(size[::-1], dtype=bool)
        mask[:, : size[0] // 2] = True
        return mask if self.knows(sample_id) else None


def files(folder: Path, border: int = 0, source: EvidenceSource | None = None) -> FileDataset:
    names = ("one.png", "unknown.png", "two.png")
    for number, name in enumerate(names):
        Image.new("RGB", (20 + number, 10)).save(folder / name)
    paths = tuple(folder / name for name in names)
    return FileDataset("own", "test", names, np.zeros(3, np.int64), paths, border=border, evidence_source=source)


def test_evidence_of_files_loses_the_border_with_the_image(tmp_path: Path):
    dataset = files(tmp_path, border=2, source=LeftHalf())
    mask = dataset.evidence(0)
    assert mask is not None and mask.shape == dataset.image(0).size[::-1]
    assert mask.sum(axis=1).tolist() == [8] * 6
    assert dataset.evidence(1) is None
    assert dataset.select([2]).evidence(0).shape == (6, 18)  # type: ignore[union-attr]


def test_no_file_is_opened_for_an_image_without_evidence(tmp_path: Path):
    dataset = files(tmp_path, source=LeftHalf())
    (tmp_path / "unknown.png").unlink()
    assert dataset.evidence(1) is None


def test_files_without_a_source_have_no_evidence(tmp_path: Path):
    assert files(tmp_path).evidence(0) is None


def test_the_fingerprint_tells_the_evidence(tmp_path: Path):
    sources = (None, LeftHalf(), LeftHalf("fedcba9876543210"))
    assert len({files(tmp_path, source=source).fingerprint for source in sources}) == 3


def test_a_mask_of_another_size_is_refused(tmp_path: Path):
    class Turned(LeftHalf):
        def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
            return super().mask(sample_id, (size[1], size[0]))

    with pytest.raises(VlmDataError, match=r"evidence of 'one\.png' in own/test has 10 x 20 pixels, its image 20 x 10"):
        files(tmp_path, source=Turned()).evidence(0)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(3, 90), st.integers(3, 90)),
    side=st.sampled_from([8, 16, 33]),
    resize=st.sampled_from([("shortest", 0), ("shortest", 7), ("squash", 0)]),
    level=st.sampled_from([1, 77, 128, 255]),
    seed=st.integers(0, 1000),
)
def test_a_mask_goes_where_an_image_painted_with_it_goes(
    size: tuple[int, int], side: int, resize: tuple[str, int], level: int, seed: int
):
    rule = {"resize": resize[0], "resize_side": side + resize[1]}
    mask = np.random.default_rng(seed).random(size[::-1]) < 0.5
    painted = Image.fromarray(np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) * 255)
    view = evaluation_transform(painted, Preprocess(side, interpolation="bilinear", **rule)).numpy()
    moved = evaluation_mask(mask, Preprocess(side, **rule), level=level)
    assert np.array_equal(moved, view[0] >= level)


def test_evidence_of_a_batch(tmp_path: Path):
    dataset = files(tmp_path, source=LeftHalf())
    masks, known = evaluation_masks(dataset, np.array([2, 1, 0]), Preprocess(8))
    assert known.tolist() == [True, False, True]
    assert masks.dtype == np.bool_ and masks.shape == (3, 8, 8)
    assert not masks[1].any()
    assert masks[2].sum(axis=1).tolist() == [4] * 8


def test_digits_have_evidence_at_every_size():
    digits = load_benchmark("digits", limit=6).test
    masks, known = evaluation_masks(digits, np.arange(6), Preprocess(32))
    assert known.all()
    expected = digits.evidence(4)
    assert expected is not None and np.array_equal(masks[4], expected)
