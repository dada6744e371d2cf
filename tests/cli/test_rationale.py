"""`vlm rationale`: PT and IR of models, its tables on disk, published lists, and what it refuses."""

import json

import pytest
from PIL import Image

from vlm_data.tables import Rationales

RUN = "run:runs/digits-tiny-full-seed0"
SMALL = ("--limit", "40")


@pytest.fixture
def elsewhere(tmp_path):
    """Flags that keep what is written out of the shared workplace."""
    return "--out", tmp_path / "rationales"


def _files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_those_of_the_tables_and_models_are_tested_against_the_first(vlm, workplace, elsewhere, tmp_path):
    answer = vlm("rationale", "tiny", RUN, *SMALL, "--sets", "id,noise-2,noise-3", "--per-class", *elsewhere, "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    rows = {(row["model"], row["data"], row["severity"]): row for row in document["rows"]}
    assert len(rows) == 2 * 4, "ID, two severities and their mean, of two models"
    table = Rationales.load(tmp_path / "rationales/tiny-on-digits/attention-last-label-logit/digits.test.parquet")
    row = rows["tiny", "digits", None]
    assert (row["RR"], row["RW"]) == ((table.correct & table.rational).sum(), (table.correct & ~table.rational).sum())
    assert row["pt"] == pytest.approx(row["RR"] / (row["RR"] + row["RW"]))
    assert row["accuracy"] == pytest.approx(row["validity"] * row["ir"] / row["pt"])
    assert row["mean_area"] == pytest.approx(table.measures["area"].mean())
    assert {(test["model"], test["data"]) for test in document["tests"]} == {(RUN, "digits"), (RUN, "digits/noise")}
    curve = {one["threshold"]: one for one in document["curves"] if one["model"] == "tiny"}
    assert curve[0.5]["pt"] == row["pt"] and curve[0.0]["pt"] == 1
    of_classes = [one for one in document["classes"] if (one["model"], one["data"]) == ("tiny", "digits")]
    assert sum(one["n"] for one in of_classes) == row["n"] == 40


def test_the_text_shows_models_severities_classes_and_tests(vlm, workplace, elsewhere):
    words = ("--sets", "id,noise", "--per-class", "--per-severity", *elsewhere)
    answer = vlm("rationale", "tiny", RUN, "--limit", "10", *words)
    assert answer.code == 0, answer.err
    for word in ("rule mass>=0.5", "digits, tiny", "digits/noise, tiny", "digits/noise-5", "against tiny", "seven"):
        assert word in answer.out


def test_what_is_there_is_not_computed_again_and_ends_with_the_same_bytes(vlm, elsewhere, tmp_path):
    call = ("rationale", "tiny", *SMALL, "--sets", "id,invert", *elsewhere, "--json")
    first = vlm(*call)
    assert first.code == 0, first.err
    before = _files(tmp_path)
    lost, kept = sorted((tmp_path / "rationales").rglob("*.parquet"))
    lost.write_bytes(lost.read_bytes()[:500])  # as if the disk had been full
    time = kept.stat().st_mtime_ns
    assert vlm(*call).document == first.document
    assert _files(tmp_path) == before and kept.stat().st_mtime_ns == time


def test_another_rule_needs_no_model_and_other_maps_lie_beside(vlm, elsewhere, tmp_path):
    call = ("rationale", "tiny", *SMALL, "--sets", "id", *elsewhere, "--json")
    half = vlm(*call).document["rows"][0]
    (path,) = (tmp_path / "rationales").rglob("*.parquet")
    values = Rationales.load(path).measures["pointing"]
    pointing = vlm(*call, "--rule", "pointing>=0.5").document["rows"][0]
    assert pointing["validity"] == pytest.approx((values >= 0.5).mean()) and pointing["rule"] == "pointing>=0.5"
    assert vlm(*call, "--layers", "all", "--target", "prediction").document["rows"][0] != half
    assert vlm(*call).document["rows"][0] == half
    assert {found.parent.name for found in (tmp_path / "rationales").rglob("*.parquet")} == {
        "attention-last-label-logit",
        "attention-all-prediction-logit",
    }


def test_the_reference_preset_takes_other_layers_for_trained_heads_and_says_so(vlm, workplace, elsewhere):
    answer = vlm("rationale", "tiny", RUN, *SMALL, "--sets", "id", "--preset", "reference", *elsewhere)
    assert answer.code == 0 and "were not explained alike" in answer.out
    assert "relevance_layers: last, all" in answer.out


def test_lists_are_written_and_read_without_loss(vlm, tmp_path):
    made = vlm("rationale", "tiny", *SMALL, "--sets", "id", "--export", "lists", "--json")
    assert made.code == 0, made.err
    pair = ("--import", "lists/tiny-on-digits.predictions.json", "lists/tiny-on-digits.rationales.json")
    read = vlm("rationale", *pair, "--annotations", "lists/ANNO_digits.json", *SMALL, "--json")
    assert read.code == 0, read.err
    ours, theirs = made.document["rows"][0], read.document["rows"][0]
    assert all(ours[name] == theirs[name] for name in ("RR", "RW", "WR", "WW", "pt", "ir", "pt_low", "ir_high"))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("tiny-on-digits.predictions.json", lambda values: values[:-1], "has 39 entries for 40 images"),
        ("tiny-on-digits.rationales.json", lambda values: [2, *values[1:]], "expected 0 or 1"),
        ("ANNO_digits.json", lambda values: values[1:] + values[:1], "labels"),
    ],
)
def test_lists_that_do_not_fit_are_refused(vlm, tmp_path, file, change, said):
    assert vlm("rationale", "tiny", *SMALL, "--sets", "id", "--export", "lists").code == 0
    path = tmp_path / "lists" / file
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    pair = ("--import", "lists/tiny-on-digits.predictions.json", "lists/tiny-on-digits.rationales.json")
    answer = vlm("rationale", *pair, "--annotations", "lists/ANNO_digits.json", *SMALL)
    assert answer.code == 1 and answer.out == "" and said in answer.paragraph


