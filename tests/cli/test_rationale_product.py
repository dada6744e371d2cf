"""Every data set with evidence, every kind of model, every way to adapt it: from files to PT and IR."""

from pathlib import Path

import pytest

from specimens import write_specimen
from specimens.published import PUBLISHED
from vlm_data.tables import Rationales

DATA = ("caltech101", "cub", "stanforddogs", "imagenet")
FAMILIES = ("clip", "albef", "blip", "hf", "openclip")
METHODS = ("zero-shot", "linear-probe", "flyp", "full")
SETS = {"imagenet": "id,gaussian_noise,snow-3"}
"""ImageNet-C is judged by the boxes of the clean images; the other shifts of ImageNet have none."""
TABLES = {"imagenet": 1 + 5 + 1}
ALWAYS = {
    ("caltech101", "clip", "linear-probe"),
    ("cub", "albef", "flyp"),
    ("stanforddogs", "blip", "full"),
    ("imagenet", "hf", "zero-shot"),
    ("imagenet", "clip", "full"),
}
"""A diagonal in which everything occurs but open_clip's smallest architecture, which takes as long as all the rest."""
CASES = [
    pytest.param(data, family, method, marks=() if (data, family, method) in ALWAYS else pytest.mark.slow)
    for data in DATA
    for family in FAMILIES
    for method in METHODS
]
NO_REPORT = ("--set", "evaluation.report=false")
QUICK = ("--limit", "12", "--epochs", "1", "--batch-size", "4", "--set", "evaluation.alphas=[0.0,1.0]", *NO_REPORT)


@pytest.mark.parametrize(("data", "family", "method"), CASES)
def test_from_a_published_file_to_pt_and_ir(vlm, tmp_path, data, family, method):
    PUBLISHED[data](tmp_path)
    (tmp_path / "model").mkdir()
    spec = write_specimen(family, tmp_path / "model")
    of_data = ("--data", data, "--data-root", tmp_path)
    if method != "zero-shot":
        tuned = vlm("finetune", "--model", spec, "--method", method, *of_data, *QUICK, "--out", "run", "--json")
        assert tuned.code == 0, tuned.err
        tables = sorted((tmp_path / "run" / "rationales").glob("*.parquet"))
        assert len(tables) == 3 and "note: no rationales" not in tuned.err
        of_id = [row["metrics"] for row in tuned.document["rows"] if row["role"] == "id"]
        assert len(of_id) == 3 and all(0 <= metrics["validity"] <= 1 for metrics in of_id)
    models = [spec] if method == "zero-shot" else [spec, "run:run"]
    answer = vlm("rationale", *models, *of_data, "--limit", "12", "--sets", SETS.get(data, "id"), "--json")
    assert answer.code == 0, answer.err
    rows = answer.document["rows"]
    single = [row for row in rows if row["severity"] or row["data"] == data]
    assert len(single) == len(models) * TABLES.get(data, 1)
    for row in rows:
        assert row["RR"] + row["RW"] + row["WR"] + row["WW"] + row["no_evidence"] == row["n"] > 0
        assert row["no_evidence"] < row["n"] and 0 < row["mean_area"] < 1
    if method != "zero-shot":
        _same_as_in_the_run(tmp_path, data)


def _same_as_in_the_run(folder: Path, data: str) -> None:
    """The fine-tuned model is judged alike, whichever command asks."""
    (ours,) = (folder / "runs/rationales").glob(f"run-run-on-{data}/*/{data}.test.parquet")
    found, told = Rationales.load(ours), Rationales.load(folder / f"run/rationales/{data}.test.alpha-1.00.parquet")
    assert found.ids == told.ids and found.status == told.status
    assert found.rational.tolist() == told.rational.tolist() and found.predicted.tolist() == told.predicted.tolist()
