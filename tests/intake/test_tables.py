"""Tables of pictures, labels and keywords."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am


@pytest.fixture
def table(small_folder) -> pd.DataFrame:
    """Three pictures of the folder."""
    fruit, mammals = (sorted((small_folder / part).iterdir()) for part in ("food/fruit", "animals/mammals"))
    rows = [(fruit[0], "fruit", "apple;red"), (mammals[0], None, ""), (fruit[1], "fruit", "pear;;green")]
    rows = [(path.relative_to(small_folder).as_posix(), *others) for path, *others in rows]
    return pd.DataFrame(rows, columns=["path", "label", "keywords"])


def read(*table, **options) -> am.Collection:
    return am.Collection.from_table(*table, progress=False, **options)


def scan(folder, keywords) -> am.Collection:
    return am.Collection.from_folder(folder, keywords=keywords, progress=False)


def test_a_table_names_pictures_labels_and_keywords(small_folder, table, tmp_path):
    lists = table.assign(keywords=[["apple", "red"], [], ["pear", "green"]], more=1)
    for made in (read(table, small_folder), read(lists.rename(columns={"path": "id"}), small_folder)):
        assert made.ids == sorted(table["path"])
        assert made.labels == [None, "fruit", "fruit"]
        assert list(made.keywords.values()) == [[], ["apple", "red"], ["pear", "green"]]
        assert made.table["width"].min() > 0 and made.rejected.empty
    am.Store(tmp_path / "store").register(made)
    assert am.Store.open(tmp_path / "store").collection().keywords == made.keywords
    assert made[1:].keywords == dict(list(made.keywords.items())[1:])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_as_spreadsheets_write_it(small_folder, table, separator, encoding):
    table.to_csv(path := small_folder / "table.csv", index=False, sep=separator, encoding=encoding)
    made = read(path)
    assert made.labels == [None, "fruit", "fruit"]
    assert list(made.keywords.values()) == [[], ["apple", "red"], ["pear", "green"]]
    assert scan(small_folder, path).keywords.items() >= made.keywords.items()


def test_what_is_wrong_with_a_path_is_told(small_folder, table):
    more = [str(small_folder / table["path"][1]), "../secret.png", "/etc/passwd", "none.png", None, "nul\0.png"]
    made = read(pd.concat([table, pd.DataFrame({"path": more})]), small_folder)
    assert made.ids == sorted(table["path"])
    reasons = dict(zip(made.rejected["id"], made.rejected["reason"], strict=True))
    assert all("it is no path in" in reasons[id] for id in ("../secret.png", "/etc/passwd", "nul\0.png", ""))
    assert "twice" in reasons[table["path"][1]]
    assert "No such file" in reasons["none.png"] and len(reasons) == 6


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("table.csv", "file,label\na.png,x\n", r"a column path \(or id\), but has 'file', 'label': rename one"),
        ("table.csv", "file;label\na.png;x\n", r"a column path \(or id\), but has 'file', 'label': rename one"),
        ("table.csv", 'path\n"a', "cannot be read"),
        ("table.csv", "", "cannot be read"),
        ("table.parquet", "PAR1", "needs a column path .or id., but has 'PAR1'"),
        ("table.csv", "path\nnone.png\n", "none.png"),
    ],
)
def test_what_is_no_table(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(am.errors.AmulsearchError, match=words):
        read(tmp_path / name)


def test_a_missing_file_and_a_table_without_a_folder(tmp_path, table):
    with pytest.raises(am.errors.QueryError, match="cannot be read"):
        read(tmp_path / "none.csv")
    with pytest.raises(am.errors.QueryError, match="folder="):
        read(table)


def test_without_keywords_there_are_none(cartoons):
    with pytest.raises(am.errors.QueryError, match="no keywords"):
        cartoons.keywords


def test_a_folder_takes_keywords_from_a_table_or_a_mapping(small_folder, table, tmp_path):
    plain = am.Collection.from_folder(small_folder, progress=False)
    table.rename(columns={"path": "id"}).to_csv(tmp_path / "words.csv", index=False)
    for keywords in (tmp_path / "words.csv", table, dict(zip(table["path"], table["keywords"], strict=True))):
        made = scan(small_folder, keywords)
        assert made.ids == plain.ids and made.labels == plain.labels
        words = {id: words for id, words in made.keywords.items() if words}
        assert words == {table["path"][0]: ["apple", "red"], table["path"][2]: ["pear", "green"]}
    grades = am.Relevance.from_keywords(made.ids, made.keywords).grades(np.arange(len(made)))
    assert np.nansum(grades) == 2 + 2  # each of the two pictures itself
    for wrong, told in (
        ({"none": ["a"]}, "keywords: none is of a picture; name the pictures by their ids"),
        (table[["path"]], "the table of keywords needs the column keywords, but has 'path'"),
        (table[["keywords"]], r"needs a column path \(or id\), but has 'keywords'"),
        (tmp_path / "none.csv", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(am.errors.QueryError, match=told):
            scan(small_folder, wrong)
