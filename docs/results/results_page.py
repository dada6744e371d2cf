"""What the programs that write the pages of this folder share: calling `vlm`, and filling tables into a page."""

import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlm_data.files import write_text


def vlm(*words: str) -> str:
    """Run a command of the program and return what it prints."""
    print("vlm", *words, file=sys.stderr, flush=True)
    call = [sys.executable, "-m", "vlm_cli", *words]
    return subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, the first column of words, the others of numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return mean and standard deviation over seeds, in per cent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.fmean(values):.{digits}f} ± {100 * deviation:.{digits}f}"


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end -->` on a page by the table of that name."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda found, table=table: found[1] + table + "\n" + found[2],
            text,
            flags=re.S,
        )
    write_text(page, text)
