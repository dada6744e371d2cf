"""`vlm doctor`: every line is looked up here and now."""

import os

import torch
from huggingface_hub import constants

from vlm_cli.checkup import FOREIGN, OWN


def test_a_machine_that_works_passes_every_check(vlm):
    answer = vlm("doctor", "--json")
    assert answer.code == 0 and answer.document["works"]
    checks = {check["name"]: check for check in answer.document["checks"]}
    assert not [check for check in checks.values() if check["status"] == "problem"]
    assert all(package in checks["versions"]["found"] for package in (*FOREIGN, *OWN))
    assert torch.__version__.partition("+")[0] in checks["versions"]["found"]
    assert checks["embedded model and data"]["found"].startswith("tiny reads 100 digits without training: accuracy")
    assert all(check["advice"] for check in checks.values() if check["status"] != "ok")


def test_every_check_is_a_line_for_people(vlm):
    lines = vlm("doctor").out.splitlines()
    assert all(line.split()[0] in ("ok", "warning") for line in lines if not line.startswith(" "))
    assert any("current folder" in line and "can be written" in line for line in lines)


def test_what_is_amiss_is_told_with_what_to_do(vlm, tmp_path, monkeypatch):
    """More threads than cores, and a cache that lies below a file."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads((os.cpu_count() or 1) + 1)
    try:
        answer = vlm("doctor", "--json")
    finally:
        torch.set_num_threads(before)
    checks = {check["name"]: check for check in answer.document["checks"]}
    assert checks["model cache"]["status"] == checks["threads"]["status"] == "warning"
    assert "cannot be written" in checks["model cache"]["found"] and "HF_HOME" in checks["model cache"]["advice"]
    assert "set OMP_NUM_THREADS=" in checks["threads"]["advice"]
    assert answer.code == 0  # warnings do not keep vlm from working


def test_a_folder_where_no_run_can_be_written_is_a_problem(vlm, tmp_path, monkeypatch):
    """The current folder is gone: nothing can be written there, whoever asks."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    answer = vlm("doctor", "--json")
    assert answer.code == 1 and not answer.document["works"]
    assert [check["name"] for check in answer.document["checks"] if check["status"] == "problem"] == ["current folder"]
