"""Every family from its published file through the whole tool: evaluate, fine-tune by each method, save, load again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from specimens import FAMILIES
from vlm_data import load_benchmark
from vlm_data.tables import Predictions, Regions
from vlm_eval import predict
from vlm_finetune.finetuning import load_data
from vlm_finetune.recipe import METHODS
from vlm_finetune.run import open_run
from vlm_finetune.training_regions import needs_regions
from vlm_models import load_model
from vlm_models.proposals import propose

FILES = tuple(family for family in FAMILIES if family not in ("tiny", "file"))  # these two are tested all over
LARGE = pytest.mark.slow
"""The smallest architecture of open_clip takes as long as all other specimens together."""
PUBLISHED = ("linear-probe", "full", "lp-ft", "flyp", "carot")
"""Every other method asks no more of a family than one of these; one family shows that quickly."""
CASES = [
    pytest.param(
        family,
        method,
        marks=LARGE
        if (family == "openclip" and method != "full") or (family != "clip" and method not in PUBLISHED)
        else (),
    )
    for family in FILES
    for method in METHODS.names()
]
NO_REPORT = ("--set", "evaluation.report=false")
QUICK = ("--data", "folder:photos", "--limit", "12", "--epochs", "1", "--batch-size", "6", *NO_REPORT)


@pytest.fixture(params=FILES)
def spec(request, specimen):
    return specimen(request.param)


def test_show_tells_what_it_is(vlm, spec):
    facts = vlm("models", "show", spec, "--json").document
    assert facts["spec"] == spec and facts["logit_scale"] > 0
    assert {"image", "text", "tokens", "vision attention", "adapters"} <= set(facts["capabilities"])
    assert facts["parameters"]["image"] > 0 and facts["vision"]["layers"] > 0
    text = vlm("models", "show", spec).out
    assert facts["weights_hash"] in text and "vision attention" in text


def test_evaluate_gives_a_row_per_set(vlm, photos, spec):
    rows = vlm("evaluate", spec, "--data", "folder:photos", "--json").document["rows"]
    assert rows and all(row["model"] == spec and 0 <= row["metrics"]["accuracy"] <= 1 for row in rows)


def quarters(path="quarters.parquet"):
    """Write the quarters of all training images, the first of each spurious, and return the flag that names them."""
    train = load_benchmark("folder:photos").train
    proposals = propose("grid:2x2", train)
    ids = tuple(train.ids[row] for row in proposals.rows)
    Regions(ids, proposals.boxes, spurious=np.arange(len(ids)) % 4 == 0).save(path)
    return ("--regions", path)


@pytest.mark.parametrize(("family", "method"), CASES)
def test_fine_tune_save_and_load_again(vlm, photos, specimen, family, method):
    spec = specimen(family)
    if method == "carot" and spec.startswith("hf:"):
        answer = vlm("finetune", "--model", spec, "--method", method, *QUICK)
        assert answer.code == 2 and "has no linear projections" in answer.paragraph
        return
    regions = quarters() if needs_regions(method) else ()
    answer = vlm("finetune", "--model", spec, "--method", method, *regions, *QUICK, "--out", "run", "--json")
    assert answer.code == 0, answer.err
    rows = {row["model"]: row["metrics"] for row in answer.document["rows"] if row["role"] == "id"}
    assert set(rows) == {"zero-shot", "fine-tuned", "interpolated"}
    again = vlm("evaluate", "run:run", "--json").document["rows"]
    found = next(row["metrics"] for row in again if row["role"] == "id" and row["split"] == "test")
    assert found["nll"] == pytest.approx(rows["fine-tuned"]["nll"], rel=1e-6)
    (path,) = Path("run/predictions").glob("*.test.alpha-1.00.parquet")
    before, trained = load_model(spec), load_model("run:run")
    logits = predict(trained, load_data(open_run("run").recipe).test).logits
    np.testing.assert_allclose(logits, Predictions.load(path).logits, rtol=0, atol=1e-6 * np.abs(logits).max())
    after = trained.encoder
    moved = any(not torch.equal(one, after.state_dict()[name]) for name, one in before.state_dict().items())
    assert moved == (not method.startswith("linear-probe"))  # every probe leaves the encoder as it is


@pytest.mark.parametrize("family", [pytest.param("openclip", marks=LARGE), *FILES[1:]])
def test_adapters(vlm, photos, specimen, family):
    spec = specimen(family)
    answer = vlm("finetune", "--model", spec, "--method", "flyp", "--lora-rank", "2", *QUICK, "--out", "run", "--json")
    assert answer.code == 0, answer.err
    before, after = load_model(spec), load_model("run:run").encoder
    assert before.state_dict().keys() == after.state_dict().keys()
