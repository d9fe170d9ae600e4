"""What the tests of the notebooks share: the numbers that a notebook states, and what it computes."""

import contextlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def defined() -> Callable:
    """`defined(notebook_stem, name, **variables)`: a function that a notebook defines, given what its cell uses."""

    def find(notebook_stem: str, name: str, **variables) -> Callable:
        notebook = json.loads((ROOT / "notebooks" / f"{notebook_stem}.ipynb").read_text(encoding="utf-8"))
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        (source,) = [source for source in sources if f"def {name}(" in source]
        exec(source, variables)
        return variables[name]

    return find


@pytest.fixture(scope="session")
def stated() -> Callable[[str, str], float]:
    """`stated(notebook_stem, pattern)`: the number in a notebook's prose.

    notebook_stem: the notebook's file name without its extension, such as "03_nearest_neighbours".
    pattern: a regular expression for the sentence; its first group is the number. White space in the
        prose is reduced to single spaces. The pattern must match exactly once. Commas in the number are removed, and
        a number followed by % is divided by 100.
    """

    def find(notebook_stem: str, pattern: str) -> float:
        notebook = json.loads((ROOT / "notebooks" / f"{notebook_stem}.ipynb").read_text(encoding="utf-8"))
        cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
        prose = " ".join(" ".join(source if isinstance(source, str) else "".join(source) for source in cells).split())
        found = list(re.finditer(pattern, prose))
        assert len(found) == 1, f"{len(found)} places in {notebook_stem} match {pattern!r}"
        number = float(found[0][1].replace(",", ""))
        return number / 100 if prose[found[0].end(1) :].lstrip().startswith("%") else number

    return find


@pytest.fixture(scope="session")
def executed(openclipart, store) -> Callable[[str, str], dict]:
    """`executed(notebook_stem, until)`: the variables after the code cells, up to the first that has this text."""

    def execute(notebook_stem: str, until: str) -> dict:
        notebook = json.loads((ROOT / "notebooks" / f"{notebook_stem}.ipynb").read_text(encoding="utf-8"))
        variables = {}
        with contextlib.chdir(ROOT / "notebooks"), warnings.catch_warnings(action="ignore"):
            for cell in notebook["cells"]:
                source = "".join(cell["source"])
                if cell["cell_type"] == "code":
                    exec(source, variables)
                if "parameters" in cell["metadata"].get("tags", []):
                    variables |= {"IMAGES": str(openclipart), "STORE": str(store)}
                if cell["cell_type"] == "code" and until in source:
                    return variables
        raise AssertionError(f"no cell of {notebook_stem} has {until!r}")

    return execute
