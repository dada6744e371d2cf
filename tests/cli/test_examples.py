"""Every example at the end of every help page runs, on generated data where it names the reader's own."""

import importlib
import shlex
import shutil

import click
import pytest

from vlm_cli.main import COMMANDS

SUBSTITUTES = {
    "openclip:ViT-B-32/laion2b_s34b_b79k": "openclip:ViT-S-32-alt",  # weights that would have to be downloaded
    "run:runs/digits-tiny-full-seed1": "tiny",  # a second run, where there is one only
    "0,1": "0",  # seeds of a sweep: a second one would repeat every run
}
"""What an example names that a test has not or has no time for, and what stands in for it."""
APPENDED = {
    "finetune": ["--limit", "16", "--epochs", "1", "--set", "evaluation.alphas=[0.0,1.0]"],
    "sweep": ["--limit", "16", "--epochs", "1", "--set", "evaluation.alphas=[0.0,1.0]"],
    "evaluate": ["--limit", "16"],
    "interpolate": ["--limit", "16"],
    "soup": ["--limit", "16"],
    "data check": ["--limit", "16"],
    "rationale": ["--limit", "16"],
    "spurious discover": ["--limit", "32"],
}
"""What keeps an example short."""

ELSEWHERE = {
    **{name: ("--out", "{}/found", "--results-db", "{}/results") for name in ("evaluate", "interpolate", "soup")},
    **{name: ("--out", "{}/found") for name in ("explain", "rationale", "spurious discover")},
}
"""What keeps the files of an example out of the shared workplace."""


def _examples(command):
    yield from (line for line in (command.epilog or "").splitlines() if line.startswith("vlm "))
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _examples(inner)


def _all_examples():
    for name in COMMANDS:
        yield from _examples(importlib.import_module(f"vlm_cli.commands.{name}").command)


def _written(words):
    """Return which word names a file that the example writes, 0 for none."""
    if words[:2] in (["recipes", "copy"], ["models", "export"], ["models", "convert"]):
        return 3
    if "--export" in words:
        return words.index("--export") + (1 if words[0] == "rationale" else 2)
    return next((words.index(flag) + 1 for flag in ("--save", "--out", "--figures") if flag in words), 0)


EXAMPLES = list(dict.fromkeys(_all_examples()))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs(vlm, workplace, tmp_path, request, example):
    words = [SUBSTITUTES.get(word, word) for word in shlex.split(example)[1:]]
    if "runs/digits-tiny-flyp-seed0" in words:
        words[words.index("runs/digits-tiny-flyp-seed0")] = str(request.getfixturevalue("flyp_run"))
    if "runs/planted" in words:
        words[words.index("runs/planted")] = str(request.getfixturevalue("planted_run"))
    if "runs/scratch" in words:
        words[words.index("runs/scratch")] = str(request.getfixturevalue("scratch_runs"))
    for prefix, more in APPENDED.items():
        words += more if " ".join(words).startswith(prefix) else []
    place = _written(words)
    if place:  # into an empty folder, so that examples do not see each other's files
        words[place] = str(tmp_path / words[place])
    if "--overwrite" in words:
        (tmp_path / words[place]).write_text("to be replaced")
    if words[0] == "finetune":
        words += ["--out", str(tmp_path / "run")]
    if words[0] == "diagnose":  # it keeps what it finds in the run, which is not for others to see
        shutil.copytree("runs/digits-tiny-full-seed0", tmp_path / "copied")
        words = [str(tmp_path / "copied") if word == "runs/digits-tiny-full-seed0" else word for word in words]
        words += [] if place else ["--out", str(tmp_path / "diagnostics")]
    own = " ".join(words[:2]) if words[0] == "spurious" else words[0]
    words += [part.format(tmp_path) for part in ELSEWHERE.get(own, ())]
    answer = vlm(*words)
    assert answer.code == 0, answer.err
    assert answer.out.strip()
    if "--json" in words:
        assert answer.document


def test_examples_are_found():
    assert len(EXAMPLES) >= len(COMMANDS) and "vlm finetune" in EXAMPLES
