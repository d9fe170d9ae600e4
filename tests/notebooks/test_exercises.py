"""The exercises: the solutions pass the checks, wrong answers do not, and notebook and solutions have the same checks.

By default only the solutions in QUICK are run; with AMULSEARCH_FULL=1, all of them.
"""

import contextlib
import importlib
import io
import os
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
WRONG = {name: importlib.import_module(f"test_numbers_{name[:2]}").WRONG for name in NAMES}
"""Notebook -> number of the exercise -> code that gives a wrong answer."""
QUICK = ("01_pictures_and_networks", "03_is_it_right")
RUN = WRONG if "AMULSEARCH_FULL" in os.environ else QUICK


def sections(cells):
    """The cells below each heading "Exercise 1" and so on, up to the next heading of that rank, by number."""
    cells_by_number, number = {}, None
    for cell in cells:
        if heading := re.match(r"##+ (?:Exercise (\d+))?", cell["source"]) if cell["cell_type"] == "markdown" else None:
            number = heading[1] and int(heading[1])
        if number is not None:
            cells_by_number.setdefault(number, []).append(cell)
    return cells_by_number


def checks(cells):
    sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if "am.course.check(" in source]


def answer(check):
    """The name of the variable that a cell checks."""
    (name,) = re.findall(r"am\.course\.check\(\s*(\w+),", check)
    return name


@pytest.mark.parametrize("name", WRONG)
def test_each_exercise_asks_leaves_room_for_an_answer_and_checks_it(name, cells_of):
    exercises, solutions = sections(cells_of(name)), sections(cells_of(f"solutions/{name}"))
    assert list(exercises) == list(solutions) == list(WRONG[name]) == list(range(1, len(exercises) + 1)) and exercises
    for number, (question, room, check) in exercises.items():
        variable = answer(check["source"])
        assert question["cell_type"] == "markdown" and question["source"].startswith(f"### Exercise {number}\n")
        assert room["source"] == f"{variable} = ..."
        assert f"`{variable}`" in question["source"]
        assert checks(solutions[number]) == [check["source"]]
        assert re.match(r"am\.course\.check\(\s*\w+,\s+checks\.", check["source"])  # the answer is not below the blank


@pytest.mark.parametrize("name", RUN)
def test_the_solutions_are_right_and_wrong_answers_are_not(name, cells_of, executed):
    numbers = {}
    for number, cells in sections(cells_of(f"solutions/{name}")).items():
        numbers |= dict.fromkeys(checks(cells), number)

    def check_a_wrong_answer(source, variables):
        if source in numbers:
            right = variables[answer(source)]
            exec(WRONG[name][numbers[source]], variables)
            exec(source, variables)
            variables[answer(source)] = right

    with contextlib.redirect_stdout(io.StringIO()) as output:
        executed(f"solutions/{name}", after=check_a_wrong_answer)
    verdicts = re.findall(r"^(Right\.$|Not yet: )", output.getvalue(), re.M)
    assert verdicts == ["Right.", "Not yet: "] * len(numbers), output.getvalue()
