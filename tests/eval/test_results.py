import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_data.errors import CallError, VlmDataError, VlmError
from vlm_eval.results import append, latest, read, select
from vlm_eval.rows import row_key

WISE = Path(__file__).parents[1] / "golden" / "wise" / "sweep_results.jsonl"


def row(data="digits", **changes):
    return {
        "model": "tiny", "run": "r", "method": None, "alpha": None, "data": data, "split": "test", "role": "id",
        "group": "", "severity": None, "n": 600, "metrics": {"accuracy": 0.75, "ece": 0.1},
        "intervals": {"accuracy": [0.7, 0.8]}, "hashes": {"weights": "w"}, **changes,
    }  # fmt: skip


def without_time(rows):
    return [{key: value for key, value in each.items() if key != "written"} for each in rows]


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    rows = [row(), row("digits/ümlaut", alpha=0.1 + 0.2, run=None, severity=3)]
    append(path, rows[:1])
    append(path, rows[1:])
    append(path, [])
    found, problems = read(path)
    assert without_time(found) == rows and problems == []
    assert all(each["written"].endswith("+00:00") for each in found)


def test_a_line_can_be_read_by_people_and_by_wise_ft_scripts(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, [row("digits/invert", alpha=0.5)])
    line = json.loads(path.read_text())
    assert line["schema"] == 1 and line["version"] and line["alpha"] == 0.5 and line["model"] == "tiny"
    assert line["digits/invert:top1"] == 0.75 and line["digits/invert:ece"] == 0.1
    assert path.read_text().count("\n") == 1


def test_lines_of_the_wise_ft_program():
    rows, problems = read(WISE)
    lines = [json.loads(line) for line in WISE.read_text().splitlines()]
    assert problems == [] and len(rows) == 2 * len(lines)
    for line, reference, shifted in zip(lines, rows[::2], rows[1::2], strict=True):
        assert reference["alpha"] == shifted["alpha"] == line["alpha"]
        assert reference["metrics"] == {"accuracy": line["ImageNet:top1"]}
        assert shifted["metrics"] == {"accuracy": line["ImageNetSketch:top1"]}
        assert (reference["data"], reference["role"]) == ("ImageNet", "id")
        assert (shifted["data"], shifted["role"], shifted["group"]) == ("ImageNetSketch", "shift", "natural")
    assert [each["model"] for each in rows[::2]] == ["zero-shot", *["interpolated"] * (len(lines) - 2), "fine-tuned"]
    assert latest(rows) == rows
    assert len(select(rows, alpha=0.3)) == 2  # written as 0.30000000000000004 by some programs


def test_wise_lines_of_training_and_of_other_metrics(tmp_path):
    path = tmp_path / "results.jsonl"
    training = {
        "alpha": [0.5], "exp_name": "b32", "train_dataset": "FMOWID", "current_epoch": 3, "fisher": None,
        "FMOWID:top1": 0.6, "FMOWOOD:top1": 0.5, "FMOWOOD:acc_worst_region": 0.3,
        "Vid:merge_op": "max", "Vid:top1": 0.1,
    }  # fmt: skip
    path.write_text(json.dumps(training) + "\n" + json.dumps({**training, "alpha": 1, "fisher": ["a", "b"]}) + "\n")
    rows, problems = read(path)
    assert problems == []
    assert [each["data"] for each in rows[:3]] == ["FMOWID", "FMOWOOD", "Vid"]
    assert (rows[0]["model"], rows[0]["alpha"], rows[0]["run"], rows[0]["method"]) == (
        "fine-tuned",
        None,
        "b32",
        "wise-ft",
    )
    assert (rows[0]["role"], rows[1]["role"]) == ("id", "shift")
    assert rows[1]["metrics"] == {"accuracy": 0.5, "acc_worst_region": 0.3} and rows[2]["metrics"] == {"accuracy": 0.1}
    assert (rows[3]["alpha"], rows[3]["method"]) == (1.0, "wise-ft-fisher")


@pytest.mark.parametrize("lost", [1, 20, 200])
def test_a_cut_last_line_is_reported_and_the_next_row_stands_alone(tmp_path, lost):
    path = tmp_path / "results.jsonl"
    append(path, [row("one"), row("two")])
    os.truncate(path, path.stat().st_size - lost)
    rows, problems = read(path)
    whole = 2 if lost == 1 else 1  # only the line break is gone: the row is whole
    assert len(rows) == whole and len(problems) == 2 - whole
    append(path, [row("three")])
    rows, problems = read(path)
    assert [each["data"] for each in rows] == [*["one", "two"][:whole], "three"]
    if lost > 1:
        assert len(problems) == 1 and f"{path}, line 2 (" in problems[0]
        assert "not a whole JSON object, as a crash while writing leaves it; the line was skipped." in problems[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe\x00", "not a whole JSON object"),
        (b"[1, 2]", "expected a JSON object, found list"),
        (b'{"loss": 0.1}', "neither a row of results nor a line of the WiSE-FT program"),
        (b'{"schema": 2}', "schema 2, this version reads 1; update vlm-eval"),
        (b'{"schema": 1, "model": "tiny"}', "the row lacks alpha, data, group"),
    ],
)
def test_foreign_lines_are_skipped_with_the_reason(tmp_path, line, reason):
    path = tmp_path / "results.jsonl"
    path.write_bytes(line + b"\n\n")
    append(path, [row()])
    rows, problems = read(path)
    assert len(rows) == 1 and len(problems) == 1
    assert f"{path}, line 1" in problems[0] and reason in problems[0]


