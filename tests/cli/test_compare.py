"""`vlm compare`: paired tests between runs, read from their files."""

import shutil


def test_two_methods(vlm, workplace, flyp_run):
    full = "runs/digits-tiny-full-seed0"
    document = vlm("compare", full, flyp_run, "--json").document
    assert [group["name"] for group in document["groups"]] == ["full", "flyp"]
    tests = {test["data"]: test for test in document["comparisons"][0]["tests"]}
    assert next(iter(tests)) == "digits" and "mean of corruptions" in tests and len(tests) == 13
    assert 0 <= tests["digits"]["p_value"] <= 1
    text = vlm("compare", full, flyp_run, "--alpha", "0.5").out
    assert "flyp against full" in text and "mean of natural shifts" in text


def test_runs_of_one_kind_are_told(vlm, workplace, tmp_path):
    shutil.copytree("runs/digits-tiny-full-seed0", tmp_path / "copy")
    answer = vlm("compare", "runs/digits-tiny-full-seed0", tmp_path / "copy")
    assert answer.code == 2 and "differ in nothing but their seeds" in answer.paragraph


def test_what_is_no_run(vlm, workplace):
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "photos")
    assert answer.code != 0 and "photos" in answer.paragraph
