"""Cramer's V against golden values and scipy, and tables that have a wanted one."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from vlm_data.controlled.correlation import correlated_counts, cramers_v
from vlm_data.errors import CallError, VlmDataError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cramers_v" / "cramers_v.json").read_text())
STRENGTHS = st.floats(0, 1)
SIZES = st.lists(st.integers(1, 600), min_size=2, max_size=12)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_the_golden_tables(case: dict):
    assert np.sum(case["table"]) == case["n"]
    assert cramers_v(case["table"]) == pytest.approx(case["cramers_v"], abs=1e-9)


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 1000))
def test_it_is_that_of_scipy_whatever_the_order(rows: int, columns: int, seed: int):
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 60, (rows, columns))
    v = cramers_v(table)
    assert v == pytest.approx(scipy.stats.contingency.association(table, method="cramer"), abs=1e-9)
    assert cramers_v(rng.permutation(table)) == pytest.approx(v)
    assert cramers_v(table.T) == pytest.approx(v)
    assert cramers_v(7 * table) == pytest.approx(v)


@pytest.mark.parametrize("v", [0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 1])
@pytest.mark.parametrize("spurious_class", range(10))
def test_ten_classes_of_400_come_within_0_005(v: float, spurious_class: int):
    counts = correlated_counts([400] * 10, spurious_class, v)
    assert cramers_v(counts) == pytest.approx(v, abs=0.005)
    assert (counts.sum(axis=1) == 400).all()


@given(SIZES, st.data(), STRENGTHS)
def test_counts_are_a_table_that_ties_the_feature_to_the_class(sizes: list[int], data: st.DataObject, v: float):
    spurious_class = data.draw(st.integers(0, len(sizes) - 1))
    counts = correlated_counts(sizes, spurious_class, v)
    assert counts.sum(axis=1).tolist() == sizes
    assert counts.min() >= 0
    assert (counts.sum(axis=0) > 0).all()
    share = counts[:, 1] / sizes
    assert share[spurious_class] >= 0.5
    others = np.delete(np.arange(len(sizes)), spurious_class)
    assert (counts[others, 1] <= np.ceil(np.asarray(sizes)[others] / 2) + 1).all()


@given(st.lists(st.integers(100, 600), min_size=2, max_size=12), STRENGTHS)
def test_large_classes_of_any_sizes_come_close(sizes: list[int], v: float):
    # One image more or less of the smallest class moves V by about 1 / its size.
    assert abs(cramers_v(correlated_counts(sizes, 0, v)) - v) <= 1 / min(sizes)


@given(SIZES, STRENGTHS, STRENGTHS)
def test_a_stronger_tie_leaves_fewer_that_deviate(sizes: list[int], one: float, other: float):
    assume(abs(one - other) > 0.1 and min(sizes) > 30)
    weak, strong = (correlated_counts(sizes, 0, v) for v in sorted((one, other)))
    assert weak[0, 0] >= strong[0, 0]
    assert weak[1:, 1].sum() >= strong[1:, 1].sum()


def test_the_ends():
    assert correlated_counts([4, 6], 1, 1.0).tolist() == [[4, 0], [0, 6]]
    assert correlated_counts([4, 6], 1, 0.0).tolist() == [[2, 2], [3, 3]]
    assert correlated_counts([1, 1], 0, 0.5).tolist() == [[0, 1], [1, 0]]  # V is 1 for every table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[3, 4]], r"shape \(1, 2\); expected counts from 0 on, at least 2 x 2"),
        ([[3, -1], [2, 2]], "expected counts from 0 on"),
        ([[3, 4], [0, 0]], r"undefined: row 1 of the table \[\[3, 4\], \[0, 0\]\] is empty"),
        ([[0, 4], [0, 2]], "undefined: column 0 .* always or never there is tied to nothing"),
    ],
)
def test_a_table_without_a_v_is_refused(table: list[list[int]], message: str):
    with pytest.raises(VlmDataError, match=message):
        cramers_v(table)


@pytest.mark.parametrize(
    ("sizes", "spurious_class", "v", "message"),
    [
        ([5], 0, 0.5, "at least two classes"),
        ([5, 0], 0, 0.5, r"classes have \[5, 0\] images"),
        ([5, 5], 2, 0.5, "the spurious class is 2; expected a number from 0 to 1"),
        ([5, 5], 0, 1.5, r"Cramer's V is 1.5; expected a number from 0 \(no tie\) to 1"),
        ([5, 5], 0, float("nan"), "Cramer's V is nan"),
    ],
)
def test_what_cannot_be_is_refused(sizes: list[int], spurious_class: int, v: float, message: str):
    with pytest.raises(CallError, match=message):
        correlated_counts(sizes, spurious_class, v)
