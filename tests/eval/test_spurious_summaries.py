"""Means over settings: which are valid, what discovery reached on them, what mitigation changed."""

import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_eval.spurious.figures import write_discovery_figure, write_mitigation_figure
from vlm_eval.spurious.summaries import SettingRecord, discovery_summaries, method_summaries, valid_records

THRESHOLDS = (None, 0.1, 0.2, 0.3, 0.4)


def many(sets=20, seeds=3, seed=0):
    """Settings of rising strength; discovery is better on strong ones, one method mends the worst group at a price."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(sets):
        strength = number / sets
        for one in range(seeds):
            precision = float(np.clip(np.round(rng.normal(0.4 + 0.6 * strength, 0.15), 1), 0, 1))
            worst = 0.7 - 0.6 * strength + rng.normal(0, 0.02)
            standard = {"image_overall": 0.9 - 0.2 * strength, "image_worst_group": worst}
            aware = {"image_overall": standard["image_overall"] - 0.01, "image_worst_group": worst + 0.2}
            methods = {"standard": standard, "region-aware": aware}
            if number % 2 == 0:
                methods["upsampled"] = {**aware, "region_overall": 0.9}
            gap = strength + rng.normal(0, 0.01)
            records.append(
                SettingRecord(f"set-{number}", one, gap, precision, 0.125, True, precision > 0.5, methods)
            )  # fmt: skip
    return records


def test_a_set_counts_only_if_all_its_seeds_are_above_the_threshold():
    records = many()
    kept = valid_records(records, 0.3)
    names = {one.setting for one in kept}
    assert 0 < len(kept) == 3 * len(names) < len(records)
    for name in {one.setting for one in records}:
        strengths = [one.strength for one in records if one.setting == name]
        assert (name in names) == (min(strengths) > 0.3)
    unknown = SettingRecord("set-x", 0, None, 0.0, 0.125, False, False, {})
    assert valid_records([unknown], 0.1) == [] and valid_records([unknown], None) == [unknown]


def test_discovery_is_told_for_every_threshold_with_the_random_order_beside_it():
    records = many()
    found = discovery_summaries(records, THRESHOLDS)
    assert [one.sets for one in found] == sorted((one.sets for one in found), reverse=True)
    assert found[0].sets == 20 and found[0].records == 60 and found[0].share == 1.0
    for one in found:
        kept = valid_records(records, one.threshold)
        assert one.precision.value == pytest.approx(np.mean([record.precision for record in kept]))
        assert one.precision.low < one.precision.value < one.precision.high
        assert one.random == 0.125 and one.share == one.sets / 20
        assert one.class_found == pytest.approx(np.mean([record.class_found for record in kept]))
    (none,) = discovery_summaries(records, [0.99])
    assert (none.sets, none.precision, none.random, none.found) == (0, None, None, None)
    with pytest.raises(CallError, match="no setting to average over"):
        discovery_summaries([], THRESHOLDS)


def test_seeds_of_a_set_are_drawn_together():
    """With equal seeds three times as many records hold no more than a third of them."""
    single = [one for one in many(seeds=1) for _ in range(1)]
    thrice = [one for one in single for _ in range(3)]
    (once,), (again,) = discovery_summaries(single, [None]), discovery_summaries(thrice, [None])
    assert (once.precision.low, once.precision.high) == pytest.approx((again.precision.low, again.precision.high))


def test_methods_are_compared_with_one_on_the_same_settings():
    records = many()
    standard, aware, upsampled = method_summaries(records, "standard", threshold=0.1)
    kept = valid_records(records, 0.1)
    assert (standard.method, standard.differences) == ("standard", {}) and standard.records == len(kept)
    change = aware.differences["image_worst_group"]
    assert change.difference == pytest.approx(0.2) and change.low == pytest.approx(0.2) == change.high
    assert aware.differences["image_overall"].direction == "lower"
    assert upsampled.records == sum("upsampled" in one.methods for one in kept) < standard.records
    assert "region_overall" in upsampled.means and "region_overall" not in upsampled.differences
    assert upsampled.differences["image_worst_group"].before == pytest.approx(
        np.mean([one.methods["standard"]["image_worst_group"] for one in kept if "upsampled" in one.methods])
    )


def test_mitigation_can_be_told_where_discovery_was_good():
    records = many()
    found = method_summaries(records, "standard", precision=0.8)
    assert found[0].records == sum(one.precision > 0.8 for one in records)
    assert method_summaries(records, "standard", threshold=0.99) == []
    with pytest.raises(CallError, match=r"'standart'.*standard"):
        method_summaries(records, "standart")


def test_figures_are_the_same_bytes_for_the_same_numbers(tmp_path):
    records = many()
    found = {"ravl": discovery_summaries(records, THRESHOLDS, resamples=50)}
    methods = method_summaries(records, "standard", threshold=0.1, resamples=50)
    written = [*write_discovery_figure(tmp_path / "a", found), *write_mitigation_figure(tmp_path / "a", methods)]
    assert [path.name for path in written] == ["precision.png", "precision.svg", "mitigation.png", "mitigation.svg"]
    again = [*write_discovery_figure(tmp_path / "b", found), *write_mitigation_figure(tmp_path / "b", methods)]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    assert write_mitigation_figure(tmp_path, []) == []
    assert write_discovery_figure(tmp_path, {"ravl": discovery_summaries(records, [0.99])}) == []
