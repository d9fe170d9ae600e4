"""What `check_store` finds in a store that was changed or damaged, and what a repair deletes."""

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


def files_of(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file() and path.name != "lock")


def edit(store: Path, statement: str, values=()) -> None:
    """Change the database as a person with an SQLite tool would."""
    with closing(sqlite3.connect(store / "store.sqlite", isolation_level=None)) as connection:
        connection.execute(statement, values)


def write(store: Path, table: str, statement: str, *values) -> None:
    """Change the database as an attacker would, who knows the checksums."""
    am.Store(store).database.change(table, statement, [values])


def assert_mended(indexed, store: Path) -> None:
    """That the store is again as that of the untouched folder, once it is repaired and indexed."""
    folder, whole = indexed
    am.systems.check_store(store, repair=True)
    assert main(["index", str(folder), "--store", str(store), "--models", MODEL]) == 0
    assert am.systems.check_store(store).empty
    mended = am.features.FeatureSet.open(store)
    for key, features in am.features.FeatureSet.open(whole).items():
        assert mended[key].ids == features.ids
        np.testing.assert_allclose(mended[key].vectors, features.vectors, rtol=1e-3, atol=1e-3)


LOGITS = "(SELECT feature FROM features WHERE layer = 'logits')"
CHANGES = {
    "swapped": lambda items: items[[1, 0, *range(2, len(items))]],
    "dropped": lambda items: np.delete(items, 3, axis=0),
    "doubled": lambda items: np.insert(items, 5, items[4], axis=0),
    "replaced": lambda items: np.concatenate([items[:-1], items[:1]]),
}


def change_numbers(store: Path, change) -> None:
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        (numbers,) = connection.execute(f"SELECT numbers FROM chunks WHERE feature = {LOGITS}").fetchone()
    numbers = change(np.frombuffer(numbers, np.int64)).tobytes()
    edit(store, f"UPDATE chunks SET numbers = ? WHERE feature = {LOGITS}", (numbers,))


def change_vectors(store: Path, change) -> None:
    path = next((store / "vectors").glob(f"{MODEL}-logits-*.f32"))
    change(np.fromfile(path, np.float32).reshape(24, -1)).tofile(path)


def change_index(store: Path, change) -> None:
    path = next(store.glob(f"indexes/{MODEL} logits-*/pictures.i64"))
    change(np.fromfile(path, np.int64)).tofile(path)


@pytest.mark.parametrize("place", [change_numbers, change_vectors, change_index])
@pytest.mark.parametrize("change", CHANGES)
def test_every_row_swapped_dropped_or_doubled_is_found_and_mended(place, change, indexed, store, capsys):
    place(store, CHANGES[change])
    findings = am.systems.check_store(store)
    assert len(findings) == 1
    assert am.systems.check_store(store).equals(findings)  # checking changes nothing
    assert main(["check", "--store", str(store)]) == 1
    assert "run `amulsearch check" in capsys.readouterr().out
    assert am.systems.check_store(store, repair=True)["remedy"].str.startswith("deleted; run `amulsearch index").all()
    assert_mended(indexed, store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pictures SET number = 99 WHERE number = 3",
        "UPDATE pictures SET id = 'other.png' WHERE number = 3",
        "UPDATE pictures SET label = 'other' WHERE number = 3",
        "DELETE FROM pictures WHERE number = 3",
        "UPDATE facts SET value = '{}' WHERE name = 'opening'",
        "UPDATE features SET width = width + 1",
        "UPDATE indexes SET about = '{}'",
        "DELETE FROM checksums",
        "DROP TABLE indexes",
    ],
)
def test_a_database_that_was_changed_is_found_and_made_again(statement, indexed, store):
    edit(store, statement)
    assert am.systems.check_store(store)["part"].tolist() == ["store.sqlite"]
    assert am.systems.check_store(store, repair=True)["remedy"].str.startswith("deleted").all()
    assert files_of(store) == []
    assert main(["index", str(indexed[0]), "--store", str(store), "--models", MODEL]) == 0
    assert_mended(indexed, store)


