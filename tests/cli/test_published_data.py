"""Published data sets in their official layout, from the command line."""

import json

import pytest

from specimens.published import PUBLISHED, write_fmow, write_imagenet
from vlm_data.imagenet.classes import official_names

SETS = ["imagenet", "imagenet/v2", "imagenet/r", "imagenet/a", "imagenet/sketch", "imagenet/objectnet"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_layout_is_told_and_data_shown_and_checked(vlm, tmp_path, name):
    told = vlm("data", "show", name, "--layout", "--json").document
    assert told["spec"] == name and told["layout"]
    absent = vlm("data", "show", name)
    assert absent.code == 1 and f"`vlm data show {name} --layout`" in absent.paragraph
    PUBLISHED[name](tmp_path)
    facts = vlm("data", "show", name, "--data-root", tmp_path, "--json").document
    assert facts["name"] == name and all(found["images"] for found in facts["sets"])
    checked = vlm("data", "check", name, "--data-root", tmp_path, "--json")
    assert (checked.code, checked.document["errors"]) == (0, 0)
    notes = [found["message"] for found in checked.document["findings"] if found["where"] == name]
    assert all(any(note in message for message in notes) for note in facts["notes"] if "class name" not in note)


def test_shifts_with_classes_of_their_own_are_evaluated_like_any_other(vlm, tmp_path):
    write_imagenet(tmp_path)
    answer = vlm("evaluate", "tiny", "--data", "imagenet", "--data-root", tmp_path, "--json", "--out", "out")
    rows = {row["data"]: row for row in answer.document["rows"] if row["severity"] is None}
    assert list(rows) == [*SETS, "imagenet/gaussian_noise", "imagenet/snow"]
    assert [rows[data]["n"] for data in SETS] == [20, 10, 9, 9, 10, 6]
    assert {data for data, row in rows.items() if "classes" in row["hashes"]} == {SETS[2], SETS[3], SETS[5]}
    assert all(0 <= row["metrics"]["ece"] <= 1 for row in rows.values())
    assert "note: 5 of the 1000 classes" in answer.err
    again = vlm("evaluate", "tiny", "--data", "imagenet", "--data-root", tmp_path, "--json", "--out", "out")
    assert again.document == answer.document  # read back from the tables


def test_fine_tuning_tells_the_shifts_of_imagenet(vlm, tmp_path):
    write_imagenet(tmp_path)
    answer = vlm(
        "finetune",
        "--data",
        "imagenet",
        "--data-root",
        tmp_path,
        "--method",
        "full",
        "--epochs",
        "1",
        "--json",
        "--set",
        "evaluation.report=false",
    )
    rows = [row for row in answer.document["rows"] if row["model"] == "interpolated"]
    assert [row["data"] for row in rows][: len(SETS)] == sorted(SETS, key=lambda data: ("/" in data, data))
    assert (
        official_names()[6] in json.loads((tmp_path / answer.document["run"] / "model.json").read_text())["class_names"]
    )


def test_regions_and_years_of_fmow_land_in_the_results(vlm, tmp_path):
    write_fmow(tmp_path)
    rows = vlm("evaluate", "tiny", "--data", "fmow", "--data-root", tmp_path, "--json", "--out", "out").document["rows"]
    assert [row["data"] for row in rows] == ["fmow", "fmow/ood"]
    scores = rows[1]["metrics"]
    regions = {name: value for name, value in scores.items() if name.startswith("accuracy_region:")}
    assert set(regions) == {f"accuracy_region:{name}" for name in ("Africa", "Europe", "Other")}
    assert scores["worst_region_accuracy"] == min(regions["accuracy_region:Africa"], regions["accuracy_region:Europe"])
    assert scores["worst_year_accuracy"] == min(scores["accuracy_year:2016"], scores["accuracy_year:2017"])
    shown = vlm("results", "runs/results.jsonl", "--metric", "worst_region_accuracy").out
    assert f"{100 * scores['worst_region_accuracy']:.1f}" in shown
