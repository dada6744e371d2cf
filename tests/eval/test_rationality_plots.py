import numpy as np
import pytest
from matplotlib.colors import to_hex

from vlm_eval.plots.image import png_bytes
from vlm_eval.plots.rationality import (
    draw_against_accuracy,
    draw_over_severities,
    draw_shares,
    draw_threshold_curves,
)
from vlm_eval.plots.style import MODEL_COLOURS, house_style, new_figure
from vlm_eval.rationality.curve import threshold_curve
from vlm_eval.rationality.scores import score_rationales


@pytest.fixture
def axes():
    with house_style():
        yield new_figure(4, 3).add_subplot()


@pytest.fixture(scope="module")
def tables(made_predictions, made_rationales):
    return {
        name: made_rationales(made_predictions("made", alpha, (2.2, 3.6)))
        for name, alpha in (("zero-shot", 0.0), ("fine-tuned", 1.0), ("flyp $5", 0.5))
    }


@pytest.fixture(scope="module")
def shares(tables):
    return {name: score_rationales(table).shares for name, table in tables.items()}


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_every_share_of_every_model_has_its_dot(axes, shares):
    draw_shares(axes, shares, "made")
    found = lines(axes)["zero-shot"]
    assert to_hex(found.get_color()) == MODEL_COLOURS["zero-shot"]
    expected = [shares["zero-shot"][name].value for name in ("pt", "ir", "validity", "accuracy")]
    assert found.get_xdata() == pytest.approx(expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["PT", "IR", "valid evidence", "accuracy"]
    assert len(axes.collections) == 12, "an interval for each"


def test_many_models_stay_in_their_row(axes, shares):
    draw_shares(axes, {f"method {place}": shares["zero-shot"] for place in range(9)}, "made")
    heights = [line.get_ydata() for line in axes.get_lines()]
    assert max(ys[0] for ys in heights) < min(ys[1] for ys in heights) - 0.2


def test_what_is_undefined_is_not_drawn(axes, shares):
    draw_shares(axes, {"zero-shot": {**shares["zero-shot"], "pt": None}}, "made")
    assert len(lines(axes)["zero-shot"].get_xdata()) == 3
    draw_against_accuracy(axes, {"blind": {**shares["zero-shot"], "pt": None}}, "pt", "made")
    assert "blind" not in lines(axes)


def test_against_accuracy_there_is_a_point_for_each_method(axes, shares):
    draw_against_accuracy(axes, shares, "ir", "made")
    point = lines(axes)["flyp \\$5"]
    assert point.get_xdata()[0] == shares["flyp $5"]["accuracy"].value
    assert point.get_ydata()[0] == shares["flyp $5"]["ir"].value


def test_curves_hold_the_shares_at_every_threshold_and_mark_the_rule(axes, tables):
    curves = {name: threshold_curve(table) for name, table in tables.items()}
    draw_threshold_curves(axes, curves, "pt", 0.5)
    np.testing.assert_array_equal(lines(axes)["fine-tuned"].get_ydata(), curves["fine-tuned"].share("pt"))
    assert "rule: 0.5" in lines(axes) and axes.get_xlabel() == "threshold of mass"
    assert len(axes.collections) == 3, "a band for each"
    assert axes.get_xlim() == pytest.approx((-0.03, 1.03))


def test_severities_are_in_order_and_pictures_repeat(axes):
    draw_over_severities(axes, {"zero-shot": {3: 0.2, 0: 0.5, 1: 0.4}}, "ir", "corruptions")
    assert list(lines(axes)["zero-shot"].get_xdata()) == [0, 1, 3]
    assert png_bytes(axes.get_figure()) == png_bytes(axes.get_figure())
