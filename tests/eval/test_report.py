import dataclasses
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.report import write_figures, write_report
from vlm_eval.report.figures import panels
from vlm_eval.report.findings import Findings
from vlm_eval.rescaling import fitted_temperatures
from vlm_eval.run_files import read_run
from vlm_eval.scores import Scoring, score_tables

CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """Headings, text, tables and everything a page refers to; fails on tags that do not close."""

    VOID = ("meta", "link", "br", "hr", "img", "input", "use", "path")

    def __init__(self, text):
        super().__init__()
        self.headings, self.references, self.tags, self.text, self.rows = [], [], [], [], []
        self.open = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.references.append(value)
            self.references += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag) if tag not in self.VOID else None

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] == "style":
            self.references += re.findall(r"url\(([^)]*)\)|@import", data)
        if {"th", "td"} & set(self.open) and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, made_run, made_tables, made_log):
    return made_run(tmp_path_factory.mktemp("runs") / "whole", made_tables(), events=made_log())


@pytest.fixture(scope="module")
def whole_page(whole_run):
    return page_of(whole_run)


def test_a_whole_run_has_all_sections(whole_page):
    assert whole_page.headings == [
        "tiny fine-tuned on digits: full",
        "Verdict",
        "Scores",
        "From zero-shot to fine-tuned: every alpha",
        "Calibration",
        "How differently the two ends answer",
        "Training",
        "How to make this run again",
    ]
    text = " ".join(whole_page.text)
    assert "collapsed on made/invert" in text
    assert "oracle, sees the test labels" in text and "gap of ID validation" in text
    assert "ECE on every data set" in text and "corrected" in text
    assert "applied to the ID test images" in text
    assert "vlm finetune --out 'my run'" in text
    assert whole_page.tags.count("svg") == 2 + 3 + 6 + 3


def test_the_page_asks_for_nothing_from_outside(whole_page):
    outside = [found for found in whole_page.references if not found.startswith(("#", "data:"))]
    assert outside == []
    assert not {"script", "iframe", "img", "object"} & set(whole_page.tags)


def test_the_scores_are_those_of_the_tables(whole_run, whole_page):
    findings = Findings(read_run(whole_run))
    tuned = next(line for line in findings.summary.lines if line.model == "fine-tuned")
    row = next(row for row in whole_page.rows if row[0] == "fine-tunedaccuracy")
    for column, shown in zip(findings.summary.columns, row[1:], strict=True):
        score = tuned.cells[column.key]["accuracy"]
        assert shown == f"{100 * score.value:.1f}{100 * score.low:.1f}–{100 * score.high:.1f}"


def test_the_oracle_is_marked_once_per_column_and_named(whole_page):
    start = next(place for place, row in enumerate(whole_page.rows) if row[0] == "alpha")
    accuracy = whole_page.rows[start + 1 : start + 6]
    for column in zip(*accuracy, strict=True):
        values = [cell for cell in column if "." in cell and "(" not in cell]
        marked = [float(cell.removeprefix("○ ")) for cell in values if cell.startswith("○")]
        if len(values) == 5:
            assert marked == [max(float(cell.removeprefix("○ ")) for cell in values)]
    assert "0.5 (chosen)" in [row[0] for row in accuracy]
    assert any("It has seen the answers" in text for text in whole_page.text)


def test_equal_files_give_equal_pages_and_known_rows_change_nothing(whole_run, made_tables):
    first = write_report(whole_run).read_bytes()
    tables = made_tables()
    scoring = Scoring(temperatures=fitted_temperatures(tables))
    rows = score_tables(tables, run="elsewhere", method="full", scoring=scoring)
    assert write_report(whole_run, rows[::-1]).read_bytes() == first


def test_figures_are_written_and_repeat_byte_for_byte(whole_run):
    paths = write_figures(whole_run)
    assert sorted(path.name for path in paths) == [
        "alpha-curve.svg", "overview.png", "overview.svg", "reliability.svg", "scores.svg", "training.svg",
    ]  # fmt: skip
    before = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in write_figures(whole_run)} == before


def test_whatever_a_run_contains_is_escaped(tmp_path, made_run, made_tables, made_log):
    evil = "<script>alert(1)</script>"
    tables = [
        dataclasses.replace(table, meta={**table.meta, "data": table.meta["data"].replace("invert", f"{evil}$x$")})
        for table in made_tables(alphas=(0.0, 1.0), n=40)
    ]
    events = [{**event, "data": evil} if event["event"] == "collapse" else event for event in made_log()]
    recipe = {"data": {"name": f"folder:{evil}"}, "source": evil}
    run = made_run(tmp_path / "<b>run", tables, recipe=recipe, events=events, class_names=(evil, "&amp;"))
    page = page_of(run)
    assert not {"script", "b"} & set(page.tags)
    assert sum(evil in text for text in page.text) >= 5, "it is shown, as text"


@pytest.mark.parametrize(
    ("options", "events", "missing"),
    [
        ({"natural": {}, "corruptions": {}}, True, "corruptions"),
        ({"natural": {}}, True, "natural shifts"),
        ({"corruptions": {}}, True, "Corruptions are"),
        ({"severities": 1}, True, None),
        ({"classes": 2}, True, None),
        ({"alphas": (0.0, 1.0)}, True, "Interpolation"),
        ({"alphas": (0.0,)}, True, "every alpha"),
        ({"n": 1}, True, None),
        ({}, False, "optimiser step"),
    ],
    ids=[
        "no-shifts",
        "corruptions",
        "natural",
        "one-severity",
        "two-classes",
        "ends",
        "zero-shot",
        "one-image",
        "no-log",
    ],
)
def test_a_run_with_less_in_it_still_has_a_report(tmp_path, made_run, made_tables, made_log, options, events, missing):
    tables = made_tables(**{"n": 30, "alphas": (0.0, 0.5, 1.0), **options})
    run = made_run(tmp_path / "run", tables, events=made_log() if events else None)
    page = page_of(run)
    assert "Scores" in page.headings
    assert missing is None or not any(missing in text for text in page.text if "{" not in text)


