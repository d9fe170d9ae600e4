"""The exercises: the solutions pass the checks, wrong answers do not, and notebook and solutions have the same checks.

By default only the solutions in QUICK are run; with AMULSEARCH_FULL=1, all of them.
"""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WRONG = {
    "01_your_collection": {1: "far = [*far[:4], cartoons.ids[0]]", 2: "smallest = len(counts)"},
    "02_from_picture_to_vector": {
        1: "names = names.assign(crop=names['pad'])",
        2: "best = best[::-1]",
        3: "computed = features[name, 'penultimate'].vectors @ weight.T",
    },
    "03_nearest_neighbours": {
        1: "pairs = 2 * pairs",
        2: "between = exact.query(pair[0], 8)['id'].tolist()",
        3: "shared = am.measure.overlap(found['manhattan'], found['angular']).mean()",
    },
    "04_comparing_models": {
        1: "best = margin.idxmin()",
        2: "share = shares.loc[models[0], 'logits']",
        3: "different = len(models) * k - different",
    },
    "05_ensembles": {
        1: "vote_at = table['rrf']",
        2: "pair = models[:2]",
        3: "both = precision.loc['penultimate', 'P@1']",
    },
    "06_layers_and_pooling": {
        1: "narrowest = 32",
        2: "joined = compared['last map'].mean()['P@1']",
        3: "mirrored = compared['plain'].mean()['mAP']",
    },
    "07_which_is_better": {
        1: "powers = [0, 0]",
        2: "fall = -fall",
        3: "ahead = compared['preset best'].mean()['mAP'] - compared['baseline'].mean()['mAP']",
    },
    "08_speed": {
        1: "recalls = recalls - 0.03",
        2: "held_back = table['of the index'].rename('held back')",
        3: "same_at_300 = table.loc['exact', f'P@{n}']",
    },
    "09_why": {
        1: "common = above.total",
        2: "counts = pd.Series({threshold: len(table) for threshold, table in tables.items()})",
        3: "purity = pd.Series({'map': purity['vectors'], 'vectors': purity['vectors'] / 2})",
    },
    "10_explore": {
        1: "in_folder = in_folder.rename({'vote': 'borda'})",
        2: "loaf = bread",
        3: "extremes = extremes[::-1]",
    },
    "11_before_networks": {
        1: "mean_average_precision = table['found after rotation']",
        2: "found_mirrored = table.at['hog', 'found when mirrored']",
        3: "P5 = pd.Series(white)",
    },
    "12_fine_tuning": {
        1: "gain = -gain",
        2: "narrow = table.loc[128, 'P@5']",
        3: "best = 'both'",
    },
    "13_million": {
        1: "recalls = table['MB']",
        2: "limit = 32_000",
        3: "admitted = len(pictures) + 10",
    },
}
"""Notebook -> number of the exercise -> code that gives a wrong answer."""
QUICK = ("01_your_collection", "13_million")
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


def test_every_notebook_has_exercises():
    assert list(WRONG) == sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


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
