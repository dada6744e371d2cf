"""The group itself: names, help, exit codes, and what a process costs before it does anything."""

import importlib
import os
import re
import subprocess
import sys

import click
import pytest

from vlm_cli.main import COMMANDS, cli
from vlm_data import benchmark_names

_HELP = """
import resource, sys
from vlm_cli.main import run
code = run(["--help"])
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = sorted({"torch", "open_clip", "accelerate", "numpy", "vlm_data"} & set(sys.modules))
print(code, used.ru_utime + used.ru_stime, heavy, file=sys.stderr)
"""


def _command(name):
    return importlib.import_module(f"vlm_cli.commands.{name}").command


def _first_sentence(text):
    return re.split(r"(?<=[.])\s", " ".join(text.split()))[0]


def test_help_imports_nothing_heavy_and_is_quick():
    answers = [
        subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    code, _, heavy = answers[0].stderr.split(maxsplit=2)
    assert (code, heavy.strip()) == ("0", "[]")
    seconds = min(float(answer.stderr.split()[1]) for answer in answers)  # the others measure a busy machine
    assert seconds < 0.4, f"vlm --help used {seconds:.2f} s of CPU"
    assert all(name in answers[0].stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_table_is_that_of_the_command(name):
    assert COMMANDS[name] == _first_sentence(_command(name).help or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_importing_a_command_imports_nothing_heavy(name):
    lines = f"import sys, vlm_cli.commands.{name}; print(sorted({{'torch', 'numpy', 'vlm_data'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def _leaves(command, words):
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _leaves(inner, (*words, name))
    else:
        yield words, command


LEAVES = dict(leaf for name in COMMANDS for leaf in _leaves(_command(name), (name,)))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_explains_itself(vlm, words):
    answer = vlm(*words, "--help")
    assert answer.code == 0 and answer.err == ""
    assert "Examples:" in answer.out and f"vlm {' '.join(words)}" in answer.out
    missing = [option.name for option in LEAVES[words].params if isinstance(option, click.Option) and not option.help]
    assert not missing, f"options without help: {missing}"


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_flags_that_mean_the_same_have_the_same_name_everywhere(words):
    flags = {flag for parameter in LEAVES[words].params for flag in parameter.opts if flag.startswith("-")}
    assert {"--json", "--debug", "-v"} <= flags


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["finetun"], "'finetune'"),
        (["recipe"], "'recipes'"),
        (["finetune", "--epoch", "3"], "'--epochs'"),
        (["data", "chekc"], "'check'"),
        (["models", "shwo", "tiny"], "'show'"),
    ],
)
def test_a_misspelt_command_or_option_offers_the_nearest(vlm, arguments, offered):
    answer = vlm(*arguments)
    assert answer.code == 2 and answer.out == ""
    assert f"Did you mean {offered}?" in answer.paragraph
    assert "--help`." in answer.paragraph


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate"], "missing argument 'SPEC...'"),
        (["finetune", "--epochs", "-1"], "invalid value for '--epochs': -1 is not in the range"),
        (["finetune", "--seed", "one"], "'one' is not a valid integer"),
        (["finetune", "--alpha", "2"], "invalid value for --alpha: '2' is neither a number in [0, 1] nor auto"),
        (["interpolate", "tiny", "tiny", "--alphas", "0,x"], "invalid value for --alphas: 'x'"),
        (["finetune", "--precision", "int8"], "'int8' is not one of 'fp32', 'bf16', 'fp16'"),
    ],
)
def test_a_wrong_call_is_one_paragraph_and_exit_code_2(vlm, arguments, said):
    answer = vlm(*arguments)
    assert answer.code == 2 and answer.out == ""
    assert said in answer.paragraph


def test_a_group_without_a_command_shows_its_help(vlm):
    answer = vlm("recipes")
    assert answer.code == 2 and "copy" in answer.out and answer.err == ""


def test_debug_shows_where_an_error_comes_from(vlm):
    answer = vlm("data", "show", "nothing", "--debug")
    assert answer.code == 2 and "Traceback" in answer.err
    assert " ".join(answer.err.split()).endswith(f"Known: {', '.join(benchmark_names())}.")


def test_the_process_returns_the_exit_code(tmp_path):
    def exit_code(*arguments):
        environment = {**os.environ, "COLUMNS": "80"}
        call = [sys.executable, "-m", "vlm_cli", *arguments]
        return subprocess.run(call, capture_output=True, cwd=tmp_path, env=environment).returncode

    assert exit_code("recipes", "ls") == 0
    assert exit_code("results") == 1
    assert exit_code("recipes", "show", "nothing") == 2
    assert exit_code("--version") == 0


def test_the_lazy_group_serves_click_like_any_group():
    context = click.Context(cli)
    assert cli.list_commands(context) == list(COMMANDS)
    assert cli.get_command(context, "nothing") is None