def test_figures_and_their_numbers(vlm, workplace, elsewhere, tmp_path):
    figures = tmp_path / "figures"
    call = ("rationale", "tiny", RUN, *SMALL, "--sets", "id,blur", *elsewhere, "--figures", figures)
    assert vlm(*call).code == 0
    drawn = _files(figures)
    kinds = ("shares", "thresholds", "against-accuracy", "severities")
    assert set(drawn) == {f"{name}.{kind}" for name in kinds for kind in ("png", "svg")} | {"rationality.csv"}
    lines = drawn["rationality.csv"].decode().splitlines()
    assert len(lines) == 1 + 4 and lines[0].startswith("model,alpha,data")
    assert vlm(*call).code == 0 and _files(figures) == drawn


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give models, SPEC..., or lists"),
        (("tiny", "--import", "a", "b"), "give models, SPEC..., or lists"),
        (("tiny", "--annotations", "a"), "--annotations checks the order of imported lists"),
        (("tiny", "--sets", "invrt"), "unknown test set 'invrt'. Did you mean 'invert'?"),
        (("tiny", "--rule", "mas>=0.5"), "unknown measure of a rule 'mas'. Did you mean 'mass'?"),
        (("tiny", "--rule", "mass>0.5"), "expected MEASURE>=NUMBER"),
        (("tiny", "--method", "atention"), "Did you mean 'attention'?"),
        (("tiny", "--method", "cross-attention"), "tiny"),
        (("tiny", "--layers", "9"), "the tower has 4 layers"),
        (("tiny", "--target", "class:thre"), "unknown class 'thre'. Did you mean 'three'?"),
        (("tiny", "--preset", "reference", "--layers", "all"), "leave out --layers and --method"),
    ],
)
def test_wrong_calls(vlm, tmp_path, words, said):
    answer = vlm("rationale", *words, "--limit", "4")
    assert answer.code == 2 and answer.out == "" and said in answer.paragraph
    assert not list(tmp_path.rglob("*.parquet"))


def test_data_without_evidence(vlm, photos):
    answer = vlm("rationale", "tiny", "--data", f"folder:{photos}")
    assert answer.code == 2 and "has evidence, so nothing can be said" in answer.paragraph


def test_a_folder_of_masks_is_enough(vlm, photos):
    for image in sorted(photos.glob("*/*.jpg")):
        mask = photos / "evidence" / image.relative_to(photos).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("L", (48, 40))
        picture.paste(255, (8, 4, 40, 36))
        picture.save(mask)
    answer = vlm("rationale", "tiny", "--data", f"folder:{photos}", "--sets", "id", "--json")
    assert answer.code == 0, answer.err
    assert answer.document["rows"][0]["no_evidence"] == 0
