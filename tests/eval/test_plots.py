import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from vlm_eval.metrics.reliability import ReliabilityTable, reliability_table
from vlm_eval.plots.alpha_curve import draw_against_alpha, draw_alpha_path
from vlm_eval.plots.image import inline_svg, png_bytes, svg_bytes
from vlm_eval.plots.overview import draw_scores
from vlm_eval.plots.reliability import draw_counts, draw_reliability
from vlm_eval.plots.seed_dots import draw_seed_dots
from vlm_eval.plots.setting_curve import SettingLine, draw_against_setting
from vlm_eval.plots.style import (
    GROUP_COLOURS,
    INK,
    MODEL_COLOURS,
    PAPER,
    SERIES_COLOURS,
    house_style,
    new_figure,
    percent_axis,
    plain,
)
from vlm_eval.plots.surface import draw_surface
from vlm_eval.plots.training import draw_learning_rate, draw_loss, draw_progress
from vlm_eval.score_table import score_table
from vlm_eval.scores import Scoring, score_tables
from vlm_eval.summary import summary_table
from vlm_eval.training_curve import training_curve


@pytest.fixture(scope="module")
def rows(made_tables):
    return score_tables(made_tables(), scoring=Scoring(resamples=50))


@pytest.fixture
def axes():
    with house_style():
        yield new_figure(4, 3).add_subplot()


def labelled(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#14171b"])
def test_colours_stand_out_on_light_and_on_dark_pages(ground):
    colours = {*MODEL_COLOURS.values(), *GROUP_COLOURS.values(), *SERIES_COLOURS} - {INK}
    assert {colour: contrast(colour, ground) for colour in colours if contrast(colour, ground) < 3} == {}


def test_the_alpha_path_goes_through_every_alpha(axes, rows):
    table = score_table(rows)
    draw_alpha_path(axes, table, 0.5)
    line = labelled(axes)["mean of natural shifts"]
    assert list(line.get_xdata()) == [found.cells["made"]["accuracy"].value for found in table.lines]
    assert list(line.get_ydata()) == [found.cells["mean/natural"]["accuracy"].value for found in table.lines]
    assert sorted(texts(axes)) == ["α = 0", "α = 0.5", "α = 1"]  # further paths carry the same marks


def test_the_ring_of_the_alpha_path_is_called_an_oracle_and_is_the_best(axes, rows):
    table = score_table(rows)
    draw_alpha_path(axes, table, 0.5)
    ring = labelled(axes)["oracle: best on these test sets"]
    best = [max(line.cells[f"mean/{g}"]["accuracy"].value for line in table.lines) for g in ("natural", "corruption")]
    assert list(ring.get_ydata()) == best


def test_intervals_are_drawn_where_they_are(axes, rows):
    table = score_table(rows)
    draw_alpha_path(axes, table, 0.5)
    score = table.lines[0].cells["made"]["accuracy"]
    drawn = [tuple(part[:, 0]) for lines in axes.collections for part in lines.get_segments()]
    assert (score.low, score.high) in drawn


@pytest.mark.parametrize("metric", ["accuracy", "ece"])
def test_metrics_against_alpha(axes, rows, metric):
    table = score_table(rows)
    draw_against_alpha(axes, table, metric, 0.25)
    lines = labelled(axes)
    assert list(lines["ID"].get_xdata()) == [0.0, 0.25, 0.5, 0.75, 1.0]
    expected = [line.cells["mean/corruption"][metric].value for line in table.lines]
    assert list(lines["mean of corruptions"].get_ydata()) == expected
    assert list(lines["chosen alpha"].get_xdata()) == [0.25, 0.25]
    assert len(axes.collections) == 3, "one band per line"


def test_without_intervals_there_are_no_bands(axes, made_tables):
    rows = score_tables(made_tables(alphas=(0.0, 1.0)), scoring=Scoring(resamples=0))
    draw_against_alpha(axes, score_table(rows), "accuracy", 0.5)
    assert len(axes.collections) == 0


def test_scores_are_drawn_on_the_row_of_their_data_set(axes, rows):
    summary = summary_table(rows, 0.5)
    draw_scores(axes, summary)
    names = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    tuned = labelled(axes)["fine-tuned"]
    drawn = dict(zip(tuned.get_ydata(), tuned.get_xdata(), strict=True))
    for name, key in {"ID": "made", "invert": "made/invert", "noise": "made/noise"}.items():
        assert drawn[names[name]] == summary.lines[1].cells[key]["accuracy"].value
    assert names["ID"] < names["invert"] < names["noise"]
    assert {"natural shifts", "corruptions"} <= set(texts(axes))
    assert "interpolated (α = 0.5)" in labelled(axes)


def test_reliability_shows_accuracy_confidence_and_count(axes):
    probabilities = np.array([[0.9, 0.1], [0.85, 0.15], [0.4, 0.6]])
    table = reliability_table(probabilities, np.array([0, 1, 1]), bins=4)
    draw_reliability(axes, table, "#0072b2", "fine-tuned")
    bars = {round(bar.get_x(), 3): bar.get_height() for bar in axes.patches}
    assert bars == {0.5: 1.0, 0.75: 0.5}, "empty bins have no bar"
    diagonal, dots = axes.get_lines()
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert diagonal.get_linestyle() == "--"
    assert list(dots.get_xdata()) == pytest.approx([0.6, 0.875]) and list(dots.get_ydata()) == [1.0, 0.5]
    assert axes.get_title(loc="left") == "fine-tuned"


def test_counts_are_those_of_the_bins(axes):
    table = ReliabilityTable(np.array([0.0, 0.5, 1.0]), np.zeros(2), np.zeros(2), np.array([3, 7]))
    draw_counts(axes, table, "#0072b2")
    assert [bar.get_height() for bar in axes.patches] == [3, 7]
    assert list(axes.get_yticks()) == [0, 7]


def test_training_is_drawn_as_logged(axes, made_log):
    curve = training_curve(made_log())
    draw_progress(axes, curve)
    lines = labelled(axes)
    assert list(lines["ID validation"].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["invert"].get_ydata()) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert list(lines["best epoch"].get_xdata()) == [4]
    assert texts(axes) == ["invert collapsed"]


def test_loss_and_learning_rate_have_a_point_per_step(made_log):
    curve = training_curve(made_log(epochs=2, steps=5))
    for draw, values in ((draw_loss, curve.loss.values), (draw_learning_rate, curve.lr.values)):
        with house_style():
            axes = new_figure(4, 3).add_subplot()
            draw(axes, curve)
        assert tuple(axes.get_lines()[0].get_ydata()) == values and len(values) == 10


def test_a_diverged_loss_is_marked(axes):
    step = {"event": "step", "phase": 0, "lr": 0.1}
    draw_loss(axes, training_curve([{**step, "epoch": 0.5, "loss": 1.0}, {**step, "epoch": 1.0, "loss": float("nan")}]))
    assert texts(axes) == ["loss not finite "]
    assert list(axes.get_lines()[1].get_xdata()) == [1.0, 1.0]


def some_figure(text="$x"):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0.25, 0.5], color=INK, marker="o", markeredgecolor=PAPER)
    axes.set_title(plain(text))
    percent_axis(axes, "y")
    return figure


