"""Pictures that amulsearch wrote: noted in their folders, by name and size, so that no scan takes them for new ones."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

NOTE = ".amulsearch"
"""The file that names what was written in its folder, in lines of JSON: [name, bytes]."""


def note_outputs(paths: Iterable[Path]) -> None:
    """Note files that were written beside them, so that a scan passes them over."""
    for path in paths:
        with suppress(OSError), (path.parent / NOTE).open("a", encoding="utf-8") as file:
            file.write(json.dumps([path.name, path.stat().st_size]) + "\n")


def outputs_in(folder: Path) -> set[str]:
    """The names of the files in a folder that were noted and still have the size that they were written with."""
    names = set()
    if not (folder / NOTE).is_file():
        return names
    for line in (folder / NOTE).read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, OSError):
            name, size = json.loads(line)
            if (folder / name).stat().st_size == size:
                names.add(name)
    return names
