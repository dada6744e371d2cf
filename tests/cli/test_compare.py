"""`vlm compare`: paired tests between runs, read from their files."""

import csv
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


def test_one_run_is_enough_for_a_figure(vlm, workplace, tmp_path):
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--figures", tmp_path / "figures", "--json")
    names = ["means.png", "means.svg", "shifts.png", "shifts.svg", "standings.csv"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == names
    document = answer.document
    assert document["comparisons"] == [] and len(document["figures"]) == 5
    lines = list(csv.DictReader((tmp_path / "figures" / "standings.csv").read_text().splitlines()))
    assert len(lines) == len(document["robustness"]) == 11 * 12
    one = next(x for x in document["robustness"] if x["data"] == "mean/natural" and x["alpha"] == 1)
    assert one["effective"] is None and one["relative"]["low"] <= one["relative"]["value"] <= one["relative"]["high"]
    assert {"temperature", "ece_rescaled", "gap", "overconfidence"} <= document["calibration"][0].keys()
    assert document["differences"]["full"][0]["data"] == "digits"


def test_effective_robustness_from_runs_to_a_picture(vlm, workplace, scratch_runs, flyp_run, tmp_path):
    file = tmp_path / "baselines.csv"
    made = vlm("baselines", scratch_runs, "--out", file)
    assert made.code == 0 and str(file) in made.out
    again = vlm("baselines", scratch_runs, "--out", file)
    assert again.code == 2 and "is there already" in again.paragraph
    runs = ("runs/digits-tiny-full-seed0", flyp_run)
    document = vlm("compare", *runs, "--baselines", file, "--json").document
    fit = document["baselines"]["mean/natural"]
    assert fit["count"] == 3 and {"slope", "intercept", "r2"} <= fit.keys()
    one = next(x for x in document["robustness"] if x["data"] == "mean/natural" and x["name"] == "flyp")
    assert one["effective"]["low"] < one["effective"]["value"] < one["effective"]["high"] and one["residual"]
    text = vlm("compare", *runs, "--baselines", file, "--figures", tmp_path / "figures").out
    assert "effective: points above what baselines" in text and "ECE before > after" in text
    assert "corrected" in text and str(tmp_path / "figures" / "means.png") in text


def test_baselines_that_do_not_fit_are_told(vlm, workplace, tmp_path):
    file = tmp_path / "baselines.csv"
    file.write_text("model,digits,digits/inverted\na,0.5,0.2\nb,0.6,0.3\nc,0.7,0.4\n")
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--baselines", file)
    assert answer.code == 2 and "Did you mean 'digits/invert'" in answer.paragraph
    file.write_text("model,digits,digits/invert\na,50,20\nb,60,30\nc,70,40\n")
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--baselines", file)
    assert answer.code == 2 and "per cent" in answer.paragraph
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--baselines", tmp_path / "missing.csv")
    assert answer.code == 2 and "cannot read the baselines" in answer.paragraph


def test_a_metric_that_is_not_there(vlm, workplace, tmp_path):
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--figures", tmp_path / "f", "--metric", "acuracy")
    assert answer.code == 2 and "acuracy" in answer.paragraph and not (tmp_path / "f").exists()


def test_axes_of_no_figure_are_told(vlm, workplace):
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "--scale", "log")
    assert answer.code == 2 and "--figures FOLDER" in answer.err


def test_runs_of_one_kind_are_told(vlm, workplace, tmp_path):
    shutil.copytree("runs/digits-tiny-full-seed0", tmp_path / "copy")
    answer = vlm("compare", "runs/digits-tiny-full-seed0", tmp_path / "copy")
    assert answer.code == 2 and "differ in nothing but their seeds" in answer.paragraph


def test_what_is_no_run(vlm, workplace):
    answer = vlm("compare", "runs/digits-tiny-full-seed0", "photos")
    assert answer.code != 0 and "photos" in answer.paragraph
