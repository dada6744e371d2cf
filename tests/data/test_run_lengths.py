"""Run lengths of COCO files, written and read."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.evidence.run_lengths import decode_counts, runs_mask


def compressed(counts: list[int]) -> str:
    """Write run lengths as COCO files do: the inverse of `decode_counts`."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            low, value = value & 31, value >> 5
            done = value == (-1 if low & 16 else 0)
            text += chr(48 + (low if done else low | 32))
            if done:
                break
    return text


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_compressed_run_lengths_return(counts: list[int]):
    assert decode_counts(compressed(counts)) == counts


def test_run_lengths_that_the_library_of_coco_wrote():
    """Of pycocotools 2.0.11: a rectangle with a hole, and its first pixel."""
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:30, 10:50] = True
    mask[10:12, 20:22] = False
    mask[0, 0] = True
    text = "01d<h0kC000000000000000000\\OC==CC==7000000000000000000000000000000000000000000000000000000[<"
    assert np.array_equal(runs_mask(decode_counts(text), (60, 40)), mask)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_runs_are_the_mask_they_were_counted_in(width: int, height: int, seed: int):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    pixels = [False, *mask.T.reshape(-1).tolist()]
    edges = [i - 1 for i in range(1, len(pixels)) if pixels[i] != pixels[i - 1]]
    counts = np.diff([0, *edges, width * height]).tolist()
    assert np.array_equal(runs_mask(counts, (width, height)), mask)
