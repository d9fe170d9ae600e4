"""What `check_store` finds in a store that was changed or damaged, and what a repair keeps."""

import json
import re
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

import amulsearch as am
from amulsearch.cli import main
from amulsearch.errors import OtherFormatError
from amulsearch.store.database import COLUMNS, sealed
from amulsearch.store.files import file_digest

MODEL = "squeezenet1_1"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, copied) -> tuple[Path, Path]:
    """A folder of 24 cartoons and its store."""
    base = tmp_path_factory.mktemp("check")
    copied(base / "cartoons", ("animals/birds", "food/fruit", "buildings/homes"), 8)
    assert main(["index", str(base / "cartoons"), "--store", str(base / "store"), "--models", MODEL]) == 0
    return base / "cartoons", base / "store"


@pytest.fixture
def store(indexed, tmp_path) -> Path:
    return Path(shutil.copytree(indexed[1], tmp_path / "store"))


def vectors_of(store: Path) -> dict:
    return {key: (made.ids, np.array(made.vectors)) for key, made in am.features.FeatureSet.open(store).items()}


def swap(items: np.ndarray) -> np.ndarray:
    return items[[1, 0, *range(2, len(items))]]


def drop(items: np.ndarray) -> np.ndarray:
    return np.delete(items, 3, axis=0)


def duplicate(items: np.ndarray) -> np.ndarray:
    return np.insert(items, 5, items[4], axis=0)


def replace_last(items: np.ndarray) -> np.ndarray:
    return np.concatenate([items[:-1], items[:1]])


def edit(store: Path, statement: str, values=()) -> None:
    """Change the database as a person with an SQLite tool would."""
    with closing(sqlite3.connect(store / "store.sqlite", isolation_level=None)) as connection:
        connection.create_function("sealed", -1, sealed)
        connection.execute(statement, values)


def blob(store: Path, statement: str) -> np.ndarray:
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        return np.frombuffer(connection.execute(statement).fetchone()[0], np.int64)


LOGITS = "(SELECT feature FROM features WHERE layer = 'logits')"


def of_the_rows_of_vectors(store: Path, change) -> None:
    rows = change(blob(store, f"SELECT rows FROM chunks WHERE feature = {LOGITS}"))
    edit(store, f"UPDATE chunks SET rows = ? WHERE feature = {LOGITS}", (rows.tobytes(),))


def of_the_sealed_rows_of_vectors(store: Path, change) -> None:
    of_the_rows_of_vectors(store, change)
    edit(store, "UPDATE chunks SET seal = sealed(feature, first, rows, sums)")


def of_vectors(store: Path, change) -> None:
    path = next((store / "vectors").glob(f"{MODEL}-logits-*.f32"))
    path.write_bytes(change(np.fromfile(path, np.float32).reshape(24, -1)).tobytes())


def of_the_ids(store: Path, change) -> None:
    ids = am.Store.open(store).collection().ids
    changed = change(np.array(ids, dtype=object)).tolist()
    edit(store, "DROP INDEX names")
    edit(store, "DROP INDEX contents")
    if len(changed) < len(ids):
        edit(store, "DELETE FROM pictures WHERE id = ?", (ids[3],))
    elif len(changed) > len(ids):
        columns = "digest, present, label, width, height, format, frames, bytes, keywords, seal"
        edit(store, f"INSERT INTO pictures SELECT 99, id, {columns} FROM pictures WHERE id = ?", (ids[4],))
    else:
        for row, (old, new) in enumerate(zip(ids, changed, strict=True), 1):
            if old != new:
                edit(store, "UPDATE pictures SET id = ? WHERE row = ?", (new, row))


def of_the_rows_of_an_index(store: Path, change) -> None:
    rows = change(blob(store, f"SELECT rows FROM indexes WHERE name = '{MODEL} logits'"))
    edit(store, f"UPDATE indexes SET rows = ? WHERE name = '{MODEL} logits'", (rows.tobytes(),))


PLACES = [
    *(of_the_rows_of_vectors, of_the_sealed_rows_of_vectors, of_vectors),
    *(of_the_ids, of_the_rows_of_an_index),
]


