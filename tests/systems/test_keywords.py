"""Search by words among keywords: what is found is compared with reading all keywords."""

import pytest

import amulsearch as am
from amulsearch.errors import QueryError

WORDS = {
    "bird": "animals/birds",
    "boat": "transportation/boating",
    "car": "transportation/vehicles",
    "dinosaur": "animals/dinosaurs",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "fruit": "food/fruit",
    "hat": "people/clothing/hats",
    "insect": "animals/bugs",
    "vegetable": "food/vegetables",
}
"""Ten words for what is in ten folders."""


@pytest.fixture(scope="module")
def found(all_with_keywords) -> am.systems.Keywords:
    return am.systems.Keywords(all_with_keywords)


@pytest.fixture
def keywords(found) -> dict:
    return dict(zip(found.ids, found._database.execute("SELECT words FROM pictures ORDER BY rowid"), strict=True))


def test_words_mean_what_is_in_the_folders(found):
    """The precision among the first five over ten words, chosen before any was tried: .88; by chance .02."""
    hits = [id.startswith(f"{folder}/") for word, folder in WORDS.items() for id in found.query(word, 5)["id"]]
    assert len(hits) == 50 and sum(hits) / 50 == pytest.approx(0.88)


def test_all_pictures_with_a_word_are_found_and_no_others(found, keywords):
    table = found.query("Horses", 1631)
    carriers = {id for id, (line,) in keywords.items() if {"horse", "horses"} & set(line.replace(";", " ").split())}
    assert set(table["id"]) == carriers and len(carriers) > 5
    assert table["rank"].tolist() == list(range(1, len(table) + 1)) and table["score"].is_monotonic_decreasing
    labels = dict(zip(found.ids, found.labels, strict=True))
    assert table["label"].tolist() == [labels[id] for id in table["id"]]


def test_pictures_with_both_words_come_first_and_avoided_words_leave(found, keywords):
    words = {id: set(line.split(" ; ")) for id, (line,) in keywords.items()}
    both = {id for id, of in words.items() if {"penguin", "bird"} <= of}
    first = found.query("penguin bird", k=5)["id"]
    assert len(both) > 5 and set(first) <= both
    less = found.query(am.Words("penguin bird", "penguin"), 1631)["id"]
    assert len(less) > 10 and not any("penguin" in words[id] for id in less)


def test_words_within_words_where_scripts_have_no_spaces(small_folder):
    names = am.Collection.from_folder(small_folder, progress=False).ids[:5]
    words = ["\u9ed2\u732b", "\u732b", "\u72ac \u9ed2", "cafe\u0301", "\u0645\u06cc\u200c\u062e"]
    collection = am.Collection.from_folder(small_folder, keywords=dict(zip(names, words, strict=True)), progress=False)
    index = am.systems.Keywords(collection)
    for text, expected in (
        ("\u732b", {0, 1}),  # cat: black cat and cat
        ("\u9ed2\u732b", {0}),
        ("\u72ac", {2}),
        ("caf\u00e9", {3}),
        ("\u0645\u06cc\u062e", {4}),
    ):
        assert set(index.query(text)["id"]) == {names[place] for place in expected}


def test_what_is_not_found_is_told(found, small_folder):
    with pytest.raises(QueryError, match="no picture has the keyword dinosar: did you mean dinosaur"):
        found.query("dinosar")
    with pytest.raises(QueryError, match=r"no picture has the keyword dinosaur without 'dinosaur'"):
        found.query(am.Words("dinosaur", "dinosaur"))
    for text in ("", " - ", '"*'):
        with pytest.raises(QueryError, match="at least one word"):
            found.query(text)
    assert len(found.query('dinosaur" OR (', 1)) == 1  # not an expression of the search's own language
    with pytest.raises(QueryError, match=r"no keywords: give Collection.from_folder a table of them"):
        am.systems.Keywords(am.Collection.from_folder(small_folder, progress=False))
