import csv
import dataclasses

import numpy as np
import pytest

from vlm_data.errors import VlmError
from vlm_eval.many_runs.figures import choose_plot, write_sweep_figures
from vlm_eval.many_runs.groups import read_sweep
from vlm_eval.many_runs.seeds import as_csv
from vlm_finetune.grid import grid, resolve_points

ALPHAS = (0.0, 0.5, 1.0)


def finished(made_run, made_tables, folder, axes, seeds=(0, 1), but=()):
    """Finished runs of a grid, each with predictions of its own; `but` names runs that are not finished."""
    points = grid(axes, seeds)
    recipes = resolve_points(points)
    for number, point in enumerate(points):
        natural = {"invert": (1.6, 0.7 + 0.1 * number), "colour": (1.9, 2.1)}
        tables = made_tables(ALPHAS, natural, {"noise": (2.1, 3.2)}, n=60)
        run = made_run(folder / point.name, tables, recipe=recipes[point.name].tables())
        if point.name not in but:
            (run / "DONE").touch()
    return points, recipes


def test_groups_have_their_settings_and_the_scores_of_finished_runs(tmp_path, made_run, made_tables):
    made = finished(
        made_run, made_tables, tmp_path, ["training.lr=1e-3,1e-2", "data.limit=60"], but=["lr=1e-2-limit=60-seed1"]
    )
    first, second = read_sweep(*made, tmp_path)
    assert first.settings == {"training.lr": 1e-3} and second.settings == {"training.lr": 1e-2}
    assert (len(first.runs), len(second.runs)) == (2, 1)
    assert first.facets == {"id": "ID", "natural": "mean of natural shifts", "corruption": "noise"}
    score = first.score("fine-tuned", "natural", "accuracy")
    assert score.mean == pytest.approx(np.mean(score.values)) and len(score.values) == 2
    assert first.score("interpolated", "id", "ece").model_label == "interpolated, alpha 0.5"
    assert second.score("fine-tuned", "natural", "accuracy").deviation is None
    assert first.score("fine-tuned", "nothing", "ece") is None
    lines = list(csv.DictReader(as_csv(first.scores, {first.name: first.settings}).splitlines()))
    assert {line["training.lr"] for line in lines} == {"0.001"} and len(lines[0]["values"].split()) == 2


def test_a_finished_run_without_predictions_is_explained(tmp_path, made_run, made_tables):
    made = finished(made_run, made_tables, tmp_path, [], seeds=(0,))
    for path in (tmp_path / "seed0" / "predictions").iterdir():
        path.unlink()
    with pytest.raises(VlmError, match="is finished and has no scored predictions"):
        read_sweep(*made, tmp_path)


@pytest.mark.parametrize(
    ("axes", "kind", "numeric", "others"),
    [
        ({"a": (1, 2, 3)}, "curve", ("a",), ()),
        ({"a": (1, 2, 3), "m": ("x", "y")}, "curve", ("a",), ("m",)),
        ({"a": (1, 2, 3), "b": (0.0, 1.0)}, "surface", ("a", "b"), ()),
        ({"a": (1, 2, 3), "b": (0.0, 1.0), "m": ("x", "y")}, "curve", ("a",), ("m", "b")),
        ({"m": ("x", "y")}, "dots", (), ()),
        ({"a": (True, False)}, "dots", (), ()),
        ({"m": tuple(map(str, range(41)))}, None, (), ()),
        ({"a": (1,)}, None, (), ()),
    ],
)
def test_the_plot_that_fits_a_grid(axes, kind, numeric, others):
    settings = [{}]
    for key, values in axes.items():
        settings = [{**found, key: value} for found in settings for value in values]
    found = choose_plot(settings)
    assert (found and (found.kind, found.numeric, found.others)) == (kind and (kind, numeric, others))


def test_a_list_whose_points_share_no_line_is_drawn_as_dots():
    assert choose_plot([{"m": "x", "a": 1}, {"m": "y", "a": 2}]).kind == "dots"
    assert choose_plot([{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3}]).kind == "dots"


@pytest.fixture(scope="module")
def groups(tmp_path_factory, made_run, made_tables):
    folder = tmp_path_factory.mktemp("sweep")
    return read_sweep(*finished(made_run, made_tables, folder, ["training.lr=1e-3,1e-2"]), folder)


class TestFigures:
    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            ([{"training.lr": 1e-3}, {"training.lr": 1e-2}], "curve"),
            ([{"a.b": 0, "c.d": 0.5}, {"a.b": 1, "c.d": 0.5}, {"a.b": 1, "c.d": 1.5}], "curve"),
            ([{"a.b": a, "c.d": b} for a in (0, 1) for b in (0.5, 1.5)], "surface"),
            ([{"method.name": "full"}, {"method.name": "$x$"}], "dots"),
        ],
    )
    def test_both_models_are_drawn_with_equal_bytes(self, tmp_path, groups, settings, kind):
        named = [
            dataclasses.replace(groups[place % 2], name=f"group {place}", settings=found)
            for place, found in enumerate(settings)
        ]
        written = write_sweep_figures(named, tmp_path / "one")
        assert [path.name for path in written] == [
            f"{kind}-{model}.{ending}" for model in ("fine-tuned", "interpolated") for ending in ("png", "svg")
        ]
        again = write_sweep_figures(named, tmp_path / "two")
        assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
        assert written[0].read_bytes() != written[2].read_bytes()

    def test_one_group_has_no_figure(self, tmp_path, groups):
        assert write_sweep_figures(groups[:1], tmp_path) == [] and not list(tmp_path.iterdir())
        empty = dataclasses.replace(groups[1], runs=(), scores=())
        assert write_sweep_figures([groups[0], empty], tmp_path) == []
