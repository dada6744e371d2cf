"""`vlm finetune` in micro-batches: a contrastive batch stays whole, unless the recipe says otherwise."""

import json

import pytest

NO_REPORT = ("--set", "evaluation.report=false")
SMALL = ("--limit", "64", "--epochs", "1", "--method", "carot", "--batch-size", "32", "--json", *NO_REPORT)
PARTS = ("--set", "training.accumulation_steps=4")


def losses_of(vlm, folder, *flags):
    """Trains in a directory of that name, and returns the losses of its steps."""
    answer = vlm("finetune", *SMALL, *flags, "--out", str(folder))
    assert answer.code == 0, answer.err
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["event"] == "step"]


def test_parts_train_the_whole_batch(vlm, tmp_path):
    whole = losses_of(vlm, tmp_path / "whole")
    assert len(whole) == 2
    assert losses_of(vlm, tmp_path / "parts", *PARTS) == pytest.approx(whole, abs=1e-4)
    alone = losses_of(vlm, tmp_path / "alone", *PARTS, "--set", "training.negatives=micro-batch")
    assert alone[0] < whole[0] - 0.3  # fewer negatives


def test_another_word_for_negatives_is_refused(vlm, tmp_path):
    answer = vlm("finetune", *SMALL, "--set", "training.negatives=all", "--out", str(tmp_path / "run"))
    assert answer.code == 2
    assert "training.negatives is 'all'; expected batch or micro-batch" in answer.paragraph
    assert not (tmp_path / "run").exists()
