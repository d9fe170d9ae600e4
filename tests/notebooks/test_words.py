"""The text of the course: its length, and no notion before its explanation."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def prose(path):
    """The text of the markdown cells, without the titles of other lessons that it links to, and without targets."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"\[[^]]*\]\([^)]*\.ipynb\)", "", text))


def notions():
    """The rows of the table of notions in docs/teaching.md: words, lesson and heading of the explanation."""
    teaching = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    table = teaching.split("## Notions", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return [(words.split(", "), int(lesson), heading) for words, lesson, heading in rows[2:]]


def test_the_course_is_short_enough_to_read():
    words = {path.stem: len(prose(path).split()) for path in NOTEBOOKS}
    assert max(words.values()) <= 1800, words
    assert sum(words.values()) <= 16_000, words


def test_no_notion_is_used_before_the_section_that_explains_it():
    sections = []  # lesson, heading, text, in reading order
    for path in NOTEBOOKS:
        for part in re.split(r"^(?=#+ )", prose(path), flags=re.M)[1:]:
            heading, _, text = part.partition("\n")
            sections.append((int(path.stem[:2]), heading.lstrip("# "), text))
    places = {(lesson, heading): place for place, (lesson, heading, _) in enumerate(sections)}
    wrong = []
    for words, lesson, heading in notions():
        forms = [re.escape(word) if word != word.lower() else f"(?i:{re.escape(word)})" for word in words]
        pattern = re.compile(rf"\b({'|'.join(forms)})(s|es)?\b")
        first = next((place for place, (_, _, text) in enumerate(sections) if pattern.search(text)), None)
        if first != places.get((lesson, heading), -1):
            where = "nowhere" if first is None else f"{sections[first][0]:02}, {sections[first][1]}"
            wrong.append(f"{words[0]}: explained in {lesson:02}, {heading}; first used in {where}")
    assert not wrong, "\n".join(wrong)


def test_there_are_notions_to_check():
    assert len(notions()) >= 40
