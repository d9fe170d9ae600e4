"""What the tests of the notebooks share: all cartoons, the numbers that a notebook states, and what it computes."""

import importlib.util
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cartoons(all_cartoons):
    return all_cartoons


@pytest.fixture(scope="session")
def store(course_store):
    return course_store


@pytest.fixture(scope="session")
def bundled_features(all_features):
    return all_features


@pytest.fixture(scope="session")
def preset(all_preset):
    return all_preset


@pytest.fixture(scope="session")
def runner():
    """The module `notebooks/run.py`."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "notebooks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cells_of() -> Callable[[str], list[dict]]:
    """`cells_of(notebook_stem)`: the cells of a notebook, such as "03_is_it_right", their sources as text."""

    def read(notebook_stem: str) -> list[dict]:
        notebook = json.loads((ROOT / "notebooks" / f"{notebook_stem}.ipynb").read_text(encoding="utf-8"))
        return [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]

    return read


@pytest.fixture(scope="session")
def defined(cells_of) -> Callable:
    """`defined(notebook_stem, name, **variables)`: a function that a notebook defines, given what its cell uses."""

    def find(notebook_stem: str, name: str, **variables) -> Callable:
        (source,) = [cell["source"] for cell in cells_of(notebook_stem) if f"def {name}(" in cell["source"]]
        exec(source, variables)
        return variables[name]

    return find


@pytest.fixture(scope="session")
def stated(cells_of) -> Callable[[str, str], float | list[float]]:
    """`stated(notebook_stem, text)`: the number in the place of # in a sentence of a notebook, or a list of them.

    ~ stands for any number; white space in the prose is a single space. The text occurs once. A number followed by % is
    divided by 100.
    """
    number = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
    patterns = {"#": f"({number})", "~": number}

    def find(notebook_stem: str, text: str) -> float | list[float]:
        prose = " ".join(cell["source"] for cell in cells_of(notebook_stem) if cell["cell_type"] == "markdown")
        prose = " ".join(prose.split())
        pattern = "".join(patterns.get(part) or re.escape(part) for part in re.split("([#~])", text))
        places = list(re.finditer(pattern, prose))
        assert len(places) == 1, f"{len(places)} places in {notebook_stem} have {text!r}"
        numbers = []
        for group, digits in enumerate(places[0].groups(), 1):
            percent = prose[places[0].end(group) :].lstrip().startswith("%")
            numbers.append(float(digits.replace(",", "")) / (100 if percent else 1))
        return numbers[0] if len(numbers) == 1 else numbers

    return find


@pytest.fixture
def near(request, stated) -> Callable[..., None]:
    """`near(values, text)`: check that they are what the module's NOTEBOOK states, or its solutions (`of`)."""
    usual = getattr(request.module, "WITHIN", 0.003)

    def check(values, text: str, within: float = usual, of: str | None = None) -> None:
        numbers = np.array(stated(of or request.module.NOTEBOOK, text))
        assert np.abs(np.array(values) - numbers).max() <= within + 1e-9, (values, numbers, text)

    return check


@pytest.fixture(scope="session")
def executed(cells_of, openclipart, course_store) -> Callable[..., dict]:
    """`executed(notebook_stem, until)`: the variables after the code cells, up to the first that has this text.

    With `after`, it is called with each code cell's source and the variables.
    """

    def execute(notebook_stem: str, until: str | None = None, after: Callable | None = None) -> dict:
        variables = {}
        folder = (ROOT / "notebooks" / notebook_stem).parent
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
            patch.chdir(folder)
            patch.syspath_prepend(folder)
            for cell in cells_of(notebook_stem):
                if cell["cell_type"] != "code":
                    continue
                exec(cell["source"], variables)
                if "parameters" in cell["metadata"].get("tags", []):
                    variables |= {"IMAGES": str(openclipart), "STORE": str(course_store)}
                if after is not None:
                    after(cell["source"], variables)
                if until is not None and until in cell["source"]:
                    return variables
        assert until is None, f"no cell of {notebook_stem} has {until!r}"
        return variables

    return execute
