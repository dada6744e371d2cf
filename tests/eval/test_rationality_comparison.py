import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Rationales
from vlm_eval.metrics.rationality import share_of_counts
from vlm_eval.rationality.comparison import compare_models, compare_rationales
from vlm_eval.rationality.documents import comparison_documents
from vlm_eval.rationality.of_models import rationality_of_models
from vlm_eval.rationality.resampling import interval, resampled_counts
from vlm_eval.rationality.samples import JudgedSamples, judged_samples, require_same_samples

MARGINS = (2.2, 3.6)


@pytest.fixture(scope="module")
def sides(made_predictions, made_rationales):
    return [made_rationales(made_predictions("made", alpha, MARGINS, n=300)) for alpha in (0.0, 1.0)]


def of_cells(cells, ids=None):
    cells = np.asarray(cells)
    ids = tuple(str(row) for row in range(len(cells))) if ids is None else ids
    ones = np.ones(len(cells), dtype=bool)
    return JudgedSamples(ids, np.zeros(len(cells), dtype=np.int64), cells < 2, cells % 2 == 0, ones, {})


def drawn_one_by_one(members, resamples, seed):
    """Counts of resamples that draw image by image, the slow way."""
    n = len(members[0].ids)
    index = np.random.default_rng(seed).integers(0, n, (resamples, n))
    return np.stack([np.stack([np.bincount(one.cells[rows], minlength=4) for one in members]) for rows in index])


def test_the_multinomial_draw_has_the_distribution_of_drawing_images(sides):
    members = [judged_samples(side) for side in sides]
    quick = resampled_counts(members, resamples=4000, seed=1).drawn
    slow = drawn_one_by_one(members, 4000, 2)
    assert quick.shape == slow.shape
    for share in ("pt", "ir", "validity", "accuracy"):
        one, other = share_of_counts(quick, share), share_of_counts(slow, share)
        assert one.mean(axis=0) == pytest.approx(other.mean(axis=0), abs=0.003)
        assert one.std(axis=0) == pytest.approx(other.std(axis=0), rel=0.06)
        difference, expected = one[:, 1] - one[:, 0], other[:, 1] - other[:, 0]
        assert difference.std() == pytest.approx(expected.std(), rel=0.06)  # what pairing is for


