"""The end of `vlm finetune` on data with evidence: PT and IR of its three models, in files, table and report."""

import pytest

from vlm_data.tables import Rationales

SMALL = ("--limit", "24", "--epochs", "1", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.track=0")
RUN = "runs/digits-tiny-full-seed0"


def _tables(run):
    return {path.name: path.read_bytes() for path in sorted((run / "rationales").glob("*.parquet"))}


def test_the_rows_of_the_id_test_set_tell_what_the_tables_of_rationales_say(workplace, finetune_answer):
    rows = [row for row in finetune_answer.document["rows"] if row["role"] == "id"]
    assert [row["model"] for row in rows] == ["zero-shot", "fine-tuned", "interpolated"]
    for row in rows:
        table = Rationales.load(workplace / RUN / "rationales" / f"digits.test.alpha-{row['alpha']:.2f}.parquet")
        right, valid = table.correct, table.rational
        assert row["metrics"]["accuracy"] == pytest.approx(right.mean())
        assert row["metrics"]["pt"] == pytest.approx((right & valid).sum() / right.sum())
        assert row["metrics"]["ir"] == pytest.approx((right & valid).sum() / valid.sum())
        assert row["intervals"]["pt"][0] < row["metrics"]["pt"] < row["intervals"]["pt"][1]
    others = [row for row in finetune_answer.document["rows"] if row["role"] != "id"]
    assert others and not any("pt" in row["metrics"] for row in others)


def test_the_report_has_the_section_and_the_gallery(workplace):
    assert (workplace / RUN / "rationales" / "gallery.png").read_bytes().startswith(b"\x89PNG")
    report = (workplace / RUN / "report.html").read_text()
    assert "<h2>Right for the right reasons" in report and "data:image/png;base64," in report


def test_all_test_sets_on_request_and_none_on_request(vlm, tmp_path):
    settings = ("--limit", "8", *SMALL[2:])
    assert vlm("finetune", *settings, "--set", "evaluation.rationales=all", "--out", "all").code == 0
    assert len(_tables(tmp_path / "all")) == 3 * (1 + 6 + 3 * 5)
    answer = vlm("finetune", *settings, "--set", "evaluation.rationales=none", "--out", "none")
    assert answer.code == 0 and not (tmp_path / "none" / "rationales").exists()
    assert "PT" not in answer.out and "rationales" not in answer.out


def test_data_without_evidence_has_no_rationales(vlm, tmp_path, photos):
    answer = vlm("finetune", *SMALL, "--data", f"folder:{photos}", "--out", "run", "--json")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "run" / "rationales").exists()
    assert not any("pt" in row["metrics"] for row in answer.document["rows"])


def test_an_unfinished_run_computes_only_what_is_missing_and_ends_with_the_same_bytes(vlm, tmp_path):
    first = vlm("finetune", *SMALL, "--out", "run", "--json")
    assert first.code == 0, first.err
    run = tmp_path / "run"
    before = _tables(run)
    lost, *kept = sorted((run / "rationales").glob("*.parquet"))
    lost.unlink()
    (run / "DONE").unlink()
    times = [path.stat().st_mtime_ns for path in kept]
    again = vlm("finetune", *SMALL, "--out", "run", "--json")
    assert again.document == first.document
    assert _tables(run) == before and [path.stat().st_mtime_ns for path in kept] == times


def test_the_alpha_chosen_on_validation_is_the_one_that_is_explained(vlm, tmp_path):
    settings = ("--limit", "24", "--epochs", "1", "--set", "evaluation.alphas=[0.0,0.3,1.0]")
    answer = vlm("finetune", *settings, "--set", "evaluation.track=0", "--alpha", "auto", "--out", "run", "--json")
    alphas = {
        float(Rationales.load(path).meta["alpha"]) for path in (tmp_path / "run" / "rationales").glob("*.parquet")
    }
    assert alphas == {0.0, 1.0, answer.document["alpha"]}
