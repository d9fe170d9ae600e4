import numpy as np
import pandas as pd
import pytest

import amulsearch as am


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        ("food/fruit/PLACE0", "fruit", "apple;red"),
        ("animals/mammals/PLACE0", None, ""),
        ("food/fruit/PLACE1", "fruit", "pear;;green"),
    ]
    return pd.DataFrame(rows, columns=["path", "label", "keywords"])


@pytest.fixture
def named(small_folder, table) -> pd.DataFrame:
    """The table with the names of existing files."""
    files = {part: sorted((small_folder / part).iterdir()) for part in ("food/fruit", "animals/mammals")}
    real = lambda path: f"{path.rpartition('/')[0]}/{files[path.rpartition('/')[0]][int(path[-1])].name}"  # noqa: E731
    return table.assign(path=table["path"].map(real))


def test_a_table_names_pictures_labels_and_keywords(small_folder, named):
    named.to_csv(small_folder / "table.csv", index=False)
    for made in (
        am.Collection.from_table(small_folder / "table.csv", progress=False),
        am.Collection.from_table(named, small_folder, progress=False),
    ):
        assert made.ids == sorted(named["path"])
        assert made.labels == [None, "fruit", "fruit"]
        assert list(made.keywords.values()) == [[], ["apple", "red"], ["pear", "green"]]
        assert made.table["width"].min() > 0 and made.rejected.empty


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_as_spreadsheets_write_it(small_folder, named, separator, encoding):
    named.to_csv(path := small_folder / "table.csv", index=False, sep=separator, encoding=encoding)
    made = am.Collection.from_table(path, progress=False)
    assert made.labels == [None, "fruit", "fruit"]
    assert list(made.keywords.values()) == [[], ["apple", "red"], ["pear", "green"]]
    assert (
        am.Collection.from_folder(small_folder, keywords=path, progress=False).keywords.items() >= made.keywords.items()
    )


def test_a_pandas_table_with_lists_and_other_names(small_folder, named):
    lists = named.assign(tags=[["a", "b"], [], ["b"]], file=named["path"], more=1).drop(columns=["path", "keywords"])
    made = am.Collection.from_table(lists, small_folder, path="file", keywords="tags", label=None, progress=False)
    assert made.labels == [None] * 3
    assert made.keywords[named["path"][0]] == ["a", "b"]
    relevance = am.Relevance.from_keywords(made.ids, made.keywords)
    assert np.nansum(relevance.grades(np.arange(3))) == 2 + 1 + 1 + 1


def test_what_is_wrong_with_a_path_is_told(small_folder, named):
    more = [str(small_folder / named["path"][1]), "../secret.png", "/etc/passwd", "none.png", None, "nul\0.png"]
    more = pd.DataFrame({"path": more})
    made = am.Collection.from_table(pd.concat([named, more]), small_folder, progress=False)
    assert made.ids == sorted(named["path"])
    reasons = dict(zip(made.rejected["id"], made.rejected["reason"], strict=True))
    assert "leads out" in reasons["../secret.png"] and "leads out" in reasons["/etc/passwd"]
    assert "twice" in reasons[named["path"][1]]
    assert "none.png" in reasons and len(reasons) == 6


def test_a_collection_with_keywords_goes_through_a_store(small_folder, named, tmp_path):
    made = am.Collection.from_table(named, small_folder, progress=False)
    am.Store(tmp_path / "store").register(made)
    assert am.Store.open(tmp_path / "store").collection().keywords == made.keywords
    assert made.subset(made.ids[1:]).keywords == dict(list(made.keywords.items())[1:])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("table.csv", "file,label\na.png,x\n", "no column 'path': it has 'file', 'label'; set path="),
        ("table.csv", "file;label\na.png;x\n", "no column 'path': it has 'file', 'label'; set path="),
        ("table.csv", 'path\n"a', "cannot be read"),
        ("table.csv", "", "cannot be read"),
        ("table.parquet", "PAR1", "neither .csv nor .tsv: rename it, or read it with pandas"),
        ("table.csv", "path\nnone.png\n", "none.png"),
    ],
)
def test_what_is_no_table(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(am.AmulsearchError, match=words):
        am.Collection.from_table(tmp_path / name, progress=False)


def test_a_missing_file_and_a_table_without_a_folder(tmp_path, table):
    with pytest.raises(am.QueryError, match="cannot be read"):
        am.Collection.from_table(tmp_path / "none.csv", progress=False)
    with pytest.raises(am.QueryError, match="folder="):
        am.Collection.from_table(table, progress=False)


def test_without_keywords_there_are_none(cartoons):
    with pytest.raises(am.QueryError, match="no keywords"):
        cartoons.keywords


def test_a_folder_takes_keywords_from_a_table_or_a_mapping(small_folder, named, tmp_path):
    plain = am.Collection.from_folder(small_folder, progress=False)
    named.rename(columns={"path": "id"}).to_csv(tmp_path / "words.csv", index=False)
    words = dict(zip(named["path"], named["keywords"], strict=True))
    for keywords in (tmp_path / "words.csv", named, words):
        made = am.Collection.from_folder(small_folder, keywords=keywords, progress=False)
        assert made.ids == plain.ids and made.labels == plain.labels
        assert {id: found for id, found in made.keywords.items() if found} == {
            named["path"][0]: ["apple", "red"],
            named["path"][2]: ["pear", "green"],
        }
    (other := tmp_path / "other.csv").write_text("file;words\na;b\n")
    for wrong, told in (
        ({"none": ["a"]}, "none of the .* pictures has keywords: name them by id, such as"),
        (named[["path"]], r"needs the columns path \(or id\) and keywords, but has 'path'"),
        (other, r"needs the columns path \(or id\) and keywords, but has 'file', 'words'"),
        (tmp_path / "none.csv", "cannot be read"),
        (tmp_path, "neither .csv nor .tsv"),
    ):
        with pytest.raises(am.QueryError, match=told):
            am.Collection.from_folder(small_folder, keywords=wrong, progress=False)