@pytest.mark.parametrize("change", [swap, drop, duplicate, replace_last])
@pytest.mark.parametrize("place", PLACES)
def test_every_row_swapped_dropped_or_doubled_is_found_and_repaired(place, change, indexed, store, capsys):
    folder, whole = indexed
    place(store, change)
    findings = am.indexes.check_store(store)
    assert len(findings)
    assert am.indexes.check_store(store).equals(findings)  # checking changes nothing
    assert main(["check", "--store", str(store)]) == 1
    assert "run `amulsearch " in capsys.readouterr().out
    assert len(am.indexes.check_store(store, repair=True))
    assert main(["index", str(folder), "--store", str(store), "--models", MODEL]) == 0
    assert am.indexes.check_store(store).empty
    for key, (ids, vectors) in vectors_of(whole).items():
        mended = vectors_of(store)[key]
        assert mended[0] == ids
        np.testing.assert_allclose(mended[1], vectors, rtol=1e-3, atol=1e-3)


def test_nothing_is_found_in_a_store_that_nobody_touched(indexed, capsys):
    assert am.indexes.check_store(indexed[1]).columns.tolist() == ["part", "finding", "remedy"]
    capsys.readouterr()
    assert main(["check", "--store", str(indexed[1])]) == 0
    assert capsys.readouterr().out == f"no problem found in {indexed[1]}: 24 pictures, 2 features, 2 indexes\n"


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(indexed, store, contents):
    """SQLite leaves parts of its pages unused: a bit there changes nothing that is read."""
    paths = [path for path in store.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(paths) == 1 + 2 + 2
    chance, good, harmless = np.random.default_rng(0), contents(store), 0
    for path in paths:
        content = path.read_bytes()
        for place in (0, len(content) - 1, *chance.integers(0, len(content), 100 if path.suffix == ".sqlite" else 2)):
            changed = bytearray(content)
            changed[place] ^= 1 << int(chance.integers(8))
            path.write_bytes(changed)
            try:
                found = not am.indexes.check_store(store).empty
            except OtherFormatError:  # the bit is in the number of the format
                found = True
            if not found:
                assert path.suffix == ".sqlite" and contents(store) == good, (path, place)
                harmless += 1
        path.write_bytes(content)
    assert am.indexes.check_store(store).empty and harmless < 90


def test_a_damaged_page_costs_its_rows_only(indexed, store):
    """Of a database with a page of noise, all rows that can still be read are kept, and their vectors."""
    folder, whole = indexed
    path = store / "store.sqlite"
    content = path.read_bytes()
    size = int.from_bytes(content[16:18], "big")
    kept = []
    for start in range(size, len(content), size):
        path.write_bytes(content[:start] + np.random.default_rng(start).bytes(size) + content[start + size :])
        if am.indexes.check_store(store).empty:
            continue  # an unused page
        am.indexes.check_store(store, repair=True)
        before = sum(len(am.Store(store).vectors(made).rows) for made in am.Store(store).current().values())
        kept.append(before)
        assert main(["index", str(folder), "--store", str(store), "--models", MODEL]) == 0
        am.indexes.check_store(store, repair=True)
        assert am.indexes.check_store(store).empty
        assert vectors_of(store)[MODEL, "logits"][0] == vectors_of(whole)[MODEL, "logits"][0]
        shutil.rmtree(store)
        shutil.copytree(whole, store)
    assert len(kept) > 5 and sum(rows == 48 for rows in kept) > len(kept) / 2


def test_a_missing_file_is_found_and_mended(indexed, store):
    folder, whole = indexed
    for path in sorted(path for path in store.rglob("*") if path.is_file() and path.name != "lock"):
        content = path.read_bytes()
        path.unlink()
        assert not am.indexes.check_store(store).empty, path
        path.write_bytes(content)
    for path in sorted(path for path in store.rglob("*") if path.is_file() and path.name != "lock"):
        path.unlink(missing_ok=True)
        am.indexes.check_store(store, repair=True)
        assert main(["index", str(folder), "--store", str(store), "--models", MODEL]) == 0
        am.indexes.check_store(store, repair=True)  # what belonged to the lost database is left over
        assert am.indexes.check_store(store).empty, path
    assert vectors_of(store)[MODEL, "logits"][0] == vectors_of(whole)[MODEL, "logits"][0]


def test_an_index_of_other_vectors_is_found_and_built_again(indexed, store):
    pytest.importorskip("annoy")
    folder = am.Store.open(store).indexes.open(f"{MODEL} logits").folder
    good = (folder / "index.ann").read_bytes()
    features = am.features.FeatureSet.open(store)[MODEL, "logits"]
    other = am.Features(
        features.vectors[::-1].copy(), features.ids, features.labels, features.fingerprint, features.digests
    )
    am.AnnoyIndex.build(other).save_in(am.Store.open(store), f"{MODEL} logits")
    assert am.indexes.check_store(store)["finding"].tolist() == ["the index holds other vectors than the features"]
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["rebuilt"]
    assert am.indexes.check_store(store).empty
    folder = am.Store.open(store).indexes.open(f"{MODEL} logits").folder
    assert (folder / "index.ann").read_bytes() == good


def test_an_index_that_misses_much_is_found(indexed, store):
    """The vectors and digests are correct, but the trees lead to eleven pictures only."""
    pytest.importorskip("annoy")
    path = am.Store.open(store).indexes.open(f"{MODEL} logits").folder / "index.ann"
    nodes = np.fromfile(path, np.int32).reshape(-1, 1003)  # descendants, children; for a picture, 1,000 values
    assert (nodes[24:, 0] == 24).all()
    nodes[24:, 1:25] = np.arange(24) % 11
    nodes.tofile(path)
    files = json.dumps({"index.ann": (path.stat().st_size, file_digest(path))})
    edit(store, f"UPDATE indexes SET files = ? WHERE name = '{MODEL} logits'", (files,))
    edit(store, "UPDATE indexes SET seal = sealed(name, about, rows, folder, files)")
    assert re.match(r"the index finds only [34]\d% of the neighbours", am.indexes.check_store(store)["finding"].item())
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["rebuilt"]
    assert am.indexes.check_store(store).empty


def test_pictures_without_a_vector_and_features_without_an_index_are_found(indexed, store):
    opened = am.Store.open(store)
    opened.vectors(opened.current()[MODEL, "penultimate"]).drop([20, 21, 22, 23])
    opened.indexes.remove(f"{MODEL} logits")
    findings = dict(am.indexes.check_store(store)[["part", "finding"]].itertuples(index=False))
    assert findings == {
        f"{MODEL} penultimate": f"4 of 24 pictures have no vector, the first is {opened.collection().ids[20]!r}",
        f"{MODEL} logits": "the features have no index",
    }
    am.indexes.check_store(store, repair=True)
    assert am.indexes.check_store(store)["part"].tolist() == [f"{MODEL} penultimate"]


def test_layers_that_a_report_extracted_need_no_index(indexed, store):
    folder, _ = indexed
    cartoons = am.Collection.from_folder(folder, progress=False)
    am.extract(cartoons, MODEL, "standard", store=store, progress=False)
    assert len(am.Store.open(store).current()) == 4 and am.indexes.check_store(store).empty


def test_what_is_left_of_runs_that_were_cut_off_is_deleted_and_nothing_else(indexed, store):
    kept = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    left = [
        store / "store.sqlite.77.partial",
        store / "indexes" / "squeezenet1_1 logits.77.partial" / "index.ann",
        store / "indexes" / "old-3" / "index.ann",
        store / "vectors" / "squeezenet1_1-logits-99.f32",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"cut")
    assert am.indexes.check_store(store)["finding"].tolist() == ["an interrupted run left 4 files"]
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["deleted"]
    assert not any(path.exists() for path in left)
    assert am.indexes.check_store(store).empty
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_only_stores_are_checked_and_none_of_another_format(indexed, store, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.partial").write_text("mine")
    (tmp_path / "pictures" / "features").mkdir()
    (tmp_path / "pictures" / "letter.txt").write_text("mine")
    for folder in (tmp_path / "pictures", tmp_path / "nowhere", tmp_path / "pictures" / "letter.txt"):
        assert main(["check", "--store", str(folder), "--repair"]) == 2
        assert "is not a store" in capsys.readouterr().err
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    (old := tmp_path / "old").mkdir()
    (old / "store.json").write_text('{"digest": "0", "format": 3}')
    newer, older = (
        "a newer amulsearch: update amulsearch",
        "an older amulsearch: index the pictures again, with another",
    )
    for number, folder, told in ((99, store, newer), (3, store, older), (None, old, older)):
        if number:
            edit(store, f"PRAGMA user_version = {number}")
        for command in ("check", "evaluate", "index"):
            more = {"check": ["--repair"], "evaluate": [], "index": [str(indexed[0])]}[command]
            assert main([command, *more, "--store", str(folder)]) == 2
            assert f"{folder} is a store of {told}" in capsys.readouterr().err
    assert [path.name for path in old.iterdir() if path.name != "lock"] == ["store.json"]


def test_a_table_that_leads_out_of_the_folder_is_refused(indexed, store, tmp_path):
    for id in ("../../etc/passwd", "/etc/passwd", "animals/../../x.png", "a\0b.png"):
        edit(store, "UPDATE pictures SET id = ? WHERE row = 1", (id,))
        columns = "row, id, digest, present, label, width, height, format, frames, bytes, keywords"
        edit(store, f"UPDATE pictures SET seal = sealed({columns})")
        with pytest.raises(am.StoreError, match="outside its folder"):
            am.Store.open(store).collection()
        assert "outside its folder" in am.indexes.check_store(store)["finding"].iloc[0]
        assert main(["query", id, "--store", str(store)]) == 2
    folder = Path(shutil.copytree(indexed[0], tmp_path / "cartoons"))
    collection = am.Collection.from_folder(folder, progress=False)
    shutil.move(folder / "food", tmp_path / "elsewhere")
    (folder / "food").symlink_to(tmp_path / "elsewhere")
    id = next(id for id in collection.ids if id.startswith("food"))
    with pytest.raises(am.QueryError, match=f"'{id}' leads out of .* through a link"):
        collection.open(id)


def name_vectors(store: Path, name: str) -> None:
    edit(store, f"UPDATE features SET file = ? WHERE feature = {LOGITS}", (name,))
    edit(store, f"UPDATE features SET seal = sealed({', '.join(COLUMNS['features'])})")


def name_index(store: Path, name: str) -> None:
    edit(store, f"UPDATE indexes SET folder = ? WHERE name = '{MODEL} logits'", (name,))
    edit(store, f"UPDATE indexes SET seal = sealed({', '.join(COLUMNS['indexes'])})")


def link(store: Path, name: str, target: Path) -> None:
    path = store / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


OUTWARD = {
    "vectors by ..": lambda store, mine: name_vectors(store, "vectors/../../mine/letter.txt"),
    "vectors by an absolute path": lambda store, mine: name_vectors(store, str(mine / "letter.txt")),
    "vectors by a link": lambda store, mine: link(
        store, next((store / "vectors").iterdir()).relative_to(store), mine / "letter.txt"
    ),
    "all vectors": lambda store, mine: link(store, "vectors", mine),
    "index by ..": lambda store, mine: name_index(store, "../../mine"),
    "all indexes": lambda store, mine: link(store, "indexes", mine),
    "database": lambda store, mine: link(store, "store.sqlite", mine / "store.sqlite"),
    "log of the database": lambda store, mine: link(store, "store.sqlite-wal", mine / "letter.txt"),
}


@pytest.mark.parametrize("outward", OUTWARD)
def test_nothing_outside_a_store_is_touched_because_the_store_names_it(outward, indexed, store, tmp_path):
    (mine := tmp_path / "mine" / "more").mkdir(parents=True)
    mine = mine.parent
    for name in ("letter.txt", "more/letter.txt", "index.ann"):
        (mine / name).write_text("mine")
    sqlite3.connect(mine / "store.sqlite").close()
    OUTWARD[outward](store, mine)
    before = {path: path.stat() for path in mine.rglob("*")}
    for command in (["check", "--repair"], ["index", str(indexed[0]), "--models", MODEL]):
        assert main([*command, "--store", str(store)]) in (0, 1, 2)
    after = {path: path.stat() for path in mine.rglob("*")}
    assert [(path, one.st_mtime_ns, one.st_size) for path, one in after.items()] == [
        (path, one.st_mtime_ns, one.st_size) for path, one in before.items()
    ]


@pytest.mark.parametrize(
    "program",
    [
        "CREATE TRIGGER p AFTER INSERT ON features BEGIN DELETE FROM pictures; END",
        "CREATE VIEW p AS WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, '', 1 FROM c",
        "CREATE VIRTUAL TABLE p USING fts5 (name, value)",
    ],
)
def test_a_program_in_a_database_is_refused(program, store, capsys):
    edit(store, program)
    for command in ("check", "evaluate"):
        assert main([command, "--store", str(store)]) in (1, 2)
        assert "holds 'p', a program that amulsearch did not write" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("features", "width", -1),
        ("indexes", "about", "[" * 100_000),
        ("chunks", "rows", np.array([2**62, *range(2, 25)]).tobytes()),
        ("chunks", "rows", b"letter"),
        ("indexes", "about", "[]"),
    ],
)
def test_a_value_that_cannot_be_is_found_and_repaired(table, column, value, store):
    where = f"WHERE rowid = (SELECT MIN(rowid) FROM {table})"
    edit(store, f"UPDATE {table} SET {column} = ? {where}", (value,))
    edit(store, f"UPDATE {table} SET seal = sealed({', '.join(COLUMNS[table])})")
    assert not am.indexes.check_store(store).empty
    assert not am.indexes.check_store(store, repair=True)["remedy"].str.contains("repair failed").any()


