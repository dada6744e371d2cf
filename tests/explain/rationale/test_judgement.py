from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Rationales
from vlm_explain.rationale import Rule, decide, judge

GOLDEN = Path(__file__).parents[2] / "golden" / "rationality" / "overlap.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as found:
        return {name: found[name] for name in found}


@pytest.fixture
def case():
    """Two images, not square: half of the relevance on the evidence, and a quarter."""
    maps = np.zeros((2, 4, 6), dtype=np.float32)
    maps[:, 0, 0], maps[0, 3, 5], maps[1, 3, 3:] = 1, 1, 1
    masks = np.zeros((2, 4, 6), dtype=bool)
    masks[:, 0, :2] = True
    return maps, masks


class TestGolden:
    def test_mass_and_decisions(self, golden):
        defined = ~np.isnan(golden["rma"]) & (golden["rma"] <= 1)
        assert defined.sum() == 10
        for threshold, expected in ((0.5, golden["valid_thr05"]), (0.3, golden["valid_thr03"])):
            table = judge(golden["maps"][defined], golden["masks"][defined], f"mass>={threshold}")
            np.testing.assert_allclose(table.measures["mass"], golden["rma"][defined], rtol=1e-5)
            np.testing.assert_array_equal(table.rational, expected[defined] == 1)

    def test_a_map_without_a_maximum_is_flagged_and_never_valid(self, golden):
        rows = np.flatnonzero(np.isnan(golden["rma"]))
        assert golden["names"][rows].tolist() == ["constant_map_is_nan", "zero_map"]
        table = judge(golden["maps"][rows], golden["masks"][rows], "mass>=0.001")
        assert table.status == ("flat-map", "flat-map")
        assert not table.rational.any() and np.isnan(table.measures["mass"]).all()

    def test_empty_evidence_is_flagged_and_never_valid(self, golden):
        row = golden["names"].tolist().index("empty_mask")
        table = judge(golden["maps"][row][None], golden["masks"][row][None], "mass>=0.001")
        assert table.status == ("empty-evidence",) and not table.rational[0]
        assert table.measures["mass"][0] == table.measures["area"][0] == table.measures["pointing"][0] == 0
        assert np.isnan([table.measures[name][0] for name in ("normalised_mass", "rank", "average_precision")]).all()

    def test_masks_of_0_and_255_are_refused(self, golden):
        row = golden["names"].tolist().index("mask_value_255")
        with pytest.raises(CallError, match=r"values from 0 to 255; expected True and False, or 1 and 0.*>= 128"):
            judge(golden["maps"][row][None], golden["masks"][row][None])


def test_a_tie_is_valid(case):
    table = judge(*case, "mass>=0.5")
    assert table.rational.tolist() == [True, False]
    assert table.measures["mass"].tolist() == [0.5, 0.25]
    assert judge(*case, "mass>=0.25").rational.all()


def test_what_is_given_is_in_the_table(case):
    table = judge(
        *case,
        Rule("pointing", 0.25),
        ids=["a", "b"],
        labels=np.array([3, 4]),
        predicted=np.array([3, 3]),
        meta={"model": "m"},
        further={"insertion": np.array([0.1, 0.2])},
    )
    assert table.ids == ("a", "b") and table.correct.tolist() == [True, False]
    assert table.meta == {"model": "m", "rule": "pointing>=0.25"}
    assert table.measures["insertion"].tolist() == [0.1, 0.2]
    assert table.rational.all()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_arrays_and_tensors_of_any_precision(case, kind):
    maps, masks = case
    expected = judge(*case).measures
    for values, evidence in (
        (maps.astype(kind), masks),
        (torch.from_numpy(maps.astype(kind)), torch.from_numpy(masks.astype(np.uint8))),
        (maps.astype(kind)[:, ::-1, ::-1], masks[:, ::-1, ::-1]),
    ):
        found = judge(values, evidence).measures
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_batch_of_one_is_the_image_in_a_batch_of_many():
    rng = np.random.default_rng(0)
    maps, masks = rng.random((70, 5, 9)), rng.random((70, 5, 9)) < 0.3
    whole = judge(maps, masks)
    for row in (0, 31, 32, 69):
        alone = judge(maps[row : row + 1], masks[row : row + 1])
        assert alone.rational[0] == whole.rational[row]
        assert all(alone.measures[name][0] == whole.measures[name][row] for name in whole.measures)


def test_without_evidence_nothing_is_told(case):
    maps, masks = case
    masks[1] = True  # a mask of an image without evidence is not looked at
    table = judge(maps, masks, "mass>=0.001", known=np.array([True, False]), flat=np.array([False, True]))
    assert table.status == ("ok", "no-evidence") and table.known.tolist() == [True, False]
    assert table.rational.tolist() == [True, False]
    assert all(np.isnan(values[1]) for values in table.measures.values())