@given(st.lists(st.integers(0, 15), min_size=1, max_size=40), st.integers(0, 100))
def test_every_resample_has_as_many_images_for_all_members(joint, seed):
    cells = np.array(joint)
    found = resampled_counts([of_cells(cells // 4), of_cells(cells % 4)], resamples=5, seed=seed)
    assert (found.drawn.sum(axis=2) == len(joint)).all() and (found.drawn >= 0).all()
    assert found.observed[0].tolist() == np.bincount(cells // 4, minlength=4).tolist()
    again = resampled_counts([of_cells(cells // 4), of_cells(cells % 4)], resamples=5, seed=seed)
    np.testing.assert_array_equal(again.drawn, found.drawn)


def test_an_image_that_a_severity_lacks_counts_at_the_others(sides):
    mild, strong = of_cells([0, 1, 2], ("a", "b", "c")), of_cells([3, 3], ("c", "a"))
    found = resampled_counts([mild, strong], resamples=50)
    assert found.observed.tolist() == [[1, 1, 1, 0], [0, 0, 0, 2]]
    assert (found.drawn[:, 0].sum(axis=1) == 3).all()
    # "b" is the only image of cell 1, and the strong severity lacks it
    assert (found.drawn[:, 1].sum(axis=1) == 3 - found.drawn[:, 0, 1]).all()


def test_equal_models_differ_by_nothing(sides):
    test = compare_rationales(sides[:1], sides[:1])
    assert all((one.difference, one.low, one.high) == (0, 0, 0) for one in test.changes.values())
    assert test.validity.p_value == 1 and test.differing == ()


def test_a_loss_of_evidence_is_found(sides):
    test = compare_rationales(sides[:1], sides[1:])
    assert test.data == "made" and test.n == judged_samples(sides[0]).counts.n
    assert test.changes["pt"].direction == "lower" and test.changes["accuracy"].direction == "higher"
    assert test.changes["pt"].low < test.changes["pt"].difference < test.changes["pt"].high
    first, second = (judged_samples(side) for side in sides)
    both = first.correct & second.correct
    assert test.both_right.n == both.sum()
    assert test.both_right.only_first == (both & first.rational & ~second.rational).sum()
    assert test.both_right.p_value < 0.01


def test_swapping_the_models_swaps_the_signs(sides):
    forth, back = compare_rationales(sides[:1], sides[1:]), compare_rationales(sides[1:], sides[:1])
    for share, one in forth.changes.items():
        other = back.changes[share]
        assert one.difference == pytest.approx(-other.difference)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.02)  # other resamples
    assert forth.both_right.only_first == back.both_right.only_second
    assert forth.both_right.p_value == back.both_right.p_value


def test_a_side_without_right_answers_has_no_pt_to_compare(sides):
    wrong = dataclasses.replace(sides[1], predicted=(sides[1].labels + 1) % 10)
    test = compare_rationales(sides[:1], [wrong])
    assert test.changes["pt"] is None and test.changes["validity"] is not None
    (record,) = comparison_documents({"wrong": [test]})
    assert record["pt"] is None and record["mcnemar"]["both_right"]["n"] == 0


def truncated(table, n):
    return Rationales(
        table.ids[:n],
        table.labels[:n],
        table.predicted[:n],
        {name: values[:n] for name, values in table.measures.items()},
        table.status[:n],
        table.rational[:n],
        table.meta,
    )


def test_truncated_and_misaligned_tables_are_refused_by_the_first_differing_id(sides):
    first, second = sides
    with pytest.raises(CallError, match=r"300 samples and the other 250; 'image-250' is in one of them only"):
        require_same_samples(first, truncated(second, 250))
    ids = (*second.ids[:7], second.ids[8], second.ids[7], *second.ids[9:])
    with pytest.raises(CallError, match="row 7 is 'image-7' in one and 'image-8' in the other"):
        compare_rationales([first], [dataclasses.replace(second, ids=ids)])
    labels = second.labels.copy()
    labels[5] = (labels[5] + 1) % 10
    with pytest.raises(CallError, match="the label of 'image-5' differs"):
        compare_models({"a": [first], "b": [dataclasses.replace(second, labels=labels)]})
    status = tuple("no-evidence" for _ in second.status)
    blind = dataclasses.replace(second, status=status, rational=np.zeros(300, dtype=bool))
    with pytest.raises(CallError, match="known evidence"):
        require_same_samples(first, blind)


def test_differing_settings_are_told(sides):
    other = dataclasses.replace(sides[1], meta={**sides[1].meta, "layers": "all", "precision": "fp16"})
    test = compare_rationales(sides[:1], [other])
    assert test.differing == ("layers: last, all", "precision: not told, fp16")


def test_models_are_compared_with_the_first_on_every_shared_data_set(made_tables, made_rationales):
    tables = [one for one in made_tables(alphas=(0.0, 0.5, 1.0), n=120) if one.meta["split"] == "test"]
    models = {
        name: [made_rationales(one) for one in tables if float(one.meta["alpha"]) == alpha]
        for name, alpha in (("ZS", 0.0), ("FT", 1.0), ("mixed", 0.5))
    }
    models["FT"] = models["FT"][::-1]
    found = compare_models(models, resamples=200)
    assert list(found) == ["FT", "mixed"]
    assert [one.data for one in found["FT"]] == [
        "made", "made/invert", "made/colour", "made/canvas", "made/noise", "made/blur",
    ]  # fmt: skip
    noise = next(one for one in found["FT"] if one.data == "made/noise")
    assert noise.both_right is None and noise.changes["pt"].low < noise.changes["pt"].high
    assert len(comparison_documents(found)) == 12


def test_two_tables_of_one_model_on_one_data_set_are_refused(sides):
    other = dataclasses.replace(sides[0], meta={**sides[0].meta, "layers": "all"})
    with pytest.raises(
        CallError, match=r"ZS has two tables of rationales on made, which differ in layers: last, all\."
    ):
        rationality_of_models({"ZS": [sides[0], other]})
    assert rationality_of_models({"last": [sides[0]], "all": [other]}).differing == ("layers: last, all",)
    assert rationality_of_models({}) is None


def test_nothing_to_compare_is_said(sides):
    elsewhere = dataclasses.replace(sides[1], meta={**sides[1].meta, "data": "other"})
    with pytest.raises(CallError, match="different data: made and other"):
        compare_models({"a": sides[:1], "b": [elsewhere]})
    with pytest.raises(CallError, match="1 model cannot be compared"):
        compare_models({"a": sides[:1]})
    with pytest.raises(CallError, match="1 and 0 tables"):
        compare_rationales(sides[:1], [])
    with pytest.raises(VlmDataError, match="no sample with label and evidence"):
        resampled_counts([of_cells([])])
    with pytest.raises(CallError, match="resamples is 0"):
        resampled_counts([of_cells([0])], resamples=0)


def test_the_interval_leaves_undefined_resamples_out():
    assert interval(np.array([np.nan, np.nan])) is None
    low, high = interval(np.array([0.0, np.nan, 1.0]))
    assert (low, high) == pytest.approx((0.025, 0.975))