def test_two_processes_append_at_once(tmp_path):
    path = tmp_path / "results.jsonl"
    program = (
        "import json, sys; from vlm_eval.results import append\n"
        "path, row = sys.argv[1], json.loads(sys.argv[2])\n"
        "for number in range(500): append(path, [{**row, 'n': number}])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(path), json.dumps(row(name))]) for name in ("one", "two")
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    rows, problems = read(path)
    assert problems == [] and path.read_bytes().count(b"\n") == 1000
    for name in ("one", "two"):
        assert [each["n"] for each in rows if each["data"] == name] == list(range(500))


def test_the_later_of_two_equal_measurements_counts():
    rows = [
        row(method="first"),
        row("other"),
        row(method="second"),
        row(alpha=0.3),
        row(alpha=3 * 0.1, method="third"),
        row(severity=2),
        row(split="val"),
        row(n=16, method="a part of the data"),
    ]
    kept = latest(rows)
    assert [each["data"] for each in kept] == ["digits", "other", "digits", "digits", "digits", "digits"]
    assert [each["method"] for each in kept] == ["second", None, "third", None, None, "a part of the data"]
    assert len({row_key(each) for each in kept}) == len(kept)


def test_select_by_pattern():
    rows = [row(), row("digits/invert", role="shift", group="natural"), row("digits/noise-3", run=None, alpha=0.5)]
    assert select(rows) == rows
    assert [each["data"] for each in select(rows, data="digits/*")] == ["digits/invert", "digits/noise-3"]
    assert select(rows, data="digits", role="id", run="r") == rows[:1]
    assert select(rows, group="natural", model="tiny", split="test") == rows[1:2]
    assert select(rows, alpha=0.5) == rows[2:] and select(rows, alpha=0.0) == []
    assert select(rows, run="?") == rows[:2] and select(rows, method="carot") == []


def test_numbers_that_json_cannot_hold_and_incomplete_rows_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"
    for value in (float("nan"), float("inf")):
        with pytest.raises(VlmError, match=rf"ece of tiny on digits is {value}, which JSON cannot hold"):
            append(path, [row(), row(metrics={"ece": value})])
        with pytest.raises(VlmError, match=rf"accuracy of tiny on digits is {value}, which JSON cannot hold"):
            append(path, [row(intervals={"accuracy": [0.5, value]})])
    with pytest.raises(CallError, match="a row of results lacks alpha, n;"):
        append(path, [{key: value for key, value in row().items() if key not in ("n", "alpha")}])
    assert not path.exists()


def test_a_full_disk_leaves_the_database_as_it_was(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, [row()])
    size = path.stat().st_size
    program = (
        "import json, resource, signal, sys; from vlm_eval.results import append\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))\n"
        "append(sys.argv[1], [json.loads(sys.argv[2])])"
    )
    full = subprocess.run(
        [sys.executable, "-c", program, str(path), json.dumps(row("two")), str(size + 100)],
        capture_output=True,
        text=True,
    )
    assert full.returncode == 1 and "the 1 new ones are not in it. Free some space" in full.stderr
    assert path.stat().st_size == size and resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    append(path, [row("three")])
    assert [each["data"] for each in read(path)[0]] == ["digits", "three"]


def test_unusable_places_are_named(tmp_path):
    with pytest.raises(VlmDataError, match=r"cannot read the results database .*none\.jsonl: No such file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(VlmError, match=r"cannot write .*results\.jsonl: (Not a directory|File exists)"):
        append(tmp_path / "file" / "results.jsonl", [row()])
    with pytest.raises(VlmError, match="cannot write"):
        append(tmp_path, [row()])  # a folder


def test_a_row_that_does_not_tell_its_number_of_samples_yields_to_one_that_does():
    untold, told, part = row(n=None), row(), row(n=64)
    assert latest([told, untold]) == latest([untold, told]) == [told]
    assert latest([part, untold, told]) == [part, told]
    assert latest([untold, row("digits/invert")]) == [untold, row("digits/invert")]
