import dataclasses
from typing import Any

import pytest
import torch

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess


def test_the_hash_changes_with_every_value():
    base = Preprocess(32)
    others = [
        Preprocess(33),
        Preprocess(32, mean=(0.4, 0.5, 0.5)),
        Preprocess(32, std=(0.4, 0.5, 0.5)),
        Preprocess(32, interpolation="bilinear"),
        Preprocess(32, resize="squash"),
        Preprocess(32, resize_side=36),
    ]
    assert len({one.hash for one in [base, *others]}) == 7
    assert dataclasses.replace(base).hash == base.hash


def test_the_hash_of_stored_files_stays_when_the_side_before_the_crop_is_the_usual_one():
    mean = (0.1, 0.2, 0.3)
    assert Preprocess(224, mean).hash == Preprocess(224, mean, resize_side=224).hash == "0374a6165b074ecc"
    assert "resize_side" not in Preprocess(224).values()
    assert Preprocess(**Preprocess(224, resize_side=256).values()).shorter_side == 256


@pytest.mark.parametrize("wrong", [{"resize_side": 31}, {"resize_side": 40, "resize": "squash"}])
def test_a_side_that_leaves_nothing_to_cut_out_is_refused(wrong: dict[str, Any]):
    with pytest.raises(CallError, match="Expected resize='shortest' and a resize_side of 32 or more"):
        Preprocess(32, **wrong)


def test_uint8_is_normalised_and_floats_pass():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1).expand(2, 3, 4, 4)
    normalised = Preprocess(4, (0.0, 0.2, 0.5), (1.0, 1.0, 0.5)).normalise(images)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised[1, :, 2, 2], torch.tensor([0.0, 0.0, 1.0]))
    features = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    assert Preprocess(4).normalise(features) is features


@pytest.mark.parametrize(
    ("field", "word", "near"), [("interpolation", "bicubik", "bicubic"), ("resize", "squish", "squash")]
)
def test_unknown_words_are_refused(field: str, word: str, near: str):
    with pytest.raises(CallError, match=f"unknown {field} '{word}'. Did you mean '{near}'"):
        Preprocess(32, **{field: word})
