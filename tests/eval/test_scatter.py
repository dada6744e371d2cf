from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from vlm_data.errors import CallError
from vlm_eval.comparing.figures import scatter_path, write_scatter_figures
from vlm_eval.comparing.paired import group_runs
from vlm_eval.comparing.scored_groups import score_group_of_runs
from vlm_eval.metrics.robustness import fit_baseline, logit
from vlm_eval.plots.logit_axis import accuracy_ticks, logit_limits, published_axis
from vlm_eval.plots.scatter import BaselineCloud, ScatterPath, draw_scatter
from vlm_eval.plots.style import SERIES_COLOURS, house_style, new_figure

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "effective_robustness" / "fit.npz")
PATH = ScatterPath("full", {0.0: (0.5, 0.4), 0.5: (0.8, 0.6), 1.0: (0.9, 0.5)})


@pytest.fixture
def axes():
    with house_style():
        yield new_figure(4, 3).add_subplot()


def labels(axes):
    return axes.get_legend_handles_labels()[1]


class TestAxis:
    @pytest.mark.parametrize("which", ["x", "y"])
    def test_the_published_axis(self, which):
        limits, ticks, names = published_axis(*GOLDEN[f"axis_{which}_range"])
        np.testing.assert_allclose(limits, GOLDEN[f"axis_{which}lim"], atol=1e-9)
        np.testing.assert_allclose(ticks, GOLDEN[f"axis_{which}ticks"], atol=1e-9)
        np.testing.assert_array_equal(names, GOLDEN[f"axis_{which}ticklabels"])

    def test_a_published_axis_beyond_one_is_refused(self):
        with pytest.raises(CallError, match="no logit"):
            published_axis(0.9, 1.05 * 0.99)

    @given(st.floats(0.001, 0.95), st.floats(0.01, 0.999))
    def test_ticks_stand_apart_and_lie_inside(self, low, width):
        high = low + (0.9995 - low) * width
        ticks = accuracy_ticks(low, high)
        assert ticks == sorted(set(ticks)) and all(low - 1e-6 <= tick <= high + 1e-6 for tick in ticks)
        room = 0.15 * float(logit(np.array(high)) - logit(np.array(low)))
        assert all(np.diff(logit(np.array(ticks))) >= room - 1e-9) and len(ticks) <= 8

    def test_limits_hold_one_value_too(self):
        low, high = logit_limits([0.99])
        assert 0 < low < 0.99 < high < 1


class TestPanel:
    def test_a_path_goes_through_its_alphas(self, axes):
        draw_scatter(axes, [PATH], label_alphas=True)
        line = next(x for x in axes.get_lines() if len(x.get_xdata()) == 3)
        assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == list(PATH.points.values())
        assert [text.get_text() for text in axes.texts] == ["α = 0", "α = 0.5", "α = 1"]
        assert axes.get_xscale() == axes.get_yscale() == "logit"

    def test_groups_have_colours_of_their_own(self, axes):
        other = ScatterPath("flyp", {0.0: (0.5, 0.4), 1.0: (0.95, 0.7)}, seeds=[[(0.5, 0.4), (0.94, 0.69)]])
        draw_scatter(axes, [PATH, other], label_alphas=True)
        assert {"full", "flyp", "zero-shot (α = 0)"} <= set(labels(axes)) and not axes.texts
        assert {to_hex(line.get_color()) for line in axes.get_lines()} >= set(SERIES_COLOURS[:2])

    def test_baselines_with_line_and_band(self, axes):
        x, y = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.1, 0.25, 0.4, 0.7])
        fit = fit_baseline(x, y)
        draw_scatter(axes, [PATH], BaselineCloud(x, y, fit))
        assert "4 baselines, fit and 95 % band" in labels(axes)
        low, high = axes.get_xlim()
        assert low < 0.2 and high > 0.9
        band = axes.collections[0].get_paths()[0].vertices
        lower, upper = fit.band(np.array([0.5]))
        near = band[np.abs(band[:, 0] - 0.5) < 0.01][:, 1]
        assert near.min() == pytest.approx(lower[0], abs=0.02) and near.max() == pytest.approx(upper[0], abs=0.02)

    def test_the_band_is_narrowest_in_the_middle_of_the_baselines(self):
        x = np.array([0.3, 0.5, 0.6, 0.8])
        fit = fit_baseline(x, np.array([0.2, 0.45, 0.4, 0.7]))
        width = [
            float(np.diff([logit(end) for end in fit.band(np.array([at]))], axis=0)[0, 0]) for at in (0.05, 0.55, 0.95)
        ]
        assert width[1] < width[0] and width[1] < width[2]

    @pytest.mark.parametrize("scale", ["linear", "log"])
    def test_other_scales(self, axes, scale):
        draw_scatter(axes, [PATH], scale=scale, shares=False)
        assert axes.get_xscale() == scale and axes.get_xlim()[0] < 0.5 < 0.9 < axes.get_xlim()[1]