@pytest.mark.parametrize("options", [{"natural": {}, "corruptions": {}, "n": 30}, {"alphas": (0.0,), "n": 30}])
def test_a_run_with_less_in_it_still_has_figures(tmp_path, made_run, made_tables, options):
    paths = write_figures(made_run(tmp_path / "run", made_tables(**options)))
    assert "overview.png" in [path.name for path in paths] and all(path.stat().st_size > 5000 for path in paths)


def test_data_without_labels_are_named_and_not_scored(tmp_path, made_run, made_tables):
    labelled, unlabelled = made_tables(n=30), made_tables(n=30, labelled=False)
    mixed = [two if two.meta["shift"] == "invert" else one for one, two in zip(labelled, unlabelled, strict=True)]
    page = page_of(made_run(tmp_path / "run", mixed))
    assert any("no sample has a label: made/invert" in text for text in page.text)
    assert "Verdict" in page.headings

    page = page_of(made_run(tmp_path / "nothing", unlabelled))
    assert any("there is no verdict" in text for text in page.text)
    assert page.headings[1:] == ["How to make this run again"]


def test_an_unfinished_run_has_its_recipe_and_its_training(tmp_path, made_run, made_log):
    run = made_run(tmp_path / "run", [], events=made_log(epochs=1), damage=("model.json", "environment.json"))
    page = page_of(run)
    assert page.headings[1:] == ["Training", "How to make this run again"]
    assert any("Training has not ended" in text for text in page.text)


def test_alpha_is_chosen_on_validation_if_the_recipe_asks_for_it(tmp_path, made_run, made_tables):
    run = made_run(tmp_path / "run", made_tables(), recipe={"evaluation": {"choose_alpha": True}})
    findings = Findings(read_run(run))
    validation = {row["alpha"]: row["metrics"] for row in findings.rows if row["split"] == "val"}
    best = max(validation, key=lambda alpha: (validation[alpha]["accuracy"], -validation[alpha]["nll"], -alpha))
    assert findings.alpha == best != 0.5
    assert any("chosen as the best on ID validation" in text for text in page_of(run).text)


def test_calibration_after_scaling_needs_validation_tables(tmp_path, made_run, made_tables):
    tables = made_tables(n=300)
    found = Findings(read_run(made_run(tmp_path / "with", tables)))
    assert found.temperatures["fine-tuned"] > 1.5, "made too sharp"
    scaled = found.calibration("fine-tuned")
    assert list(scaled) == ["id", "natural", "corruption"]
    line = next(line for line in found.summary.lines if line.model == "fine-tuned")
    assert scaled["natural"].ece_before == pytest.approx(line.cells["mean/natural"]["ece"].value)
    assert scaled["id"].ece_after < scaled["id"].ece_before

    without = made_run(tmp_path / "without", [table for table in tables if table.meta["split"] == "test"])
    assert not any("After temperature scaling" in text for text in page_of(without).text)


def test_the_worst_shift_is_a_natural_one(whole_run):
    findings = Findings(read_run(whole_run))
    tuned = findings.summary.lines[1]
    natural = {c.key: tuned.cells[c.key]["accuracy"].value for c in findings.summary.members("natural")}
    assert findings.worst_shift.key == min(natural, key=natural.get)
    assert set(findings.reliability(findings.worst_shift)) == {"zero-shot", "fine-tuned", "interpolated"}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CallError, match=r"no recipe\.toml"):
        write_report(tmp_path)


def test_a_damaged_file_is_named(tmp_path, made_run):
    run = made_run(tmp_path / "run", [])
    (run / "model.json").write_text("{")
    with pytest.raises(VlmDataError, match=r"cannot read .*model\.json"):
        write_report(run)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_no_wider_than_the_window(whole_run, tmp_path, width):
    """The page measures itself: only boxes that scroll may be wider than the window."""
    probe = "<script>document.title=JSON.stringify([innerWidth,document.documentElement.scrollWidth])</script></body>"
    text = write_report(whole_run).read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", probe)
    (tmp_path / "probe.html").write_text(text, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
             f"--window-size={width},900", "--dump-dom"]  # fmt: skip
    done = subprocess.run(
        [str(CHROMIUM), *flags, (tmp_path / "probe.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    window, page = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1))
    assert window <= max(width, 500) and page <= window


def test_the_names_of_the_files_are_those_that_runs_write():
    from vlm_eval import evaluation, run_files
    from vlm_finetune import run
    from vlm_models import checkpoint

    assert (run_files.RECIPE, run_files.ENVIRONMENT, run_files.LOG) == (run.RECIPE, run.ENVIRONMENT, run.LOG)
    assert (run_files.MANIFEST, run_files.PREDICTIONS) == (checkpoint.MANIFEST, evaluation.PREDICTIONS)


def test_a_report_needs_no_torch(whole_run):
    run = repr(str(whole_run))
    code = f"import sys; from vlm_eval.report import write_report; write_report({run}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


def test_a_run_without_optimiser_steps_has_no_empty_figures(made_run, made_tables, tmp_path):
    epoch = {"event": "epoch", "phase": 0, "epoch": 1, "step": 5, "val_accuracy": 0.9, "val_nll": 0.3, "best": True}
    run = made_run(tmp_path / "run", made_tables(alphas=(0.0, 1.0)), events=[{"event": "start", "step": 0}, epoch])
    assert [panel.name for panel in panels(Findings(read_run(run)))["training"]] == ["training-accuracy"]
