"""The jury in a real browser: sixty answers by keyboard, a pause in the middle, and the verdict."""

import json
import os
import re

import numpy as np
import pytest

import amulsearch as am

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]
NOTEBOOK = """import amulsearch as am
cartoons = am.Collection.from_folder({IMAGES!r})
pictures = cartoons[cartoons.sample(100)]
features = am.extract(pictures, {MODELS!r}, ["penultimate", "last:gem"], store={STORE!r})
jury = am.measure.Jury(am.Panel(features), {JUDGEMENTS!r}, most=60, seed=6)
am.views.jury(jury, pictures)"""
KEYS = {(1, 0): "ArrowLeft", (0, 1): "ArrowRight", (1, 1): "ArrowUp", (0, 0): "ArrowDown"}
TWICE = """() => { for (const key of ["ArrowLeft", "ArrowLeft"])
    document.querySelector(".am-jury").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); }"""
SHOWN = "[...document.querySelectorAll('.am-jury .am-question img')].every((one) => one.naturalWidth)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cartoons, store):
    """A folder with a notebook; what the notebook needs of the networks is in the store."""
    folder = tmp_path_factory.mktemp("jury")
    am.extract(cartoons, MODELS, ["penultimate", "last:gem"], store=store, progress=False)
    values = {"IMAGES": str(cartoons.folder), "MODELS": MODELS, "STORE": str(store)}
    source = NOTEBOOK.format(**values, JUDGEMENTS=str(folder / "judged.csv"))
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "0", "source": source}
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell]}
    (folder / "jury.ipynb").write_text(json.dumps(notebook))
    return folder


class Person:
    """Presses the keys, and keeps what was meant."""

    def __init__(self, page, folder):
        self.page, self.file, self.meant = page, folder / "judged.csv", []

    @property
    def number(self):
        return int(re.search(r"\d+", self.page.locator(".am-jury .am-number").inner_text())[0])

    @property
    def done(self):
        return self.page.locator(".am-jury .am-verdict").is_visible()

    def names(self):
        return self.page.locator(".am-jury .am-question img").evaluate_all("(all) => all.map((one) => one.alt)")

    def asks(self):
        """Wait for a question or the verdict."""
        self.page.wait_for_selector(".am-jury:not(.am-waiting)")
        self.page.wait_for_function(f"document.querySelector('.am-jury .am-question').hidden || {SHOWN}")

    def answer(self, judge):
        """Answer a question by the folders of its pictures; the judgements must be on disk when the next one shows."""
        names, number = self.names(), self.number
        query, *labels = (judge[name] for name in names)
        grades = tuple(int(label == query) for label in labels)
        self.page.keyboard.press(KEYS[grades])
        self.asks()
        assert self.number > number or self.done
        self.meant.append((names[0], dict(zip(names[1:], grades, strict=True))))
        self.agrees()

    def agrees(self):
        found = {}
        for row in am.measure.Judgements(self.file).table.itertuples():
            found[stem(row.query), stem(row.id)] = row.relevance
        assert found == {(query, id): grade for query, grades in self.meant for id, grade in grades.items()}


def stem(id):
    return os.path.splitext(os.path.basename(id))[0]


def sit_down(browser, run_all, address):
    """Open the notebook and run it; returns the page when a question shows."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(120_000)
    page.goto(address)
    run_all(page)
    page.evaluate("jupyterapp.shell.collapseLeft()")
    page.wait_for_selector(".am-jury .am-pair", timeout=300_000)
    return page


def looked_at(page, shots, faults, misplaced, name):
    """A screenshot at two widths, in which nothing is cut, overlaps or is seriously at fault."""
    assert faults(page, ".am-jury") == []
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 860})
        page.wait_for_timeout(400)
        page.locator(".am-jury").scroll_into_view_if_needed()
        page.screenshot(path=shots / f"jury_{name}_{width}.png")
        page.locator(".am-jury").screenshot(path=shots / f"jury_{name}_{width}_widget.png")
        assert misplaced(page, ".am-jury") == [], (name, width)
    page.set_viewport_size({"width": 1280, "height": 860})


def two_quick_answers_count_once_and_can_be_withdrawn(person):
    asked, number = person.names(), person.number
    person.page.evaluate(TWICE)  # the second one comes before the next question
    person.asks()
    person.meant.append((asked[0], {asked[1]: 1, asked[2]: 0}))
    person.agrees()
    person.page.locator(".am-jury").focus()
    person.page.keyboard.press("u")
    person.page.wait_for_function(f"document.querySelector('.am-number').textContent.startsWith('Question {number} ')")
    person.asks()
    person.meant.pop()
    person.agrees()
    assert person.names() == asked


def what_cannot_be_written_is_said_and_the_question_stays(person, shots):
    asked, kept = person.names(), person.file.with_name("kept.csv")
    person.file.rename(kept)
    person.file.mkdir()
    person.page.keyboard.press("ArrowLeft")
    person.page.wait_for_selector('.am-jury .am-said:has-text("cannot be read")')
    assert person.names() == asked
    person.page.screenshot(path=shots / "jury_error.png")
    person.file.rmdir()
    kept.rename(person.file)


def the_verdict_is_that_of_the_jury(person, pictures, store):
    person.page.wait_for_selector(".am-verdict th:has-text('kB')")
    table = person.page.locator(".am-verdict tbody tr").evaluate_all(
        "(rows) => rows.map((row) => row.innerText.split('\\t').map((cell) => cell.trim()))"
    )
    features = am.extract(pictures, MODELS, ["penultimate", "last:gem"], store=store, progress=False)
    jury = am.measure.Jury(am.Panel(features), person.file, most=60, seed=6)
    assert len(person.meant) == jury.count == 60
    assert person.page.locator(".am-verdict p").inner_text() == jury.verdict
    assert [row[0] for row in table] == jury.table["system"].tolist()
    assert np.allclose([float(row[1]) for row in table], jury.table["P@5"], atol=0.0051)
    kilobytes = {name: 4 * system.width / 1000 for name, system in jury.panel.items()}
    assert all(float(row[4]) > 0 and float(row[5]) == pytest.approx(kilobytes[row[0]], abs=0.05) for row in table)


def test_answers_by_keyboard_with_a_pause(browser, run_all, folder, jupyter, cartoons, store, shots, faults, misplaced):
    names = [stem(id) for id in cartoons.ids]
    assert len({*names}) == len(names)
    judge = dict(zip(names, cartoons.labels, strict=True))
    page = sit_down(browser, run_all, f"{jupyter}/lab/tree/jury.ipynb")
    person = Person(page, folder)
    person.asks()
    assert page.evaluate("document.activeElement.matches('.am-jury')")
    for _ in range(8):
        person.answer(judge)
    looked_at(page, shots, faults, misplaced, "question")
    two_quick_answers_count_once_and_can_be_withdrawn(person)
    for _ in range(6):
        person.answer(judge)
    asked, number, standing = person.names(), person.number, page.locator(".am-standing").inner_text()
    page.evaluate("async () => await jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown()")
    page.close()

    page = person.page = sit_down(browser, run_all, f"{jupyter}/notebooks/jury.ipynb")
    person.asks()
    assert person.names() == asked and person.number == number
    assert page.locator(".am-standing").inner_text() == standing
    what_cannot_be_written_is_said_and_the_question_stays(person, shots)
    while not person.done:
        person.answer(judge)
    the_verdict_is_that_of_the_jury(person, cartoons[cartoons.sample(100)], store)
    looked_at(page, shots, faults, misplaced, "verdict")
    page.close()