def scored(folder, *names):
    return [score_group_of_runs(group) for group in group_runs([folder / name for name in names], 0.5)]


class TestFiles:
    def test_pictures_have_equal_bytes(self, made_run, made_tables, tmp_path):
        made_run(tmp_path / "run", made_tables(natural={"invert": (1.6, 0.7)}, corruptions={"noise": (2.1, 3.2)}))
        groups = scored(tmp_path, "run")
        first = write_scatter_figures(tmp_path / "one", groups, {})
        second = write_scatter_figures(tmp_path / "two", groups, {})
        assert [path.name for path in first] == ["means.png", "means.svg", "shifts.png", "shifts.svg"]
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    def test_endpoints_alone_and_scores_of_zero_and_one(self, made_run, made_tables, tmp_path):
        """What made the published plot crash: two alphas, the best accuracy near 1, an accuracy of 0."""
        tables = made_tables(alphas=(0.0, 1.0), natural={"invert": (1.6, 0.7)}, corruptions={})
        for table in tables:
            rows = np.arange(len(table))
            if table.meta["data"] == "made/invert" and table.meta["alpha"] == "1.0":
                table.logits[rows, table.labels] -= 100
            elif table.meta["data"] == "made" and table.meta["alpha"] == "1.0":
                table.logits[rows, table.labels] += 100
        made_run(tmp_path / "run", tables, recipe={"evaluation": {"alpha": 1.0}})
        (group,) = [score_group_of_runs(group) for group in group_runs([tmp_path / "run"])]
        path = scatter_path(group, "made/invert", "accuracy", "logit")
        assert path.points[1.0] == (1 - 0.5 / 200, 0.5 / 200)
        assert [p.name for p in write_scatter_figures(tmp_path / "out", [group], {})] == ["shifts.png", "shifts.svg"]

    def test_other_metrics(self, made_run, made_tables, tmp_path):
        made_run(tmp_path / "run", made_tables(natural={"invert": (1.6, 0.7)}, corruptions={}))
        groups = scored(tmp_path, "run")
        written = write_scatter_figures(tmp_path / "out", groups, {}, metric="ece")
        assert [path.name for path in written] == ["shifts-ece.png", "shifts-ece.svg"]
        write_scatter_figures(tmp_path / "out", groups, {}, metric="nll", scale="log")
        with pytest.raises(CallError, match="'nll' is no share"):
            write_scatter_figures(tmp_path / "out", groups, {}, metric="nll", scale="logit")
        with pytest.raises(CallError, match="no run has 'aurc'"):
            write_scatter_figures(tmp_path / "out", groups, {}, metric="aurc")
        with pytest.raises(CallError, match="no logarithm"):
            write_scatter_figures(tmp_path / "out", groups, {}, metric="brier_remainder", scale="log")

    def test_without_shifts_there_is_nothing_to_draw(self, made_run, made_tables, tmp_path):
        made_run(tmp_path / "run", made_tables(natural={}, corruptions={}))
        with pytest.raises(CallError, match="nothing to draw"):
            write_scatter_figures(tmp_path / "out", scored(tmp_path, "run"), {})