def test_nothing_is_found_in_a_store_that_nobody_touched(indexed, capsys):
    assert am.systems.check_store(indexed[1]).columns.tolist() == ["part", "finding", "remedy"]
    capsys.readouterr()
    assert main(["check", "--store", str(indexed[1])]) == 0
    assert capsys.readouterr().out == f"no problem found in {indexed[1]}: 24 pictures, 2 features, 2 indexes\n"


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(store, contents):
    """SQLite leaves parts of its pages unused: a bit there changes nothing that is read."""
    chance, good, harmless = np.random.default_rng(0), contents(store), 0
    for path in files_of(store):
        content = path.read_bytes()
        for place in (0, len(content) - 1, *chance.integers(0, len(content), 100 if path.suffix == ".sqlite" else 2)):
            changed = bytearray(content)
            changed[place] ^= 1 << int(chance.integers(8))
            path.write_bytes(changed)
            try:
                intact = am.systems.check_store(store).empty
            except OtherFormatError:  # the bit is in the number of the format
                intact = False
            if intact:
                assert path.suffix == ".sqlite" and contents(store) == good, (path, place)
                harmless += 1
        path.write_bytes(content)
    assert am.systems.check_store(store).empty and harmless < 90


def test_a_missing_file_is_found_and_mended(indexed, store):
    for path in files_of(store):
        path.unlink()
        assert not am.systems.check_store(store).empty, path
        assert_mended(indexed, store)
        shutil.rmtree(store)
        shutil.copytree(indexed[1], store)


def test_what_is_left_of_runs_that_were_cut_off_is_deleted_and_nothing_else(store):
    kept = {path: path.read_bytes() for path in files_of(store)}
    left = [store / "indexes" / "old-3" / "index.ann", store / "vectors" / "squeezenet1_1-logits-99.f32"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"cut")
    assert am.systems.check_store(store)["finding"].str.startswith("an interrupted run left 2 files or folders").all()
    assert len(am.systems.check_store(store, repair=True)) == 1
    assert not any(path.exists() for path in left)
    assert am.systems.check_store(store).empty
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_only_stores_are_checked_and_none_of_another_format(indexed, store, tmp_path, capsys):
    (mine := tmp_path / "pictures").mkdir()
    for name in ("vectors", "indexes"):
        (mine / name).mkdir()
        (mine / name / "letter.txt").write_text("mine")
    (mine / "letter.txt").write_text("mine")
    for folder in (mine, tmp_path / "nowhere", mine / "letter.txt"):
        assert main(["check", "--store", str(folder), "--repair"]) == 2
        assert "store" in capsys.readouterr().err
    assert len(files_of(mine)) == 3
    for number in (99, 3):
        edit(store, f"PRAGMA user_version = {number}")
        for command, *more in (["check", "--repair"], ["evaluate"], ["index", str(indexed[0])]):
            assert main([command, *more, "--store", str(store)]) == 2
            assert f"{store} is a store of another version of amulsearch: index the" in capsys.readouterr().err
    edit(store, "PRAGMA user_version = 6")
    assert am.systems.check_store(store).empty


def test_a_table_that_leads_out_of_the_folder_is_refused(indexed, store, tmp_path):
    for id in ("../../etc/passwd", "/etc/passwd", "animals/../../x.png", "a\0b.png"):
        write(store, "pictures", "UPDATE pictures SET id = ? WHERE number = 1", id)
        with pytest.raises(am.errors.StoreError, match="outside its folder"):
            am.Store.open(store).collection()
        assert "outside its folder" in am.systems.check_store(store)["finding"].item()
        assert main(["query", id, "--store", str(store)]) == 2
    folder = Path(shutil.copytree(indexed[0], tmp_path / "cartoons"))
    collection = am.Collection.from_folder(folder, progress=False)
    shutil.move(folder / "food", tmp_path / "elsewhere")
    (folder / "food").symlink_to(tmp_path / "elsewhere")
    id = next(id for id in collection.ids if id.startswith("food"))
    with pytest.raises(am.errors.QueryError, match=f"'{id}' leads out of .* through a link"):
        collection.open(id)


