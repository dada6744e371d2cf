import dataclasses
import re

import pytest
from PIL import Image

from vlm_data.errors import VlmDataError
from vlm_eval.report import write_figures, write_report
from vlm_eval.report.findings import Findings
from vlm_eval.run_files import read_run
from vlm_eval.scores import Scoring, score_tables

SECTION = "Right for the right reasons"


@pytest.fixture(scope="module")
def tables(made_tables):
    return made_tables(alphas=(0.0, 0.5, 1.0), natural={"invert": (1.6, 0.7)}, n=120, data_hash="d" * 16)


@pytest.fixture(scope="module")
def judged(tables, made_rationales):
    return [made_rationales(one) for one in tables if one.meta["split"] == "test"]


@pytest.fixture(scope="module")
def few(made_tables):
    """Tables of a run on ID data alone: a report of them takes a moment."""
    return made_tables(alphas=(0.0, 1.0), natural={}, corruptions={}, n=40, data_hash="d" * 16)


@pytest.fixture(scope="module")
def few_judged(few, made_rationales):
    return [made_rationales(one) for one in few if one.meta["split"] == "test"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, made_run, tables, judged, made_log):
    return made_run(tmp_path_factory.mktemp("runs") / "judged", tables, events=made_log(), rationales=judged)


@pytest.fixture(scope="module")
def section(run):
    return section_of(run)


def section_of(run):
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count(SECTION) == 1
    return page[page.index(SECTION) :].partition("</section>")[0]


def cells(section, first):
    """The cells of the table line whose heading begins so, without their intervals."""
    line = re.search(rf'<tr><th scope="row">{re.escape(first)}</th>(.*?)</tr>', section).group(1)
    return [re.sub(r"<small>.*?</small>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]


def test_a_run_without_rationales_has_no_such_section(tmp_path, made_run, few):
    page = write_report(made_run(tmp_path / "plain", few)).read_text(encoding="utf-8")
    assert SECTION not in page and "<img" not in page


def test_the_numbers_are_those_of_the_tables(run, section):
    found = Findings(read_run(run)).rationality
    assert list(found.tables) == ["zero-shot", "fine-tuned", "interpolated"] and found.main == "made"
    for model in found.tables:
        scores = found.scores[model]["made"]
        shown = cells(section, model)
        expected = [scores.shares[name].value for name in ("accuracy", "pt", "ir", "validity")]
        expected += [scores.means["mass"], scores.means["area"]]
        assert shown == [str(scores.counts.n), *[f"{100 * value:.1f}" for value in expected], str(scores.flat)]
    means = found.scores["fine-tuned"]["made"].means
    measures = section[section.index("How much relevance lies on the evidence") :]
    expected = [means[name] for name in ("area", "mass", "normalised_mass", "pointing")]
    assert cells(measures, "fine-tuned") == [f"{value:.3f}" for value in expected]
    shown = cells(section, "noise")
    assert shown[0] == f"{100 * found.scores['zero-shot']['made/noise'].shares['pt'].value:.1f}"
    assert len(shown) == 7


def test_it_says_what_fine_tuning_did_and_how_to_read_it(section):
    text = re.sub(r"<[^>]*>", "", section).replace("\u00a0", " ").replace("&nbsp;", " ")
    assert "at least 0.5 of its relevance lies on the evidence" in text
    assert "Fine-tuning lowered PT on the ID test set" in text
    assert "images that both get right" in text
    assert "without evidence, which count nowhere" in text
    assert "never data sets with each other" in text
    assert "not judged alike" not in text
    assert section.count("<svg") == 5  # shares, two thresholds, two over severities


def test_models_that_were_judged_differently_are_told(tmp_path, made_run, few, few_judged):
    other = [
        dataclasses.replace(one, meta={**one.meta, "layers": "all"}) if one.meta["alpha"] == "1.0" else one
        for one in few_judged
    ]
    section = section_of(made_run(tmp_path / "run", few, rationales=other))
    assert "not judged alike" in section and "layers: last, all)" in section


def test_the_gallery_is_taken_in_and_nothing_is_asked_from_outside(tmp_path, made_run, few, few_judged):
    run = made_run(tmp_path / "run", few, rationales=few_judged)
    Image.new("RGB", (20, 10)).save(run / "rationales" / "gallery.png")
    section = section_of(run)
    assert re.findall(r'src="([^"]{10})', section) == ["data:image"]
    (run / "rationales" / "gallery.png").write_bytes(b"no picture")
    with pytest.raises(VlmDataError, match=r"gallery\.png is no PNG"):
        write_report(run)


def test_one_model_on_one_data_set_is_enough(tmp_path, made_run, few, few_judged):
    section = section_of(made_run(tmp_path / "run", few, rationales=few_judged[:1]))
    assert "The same images" not in section and "On every data set" not in section
    assert cells(section, "zero-shot")


def test_data_sets_that_a_model_lacks_are_left_out(tmp_path, made_run, tables, judged):
    kept = [one for one in judged if one.meta["alpha"] == "0.0" or not one.meta["data"].endswith("noise-2")]
    found = Findings(read_run(made_run(tmp_path / "run", tables, rationales=kept))).rationality
    assert list(found.columns) == ["made", "made/invert", "made/blur"]


def test_rows_without_pt_make_the_same_section(tmp_path, made_run, few, few_judged):
    run = made_run(tmp_path / "run", few, rationales=few_judged)
    assert "pt" in Findings(read_run(run)).summary.lines[0].cells["made"]
    own = section_of(run)
    rows = score_tables(few, run="elsewhere", method="full", scoring=Scoring(resamples=10))
    write_report(run, rows)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert own in page
    assert "rationality.svg" in [path.name for path in write_figures(run, rows)]
