import json

import numpy as np
import pytest

import amulsearch as am

PARTS = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}


def record(number: int, rating: str | None = "s", **tags: str) -> dict:
    """A line of metadata in the format of the releases of 2018 to 2021."""
    listed = [
        {"id": str(7000 + place), "name": name, "category": PARTS[part]}
        for part, names in tags.items()
        for place, name in enumerate(names.split())
    ]
    return {"id": str(number), "created_at": "2018-01-01", "rating": rating, "file_ext": "jpg", "tags": listed}


@pytest.fixture
def danbooru(openclipart, tmp_path):
    """Six pictures, numbers 1 to 5 and 7001, and metadata in two files that also name other pictures."""
    pictures = sorted((openclipart / "animals" / "birds").glob("*.webp"))
    for number in (1, 2, 3, 4, 5, 7001):
        path = tmp_path / "512px" / f"{number % 1000:04}" / f"{number}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(pictures[number % 10])
    lines = [
        record(9, general="solo"),
        record(1, general="solo ;)", copyright="touhou", artist="zun"),
        record(2, "g", general="solo smile", copyright="touhou"),
        record(3, "q", general="solo"),
        record(4, None, general="solo"),
    ]
    more = [record(7001, general="smile", copyright="touhou vocaloid"), record(1, "e", general="again")]
    for name, part in (("2018000000000000", lines), ("2018000000000001", more)):
        (tmp_path / "metadata").mkdir(exist_ok=True)
        (tmp_path / "metadata" / name).write_text("".join(json.dumps(line) + "\n" for line in part))
    return tmp_path


def test_safe_pictures_with_their_tags(danbooru):
    made = am.Collection.from_danbooru(danbooru, progress=False)
    assert made.ids == ["0001/1.webp", "0001/7001.webp", "0002/2.webp"]
    assert made.labels == ["touhou", None, "touhou"]  # 7001 has two copyrights
    assert made.keywords["0001/1.webp"] == ["solo", ";)", "touhou"]
    assert made.passed_over == {"rating: q": 1, "no rating": 1}
    assert made.rejected.to_dict("records") == [{"id": "0005/5.webp", "reason": "the metadata has no entry for it"}]


def test_other_ratings_and_categories_are_asked_for(danbooru):
    made = am.Collection.from_danbooru(danbooru, ratings=["q", "e"], keywords=["artist"], label=None, progress=False)
    assert made.ids == ["0003/3.webp"]  # if a picture has two lines, the first counts
    assert made.labels == [None] and made.keywords == {"0003/3.webp": []}


def test_tags_are_graded_relevance(danbooru):
    made = am.Collection.from_danbooru(danbooru, progress=False)
    grades = am.Relevance.from_keywords(made.ids, made.keywords).grades
    assert grades(np.array([0])).tolist() == [[3, 1, 2]]
    rarer = am.Relevance.from_keywords(made.ids, made.keywords, most=0.7)  # all three have the tag touhou
    assert rarer.grades(np.array([0])).tolist() == [[2, 0, 1]]
    stricter = am.Relevance.from_keywords(made.ids, made.keywords, at_least=2)
    assert stricter.grades(np.array([0, 1])).tolist() == [[3, 0, 2], [0, 3, 2]]


def test_the_order_of_a_line_does_not_matter(danbooru):
    last = {"tags": [{"id": "2", "name": "moon", "category": "0"}], "rating": "s", "id": 5}
    with (danbooru / "metadata" / "2018000000000001").open("a") as file:
        file.write("\n" + json.dumps(last))
    assert am.Collection.from_danbooru(danbooru, progress=False).keywords["0005/5.webp"] == ["moon"]


def test_the_originals_and_one_file_of_metadata(danbooru):
    (danbooru / "512px").rename(danbooru / "original")
    whole = "".join(path.read_text() for path in sorted((danbooru / "metadata").iterdir()))
    (danbooru / "metadata.json").write_text(whole)
    for path in (danbooru / "metadata").iterdir():
        path.unlink()
    (danbooru / "metadata").rmdir()
    assert len(am.Collection.from_danbooru(danbooru, progress=False)) == 3


def test_a_picture_in_another_folder_than_its_number_says(danbooru):
    (danbooru / "512px" / "0002" / "1003.webp").symlink_to(danbooru / "512px" / "0002" / "2.webp")
    rejected = am.Collection.from_danbooru(danbooru, progress=False).rejected
    assert "its number" in rejected.set_index("id").loc["0002/1003.webp", "reason"]


def test_it_is_indexed_and_evaluated_by_tags(danbooru):
    made = am.Collection.from_danbooru(danbooru, progress=False)
    features = am.extract(made, "squeezenet1_1", "penultimate", progress=False)["squeezenet1_1", "penultimate"]
    assert len(am.ExactIndex.build(features).query("0002/2.webp", 2)) == 2
    measured = am.evaluate(features, am.Relevance.from_keywords(made.ids, made.keywords)).mean()
    assert 0 < measured["nDCG@10"] <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratings": "s"}, "ratings must be"),
        ({"keywords": ["colour"]}, "no tag category 'colour'"),
        ({"pictures": "none"}, "is not a folder"),
        ({"metadata": "/none"}, "no metadata in"),
        ({"ratings": ["x"]}, "no picture in"),
    ],
)
def test_what_cannot_be(danbooru, options, words):
    with pytest.raises(am.AmulsearchError, match=words):
        am.Collection.from_danbooru(danbooru, progress=False, **options)


def test_a_damaged_line_is_named(danbooru):
    with (danbooru / "metadata" / "2018000000000001").open("a") as file:
        file.write('{"rating": "s", "tags"')
    with pytest.raises(am.AmulsearchError, match="2018000000000001, line 3"):
        am.Collection.from_danbooru(danbooru, progress=False)