def test_maps_that_are_told_to_be_flat_are(case):
    table = judge(*case, "mass>=0.001", flat=np.array([True, False]))
    assert table.status == ("flat-map", "ok") and table.rational.tolist() == [False, True]


@given(st.floats(0.01, 100.0), st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_map_that_is_the_same_everywhere_is_flat(value, kind):
    table = judge(np.full((1, 3, 5), value, dtype=kind), np.ones((1, 3, 5)), "mass>=0.001")
    assert table.status == ("flat-map",) and not table.rational[0]


def test_another_rule_needs_the_table_only(case, tmp_path):
    table = judge(*case, "mass>=0.5")
    loaded = Rationales.load(table.save(tmp_path / "r.parquet") and tmp_path / "r.parquet")
    again = decide(loaded, Rule("mass", 0.2))
    assert again.rational.all() and again.meta["rule"] == "mass>=0.2"
    assert decide(again, Rule("mass", 0.5)).rational.tolist() == table.rational.tolist()
    bare = Rationales(table.ids, table.labels, table.predicted, {}, table.status, table.rational)
    with pytest.raises(CallError, match=r"but not rank, which the rule rank>=0\.5 needs"):
        decide(bare, Rule("rank", 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evidence": np.ones((2, 6, 4), dtype=bool)}, r"\(2, 4, 6\) and evidence of shape \(2, 6, 4\) do not fit"),
        ({"evidence": np.ones((1, 4, 6), dtype=bool)}, "do not fit; expected one mask per map"),
        ({"evidence": np.full((2, 4, 6), 0.5)}, "values from 0.5 to 0.5; expected True and False"),
        ({"evidence": np.full((2, 4, 6), np.nan)}, "expected True and False"),
        ({"evidence": np.full((2, 4, 6), -1)}, "values from -1 to -1"),
        ({"maps": np.full((2, 4, 6), -1.0)}, "2 relevance maps hold negative .* lies between -1 and -1"),
        ({"maps": np.full((2, 4, 6), np.inf)}, "between inf and inf. Expected values of 0 or more"),
        ({"maps": np.where(np.eye(4, 6), np.nan, 1.0)[None].repeat(2, 0)}, "that are not numbers"),
        ({"maps": np.ones((2, 4, 6), dtype=np.int64)}, "of type torch.int64; expected floating-point"),
        ({"maps": np.ones((4, 6))}, r"of shape \(4, 6\); expected \(n, height, width\)"),
        ({"maps": np.ones((0, 4, 6)), "evidence": np.ones((0, 4, 6), dtype=bool)}, "with at least one"),
        ({"known": np.array([True])}, r"known has shape \(1,\) for 2 maps"),
        ({"flat": np.array([True])}, r"flat has shape \(1,\) for 2 maps"),
        ({"rule": "area>=0.5"}, "unknown measure of a rule 'area'"),
    ],
)
def test_what_does_not_fit_is_refused(case, changes, message):
    given_ = {"maps": case[0], "evidence": case[1], "rule": "mass>=0.5", **changes}
    with pytest.raises(CallError, match=message):
        judge(given_.pop("maps"), given_.pop("evidence"), given_.pop("rule"), **given_)


def test_columns_of_another_length_are_refused(case):
    with pytest.raises(VlmDataError, match="rationales of 2 samples have columns"):
        judge(*case, labels=np.array([0, 1, 2]))
    with pytest.raises(VlmDataError, match="a sample id twice"):
        judge(*case, ids=["a", "a"])


class TestRule:
    @pytest.mark.parametrize("measure", ["mass", "pointing", "rank", "average_precision"])
    @pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0, 1e-3])
    def test_written_and_read(self, measure, threshold):
        rule = Rule(measure, threshold)
        assert Rule.parse(str(rule)) == rule == Rule.parse(f"  {measure}  >= {threshold} ")

    def test_normalised_mass_may_be_above_one(self):
        assert Rule.parse("normalised_mass>=2.5").threshold == 2.5

    @pytest.mark.parametrize("text", ["", "mass", "mass>0.5", "mass=0.5", "mass>=", "mass>=half", ">=1", "mass>=nan"])
    def test_what_is_no_rule(self, text):
        with pytest.raises(CallError, match=r"is not understood; expected MEASURE>=NUMBER, for example mass>=0.5\."):
            Rule.parse(text)

    @pytest.mark.parametrize("text", ["mass>=0", "mass>=-1", "mass>=1.5", "normalised_mass>=inf", "rank>=inf"])
    def test_thresholds_that_decide_nothing(self, text):
        with pytest.raises(CallError, match="decides nothing; expected a number above 0"):
            Rule.parse(text)

    def test_a_near_name_is_offered(self):
        with pytest.raises(CallError, match="Did you mean 'mass'"):
            Rule.parse("mas>=0.5")
