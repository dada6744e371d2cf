"""Tables on a terminal: nothing is cut, and what a column needs to be understood stands beside it."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

CALL = """
from vlm_cli.console import Console
heads = ["", "ID acc"] + ["mean of natural shifts acc", "relative", "effective"] * 3
cells = ["full, alpha 0.5", "60.9\\n48-73"] + ["60.2\\n53-67", "+8.2\\n+12..+15", "+45.6\\n-35..+62"] * 3
Console().table("title", heads, [cells], "caption", [1, 3, 3, 3])
"""


def on_terminal(code: str, width: int) -> list[str]:
    """Return the lines that Python code writes to a terminal of that many characters."""
    outer, inner = pty.openpty()
    ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    free = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=inner, env=free)
    os.close(inner)
    read = b""
    while chunk := _chunk(outer):
        read += chunk
    os.close(outer)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[\d;]*m", "", read.decode()).replace("\r\n", "\n").splitlines()  # without colours


def _chunk(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize(("width", "parts"), [(60, 3), (100, 2), (200, 1)])
def test_a_table_comes_in_parts_where_the_terminal_is_narrower(width, parts):
    lines = on_terminal(CALL, width)
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if "effective" in line]
    assert len(heads) == parts  # with all columns of its group
    assert all(line.split().count("relative") == line.split().count("effective") for line in heads)
    text = "\n".join(lines)
    assert text.count("+12..+15") == text.count("-35..+62") == 3 and text.count("48-73") == 1
    assert (lines[0], lines[-1]) == ("title", "caption")


def test_a_pipe_takes_what_a_table_needs():
    answer = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True)
    assert sum("effective" in line for line in answer.stdout.splitlines()) == 1