@pytest.mark.parametrize("render", [svg_bytes, png_bytes])
def test_equal_figures_give_equal_bytes_whatever_the_user_has_set(render):
    with house_style():
        first = render(some_figure())
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": "other", "savefig.dpi": 30}):
        with house_style():
            second = render(some_figure())
        assert matplotlib.rcParams["font.size"] == 20, "the user's settings come back"
    assert first == second


def test_a_standalone_svg_is_whole_and_tells_no_date():
    with house_style():
        data = svg_bytes(some_figure())
    root = ElementTree.fromstring(data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert b"dc:date" not in data and b"matplotlib.org" not in data


def test_an_inlined_figure_takes_its_colours_from_the_page():
    with house_style():
        text = inline_svg(some_figure(), "panel", 'a "line" & <more>')
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img" and root.get("aria-label") == 'a "line" & <more>'
    assert root.get("viewBox") and root.get("width") is None, "the page decides how wide it is"
    assert "currentColor" in text and "var(--paper)" in text
    assert INK not in text and PAPER not in text and "#ffffff" not in text


def test_ids_of_two_inlined_figures_do_not_meet():
    with house_style():
        pages = [inline_svg(some_figure(), name, "") for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert ids[0] and not ids[0] & ids[1]
    for own, page in zip(ids, pages, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(i, "") for i in own} | {
            ("", i) for i in own
        }


def test_names_in_any_script_and_with_dollars_are_drawn():
    with house_style():
        assert svg_bytes(some_figure("$5 数字 $6")).startswith(b"<?xml")


def test_percent_ticks_are_whole_where_they_can_be(axes):
    axes.set_ylim(0.5, 0.6)
    axes.set_yticks([0.5, 0.55, 0.575])
    percent_axis(axes, "y")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["50 %", "55 %", "57.5 %"]


class TestSweeps:
    def test_a_curve_shows_means_deviations_and_where_the_model_started(self, axes):
        line = SettingLine("flyp", (16.0, 64.0), (0.5, 0.75), (0.01, None))
        draw_against_setting(axes, [line], "training.batch_size", "accuracy", "accuracy, ID", 0.4)
        drawn = labelled(axes)
        assert drawn["flyp"].get_ydata().tolist() == [0.5, 0.75] and drawn["zero-shot"].get_ydata() == [0.4, 0.4]
        assert axes.get_xscale() == "log" and [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "64"]
        assert len(axes.collections) == 1  # the bar of the one point with a deviation

    def test_a_surface_has_a_readable_number_in_every_cell_that_was_run(self, axes):
        means = np.array([[0.5, 0.6], [0.7, np.nan]])
        deviations = np.array([[0.01, np.nan], [0.02, np.nan]])
        draw_surface(axes, means, deviations, ((0, 1), (0.5, 1.5)), ("a.b", "c.d"), "accuracy", "accuracy, ID")
        assert texts(axes) == ["50.0\n± 1.0", "60.0", "70.0\n± 2.0"]
        image = axes.get_images()[0]
        for text, value in zip(axes.texts, (0.5, 0.6, 0.7), strict=True):
            ground = to_hex(image.cmap(image.norm(value)))
            assert contrast(ground, text.get_color()) > 4

    def test_a_surface_is_brightest_where_the_error_is_smallest(self, axes):
        draw_surface(axes, np.array([[0.1, 0.3]]), np.full((1, 2), np.nan), ((0,), (0, 1)), ("a.b", "c.d"), "ece", "")
        image = axes.get_images()[0]
        low, high = (luminance(to_hex(image.cmap(image.norm(value)))) for value in (0.1, 0.3))
        assert low > high

    def test_a_dot_for_every_seed_and_a_line_at_their_mean(self, axes):
        draw_seed_dots(axes, {"full": (0.5, 0.7), "flyp": ()}, "#000000", "accuracy", "accuracy, ID")
        assert axes.get_lines()[0].get_xdata().tolist() == [0.5, 0.7]
        assert axes.collections[0].get_segments()[0][:, 0].tolist() == pytest.approx([0.6, 0.6])
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["full", "flyp"]