def name_vectors(store: Path, name: str) -> None:
    write(store, "features", f"UPDATE features SET file = ? WHERE feature = {LOGITS}", name)


def name_index(store: Path, name: str) -> None:
    write(store, "indexes", f"UPDATE indexes SET folder = ? WHERE name = '{MODEL} logits'", name)


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
@pytest.mark.parametrize("broken", [False, True], ids=["", "with a broken database"])
def test_nothing_outside_a_store_is_touched_because_the_store_names_it(outward, broken, indexed, store, tmp_path):
    (mine := tmp_path / "mine" / "more").mkdir(parents=True)
    mine = mine.parent
    for name in ("letter.txt", "more/letter.txt", "index.ann"):
        (mine / name).write_text("mine")
    sqlite3.connect(mine / "store.sqlite").close()
    OUTWARD[outward](store, mine)
    if broken and outward != "database":
        (store / "store.sqlite").write_bytes(b"letter")
    before = {path: path.stat() for path in mine.rglob("*")}
    for command in (["check", "--repair"], ["index", str(indexed[0]), "--models", MODEL]):
        assert main([*command, "--store", str(store)]) in (0, 1, 2)
    after = {path: path.stat() for path in mine.rglob("*")}
    assert [(path, stat.st_mtime_ns, stat.st_size) for path, stat in after.items()] == [
        (path, stat.st_mtime_ns, stat.st_size) for path, stat in before.items()
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
        ("features", "fingerprint", "[" * 100_000),
        ("indexes", "about", "[" * 100_000),
        ("indexes", "files", "[]"),
        ("chunks", "numbers", b"letter"),
    ],
)
def test_a_value_that_cannot_be_is_found_and_deleted(table, column, value, store):
    write(store, table, f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT MIN(rowid) FROM {table})", value)
    assert main(["evaluate", "--store", str(store)]) in (0, 2)
    assert len(am.systems.check_store(store)) == 1
    assert not am.systems.check_store(store, repair=True)["remedy"].str.contains("repair failed").any()
    assert am.systems.check_store(store).empty


@pytest.mark.parametrize("name", ["..\\..\\letter.png", "C:letter.png", "C:\\letter.png", "\\\\server\\letter.png"])
def test_names_that_lead_out_of_a_folder_on_windows_are_refused_there(name, store, monkeypatch):
    write(store, "pictures", "UPDATE pictures SET id = ? WHERE number = 1", name)
    assert name in am.Store.open(store).collection().ids  # elsewhere, files may have such names
    monkeypatch.setattr("amulsearch.intake.scan.PurePath", PureWindowsPath, raising=False)
    with pytest.raises(am.errors.StoreError, match="outside its folder"):
        am.Store.open(store).collection()


def test_a_store_of_another_place_and_of_another_user_is_read(open_folder, indexed, without_root, contents):
    whole = indexed[1]
    moved = open_folder / "moved"
    shutil.copytree(whole, moved)
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    expected = contents(whole)
    with without_root():
        store = am.Store.open(moved)
        assert contents(moved) == expected
        assert am.systems.check_store(moved).empty
        id = store.collection().ids[0]
        assert main(["query", id, "--store", str(moved), "--json"]) == 0
        with pytest.raises(am.errors.StoreError, match=r"cannot be written: Permission denied; .*or give a folder"):
            am.extract(store.collection(), MODEL, store=moved)
        with pytest.raises(am.errors.StoreError, match=r"cannot be written: Permission denied; .*or give a folder"):
            am.systems.check_store(moved, repair=True)
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o755)


def test_a_store_that_is_being_written_to_is_not_judged(store):
    with am.Store(store).lock(), ThreadPoolExecutor(1) as elsewhere:
        judged = elsewhere.submit(am.systems.check_store, store)
        assert "another process is writing to" in str(judged.exception())
    assert am.systems.check_store(store).empty