@pytest.mark.parametrize("name", ["..\\..\\letter.png", "C:letter.png", "C:\\letter.png", "\\\\server\\letter.png"])
def test_names_that_lead_out_of_a_folder_on_windows_are_refused_there(name, store, monkeypatch):
    edit(store, "UPDATE pictures SET id = ? WHERE row = 1", (name,))
    edit(store, f"UPDATE pictures SET seal = sealed({', '.join(COLUMNS['pictures'])})")
    assert name in am.Store.open(store).collection().ids  # elsewhere, files may have such names
    monkeypatch.setattr("amulsearch.intake.scan.PurePath", PureWindowsPath, raising=False)
    with pytest.raises(am.StoreError, match="outside its folder"):
        am.Store.open(store).collection()


def test_a_store_of_another_place_and_of_another_user_is_read(open_folder, indexed, without_root):
    whole = indexed[1]
    moved = open_folder / "moved"
    shutil.copytree(whole, moved)
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    expected = vectors_of(whole)
    with without_root():
        store = am.Store.open(moved)
        features = am.features.FeatureSet.open(store)
        for key, (ids, vectors) in expected.items():
            assert features[key].ids == ids and np.array_equal(features[key].vectors, vectors)
            index = am.indexes.open_default(store, " ".join(key))
            assert len(index.query(ids[0], 3)) == 3
        assert am.indexes.check_store(moved).empty
        assert main(["query", ids[0], "--store", str(moved), "--json"]) == 0
        with pytest.raises(am.StoreError, match="cannot be written: Permission denied; give a folder"):
            am.extract(store.collection(), MODEL, store=moved)
        with pytest.raises(am.StoreError, match="cannot be written: Permission denied; give a folder"):
            am.indexes.check_store(moved, repair=True)
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o755)


def test_a_store_that_is_being_written_to_is_not_judged(store):
    with am.Store(store).lock(), ThreadPoolExecutor(1) as elsewhere:
        judged = elsewhere.submit(am.indexes.check_store, store)
        assert "another process is writing to" in str(judged.exception())
    assert am.indexes.check_store(store).empty
