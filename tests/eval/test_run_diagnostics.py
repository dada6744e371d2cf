import dataclasses
import json

import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_eval.diagnostics.runs import Diagnosed, as_csv, model_specs, rank_correlations, read_quantities, why_no_ranking
from vlm_eval.diagnostics.spectrum_figure import write_spectrum_figure
from vlm_eval.diagnostics.spectrum_file import FeatureDiagnostics, write_diagnostics
from vlm_eval.summary import FINE_TUNED, ZERO_SHOT


def spectrum(sigma, model=FINE_TUNED, n=200, inverse=None):
    tail = tuple((sigma * np.arange(20, 0, -1)).tolist())
    hashes = {"images": "i" * 16, "preprocessing": "p" * 16, "weights": repr(sigma)}
    return FeatureDiagnostics(
        model, "unit length", "made", "test", n, 64, 0, hashes, sigma, 9.0, 9 / sigma, 8.0,
        inverse or 1 / sigma, 1 / float(np.mean(tail)), tail,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, made_run, made_tables):
    """Runs that are the worse on natural shifts the smaller their sigma is."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(6):
        natural = {"invert": (1.6, 0.3 + 0.3 * number), "colour": (1.9, 0.6 + 0.3 * number)}
        made_run(folder / f"run{number}", made_tables((0.0, 1.0), natural, {"noise": (2.1, 3.2)}))
        write_diagnostics(folder / f"run{number}" / "spectrum.json", [spectrum(0.01 * (number + 1) ** 2)])
    return [folder / f"run{number}" for number in range(6)]


def test_the_quantities_of_a_run_come_from_its_files(runs):
    found = read_quantities(runs[1])
    assert found.inv_sigma_min == pytest.approx(25) and found.inv_tail_mean == pytest.approx(25 / 10.5)
    assert set(found.errors) == set(found.eces) == {"natural", "corruption", "all"}
    assert 0 < found.ece_id < 1 and found.errors["natural"] > read_quantities(runs[5]).errors["natural"]
    assert read_quantities(runs[1], raw=True) is None  # nobody has diagnosed raw features


def test_a_run_without_predictions_has_no_quantities(tmp_path, made_run):
    made_run(tmp_path / "run", [])
    write_diagnostics(tmp_path / "run" / "spectrum.json", [spectrum(0.1)])
    assert read_quantities(tmp_path / "run") is None


def test_a_quantity_that_ranks_runs_as_their_errors_correlates_with_them(runs):
    found = {
        (one.quantity, one.outcome, one.group): one.found for one in rank_correlations(list(map(read_quantities, runs)))
    }
    assert len(found) == 5 * 2 * 3
    assert found["inv_sigma_min", "error", "natural"].spearman == pytest.approx(1)
    assert found["inv_tail_mean", "error", "natural"].pearson > 0.7
    assert "same for all" in found["inv_sigma_min", "error", "corruption"].undefined
    assert "same for all" in found["ece_id", "error", "natural"].undefined  # ID tables are equal


def test_few_runs_are_undefined_and_other_images_refused(runs):
    measured = list(map(read_quantities, runs))
    assert {one.found.undefined for one in rank_correlations(measured[:4])} == {"4 runs; expected at least 5"}
    assert "undefined for 1 run with" in why_no_ranking(1) and why_no_ranking(5) == ""
    assert rank_correlations([]) == []
    other = dataclasses.replace(measured[5], evaluated_on="elsewhere")
    with pytest.raises(CallError, match=r"run5 and .*run0 were measured on different images"):
        rank_correlations([*measured[:5], other])


def test_another_number_of_images_is_another_measurement(runs, tmp_path, made_run, made_tables):
    run = made_run(tmp_path / "run", made_tables((0.0, 1.0)))
    write_diagnostics(run / "spectrum.json", [spectrum(0.1)])
    before = read_quantities(run).evaluated_on
    write_diagnostics(run / "spectrum.json", [spectrum(0.1, n=199)])
    assert read_quantities(run).evaluated_on != before


def test_an_undefined_sigma_leaves_the_other_quantities(runs):
    measured = list(map(read_quantities, runs))
    measured[0] = dataclasses.replace(measured[0], inv_sigma_min=None)
    found = {(one.quantity, one.group): one.found for one in rank_correlations(measured) if one.outcome == "error"}
    assert "infinite or undefined" in found["inv_sigma_min", "natural"].undefined
    assert found["inv_tail_mean", "natural"].pearson > 0.7


def test_directories_of_runs_are_specs(runs):
    assert model_specs([str(runs[0]), f"run:{runs[0]}", "tiny"]) == [f"run:{runs[0]}", "tiny"]


def test_the_table_and_the_figure_of_several_models(tmp_path, runs):
    found = [
        Diagnosed(f"run:{run}", run / "spectrum.json", (spectrum(0.1 * place), spectrum(0.5, ZERO_SHOT)))
        for place, run in enumerate(runs[:3], start=1)
    ]
    lines = as_csv(found).splitlines()
    assert len(lines) == 7 and lines[0].startswith("spec,model,features,data") and "tail" not in lines[0].split(",")
    one, other = (write_spectrum_figure(found, tmp_path / name) for name in ("one", "other"))
    assert [path.name for path in one] == ["spectrum.png", "spectrum.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_the_kept_file_is_json_without_infinities(runs):
    assert json.loads((runs[0] / "spectrum.json").read_text())["models"][0]["inv_sigma_min"] == 100
