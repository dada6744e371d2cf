"""From an exception to one paragraph on stderr and an exit code."""

import sys
import textwrap
import traceback

import click

_NO_MEMORY = ("out of memory", "allocate memory", "storage size calculation overflowed")
"""What PyTorch says in place of a MemoryError: on a GPU, on a CPU, and beyond what a number can count."""


def report_failure(error: BaseException, debug: bool = False) -> int:
    """Tell what went wrong and return the exit code: 1 the work failed, 2 the call was wrong.

    Args:
        error: what ended the command.
        debug: show the traceback, too.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if debug:
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return _call_failure(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _say("Interrupted. Every file that was written is whole; give the same command again to go on.")
        return 1
    return _house_failure(error)


def _call_failure(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()  # a group called without a command: its help is the answer
        return error.exit_code
    text = error.format_message().strip()
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" See `{context.command_path} --help`." if context else ""
    _say(f"Error: {text[0].lower()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}{hint}")
    return error.exit_code


def _house_failure(error: BaseException) -> int:
    from vlm_data.errors import VlmError

    if isinstance(error, VlmError):
        _say(f"Error: {error}")
        return error.exit_code
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY):
        _say(
            f"Error: memory ran out ({_first_line(error).rstrip('.')}). "
            "Try a smaller --batch-size, --precision bf16, or a smaller image_size if the model spec names one."
        )
        return 1
    if isinstance(error, OSError):
        _say(f"Error: {error}. Check the path, its permissions and the free space; what was written before is whole.")
        return 1
    _say(
        f"Error: {type(error).__name__}: {_first_line(error)}. This is a defect of vlm, not of your call; "
        "please report it with the output of the same command and --debug."
    )
    return 1


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _say(text: str) -> None:
    paragraph = textwrap.fill(text, width=100, break_long_words=False, break_on_hyphens=False)
    print(paragraph, file=sys.stderr, flush=True)
