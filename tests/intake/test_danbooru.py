"""The recipe for a Danbooru data set, as data/README.md has it, on a small one."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import amulsearch as am

ROOT = Path(__file__).resolve().parents[2]
(RECIPE,) = re.findall(r"```python\n(.*?danbooru.*?)```", (ROOT / "data" / "README.md").read_text(), re.S)


def post(number: int, rating: str | None = "s", **tags: str) -> str:
    """A line of metadata: tags in the categories 0 (general), 1 (artist), 3 (series), 4 (character)."""
    category = {"general": "0", "artist": "1", "series": "3", "character": "4"}
    listed = [{"id": "1", "name": name, "category": category[part]} for part in tags for name in tags[part].split()]
    return json.dumps({"id": str(number), "created_at": "2018-01-01", "rating": rating, "tags": listed})


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> am.Collection:
    """Four pictures in their folders, and metadata in two files that also name a picture which is not there."""
    for number in (1, 2, 3, 4, 7001):
        path = tmp_path / "danbooru2021" / "512px" / f"{number % 1000:04}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number % 256, 0, 0)).save(path)
    files = {
        "2018000000000000": [
            post(9, general="solo"),
            post(1, general="solo ;)", series="touhou", artist="zun"),
            post(2, general="solo smile", series="touhou", character="reimu"),
        ],
        "2018000000000001": [
            post(3, "q", general="solo"),
            post(4, None, general="solo"),
            post(7001, general="smile", series="touhou vocaloid"),
        ],
    }
    (tmp_path / "danbooru2021" / "metadata").mkdir()
    for name, posts in files.items():
        (tmp_path / "danbooru2021" / "metadata" / name).write_text("\n".join(posts) + "\n")
    monkeypatch.chdir(tmp_path)
    exec(RECIPE, names := {})
    return names["pictures"]


def test_safe_pictures_have_their_tags(pictures):
    assert pictures.ids == ["0001/1.jpg", "0001/7001.jpg", "0002/2.jpg"]
    assert pictures.labels == ["touhou", None, "touhou"]  # 7001 is of two series
    assert pictures.keywords == {
        "0001/1.jpg": ["solo", ";)", "touhou"],
        "0001/7001.jpg": ["smile", "touhou", "vocaloid"],
        "0002/2.jpg": ["solo", "smile", "touhou", "reimu"],
    }
    assert pictures.rejected.to_dict("records") == [
        {"id": "0009/9.jpg", "reason": "cannot be read: No such file or directory"}
    ]


def test_tags_are_graded_relevance(pictures):
    grades = am.Relevance.from_keywords(pictures.ids, pictures.keywords).grades
    assert grades(np.array([0])).tolist() == [[3, 1, 2]]
    rarer = am.Relevance.from_keywords(pictures.ids, pictures.keywords, most=0.7)  # all three have the tag touhou
    assert rarer.grades(np.array([0])).tolist() == [[2, 0, 1]]
    stricter = am.Relevance.from_keywords(pictures.ids, pictures.keywords, at_least=2)
    assert stricter.grades(np.array([0, 1])).tolist() == [[3, 0, 2], [0, 3, 2]]


def test_the_notebook_has_the_same_recipe():
    cells = nbformat.read(ROOT / "notebooks" / "11_speed_and_a_million.ipynb", as_version=4).cells
    (cell,) = (cell.source for cell in cells if cell.source.startswith("def danbooru("))
    assert cell in RECIPE
