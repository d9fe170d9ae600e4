"""How the command line prints: messages, tables, JSON, and texts to paste into a shell."""

import json
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd

from .errors import as_argument, one_line


def say(text: str) -> None:
    """Print what begins, before the first progress bar."""
    with suppress(OSError):  # standard error may be a file on a full disk
        print(one_line(text), file=sys.stderr, flush=True)


def aligned(table: pd.DataFrame) -> str:
    """A table as text: numbers to the right, with three decimals at most, and text to the left."""
    columns = []
    for name in table:
        number = table[name].dtype.kind in "iuf"
        decimals = 3 if number and table[name].max() < 10 else 1
        cells = [f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell) for cell in table[name]]
        cells = [name, *("" if pd.isna(cell) else text for cell, text in zip(table[name], cells, strict=True))]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def pasted(path: Path) -> str:
    """A path as a person can paste it into a shell: from the working directory on, if it is below that."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return as_argument(path)


def print_json(content: object) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # write characters that the output cannot encode as \\uXXXX
        text = json.dumps(content, indent=1)
    print(text)
