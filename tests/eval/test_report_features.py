import pytest

from vlm_eval.diagnostics.spectrum_file import FeatureDiagnostics, write_diagnostics
from vlm_eval.report import write_figures, write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory, made_run, made_tables, made_log):
    events = [*made_log(), {"event": "warning", "phase": 0, "step": 48, "text": "the teacher <collapsed>"}]
    return made_run(tmp_path_factory.mktemp("run") / "run", made_tables((0.0, 1.0), n=40), events=events)


def test_the_section_stands_where_the_run_was_diagnosed(run):
    before = write_report(run).read_text()
    assert "<h2>Features</h2>" not in before and "Warning: the teacher &lt;collapsed&gt;" in before
    tail = tuple(0.01 * number for number in range(20, 0, -1))
    write_diagnostics(
        run / "spectrum.json",
        [
            FeatureDiagnostics("fine-tuned", "unit length", "made", "test", 600, 64, 0, {}, 0.01, 9.0, None, 8.4,
                               None, 9.52, tail, undefined=("inv_sigma_min: a column is empty",)),
            FeatureDiagnostics("zero-shot", "unit length", "made", "test", 600, 64, 0, {}, 0.02, 9.0, 450.0, 8.5,
                               50.0, 9.5, tail, proj_ortho_residual=5.57),
        ],
    )  # fmt: skip
    page = write_report(run).read_text()
    assert "<h2>Features</h2>" in page and "<td>5.57</td>" in page and "<td>–</td>" in page
    assert "64 columns of the features of 600 ID images" in page and "bound no error" in page
    assert "Undefined for fine-tuned: inv_sigma_min: a column is empty." in page
    assert 'aria-label="The smallest singular values of the correlation of image features"' in page
    assert run / "figures" / "features.svg" in write_figures(run)
