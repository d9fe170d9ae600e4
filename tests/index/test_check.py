"""What `check_store` finds in a store that was changed or damaged, and what a repair keeps."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import amulsearch as am
from amulsearch.cli import main
from amulsearch.store import files

MODEL = "squeezenet1_1"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, openclipart) -> tuple[Path, Path]:
    """A folder of 24 cartoons and its store."""
    base = tmp_path_factory.mktemp("check")
    for category in ("animals/birds", "food/fruit", "buildings/homes"):
        (base / "cartoons" / category).mkdir(parents=True)
        for path in sorted((openclipart / category).glob("*.webp"))[:8]:
            shutil.copy(path, base / "cartoons" / category)
    assert main(["index", str(base / "cartoons"), "--store", str(base / "store"), "--models", MODEL]) == 0
    return base / "cartoons", base / "store"


@pytest.fixture
def store(indexed, tmp_path) -> Path:
    return Path(shutil.copytree(indexed[1], tmp_path / "store"))


def vectors_of(store: Path) -> dict:
    return {key: (made.ids, np.array(made.vectors)) for key, made in am.features.FeatureSet.open(store).items()}


def rows(store: Path) -> Path:
    return next((store / "features" / MODEL).glob("logits-*/rows-*.jsonl"))


def swap(items: list) -> list:
    return [items[1], items[0], *items[2:]]


def drop(items: list) -> list:
    return items[:3] + items[4:]


def duplicate(items: list) -> list:
    return [*items[:5], items[4], *items[5:]]


def replace_last(items: list) -> list:
    return [*items[:-1], items[0]]


def of_lines(store: Path, change) -> None:
    path = rows(store)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def of_ids_in_lines(store: Path, change) -> None:
    path = rows(store)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ids = change([line[:2] for line in lines])
    path.write_text("".join(json.dumps([*id, line[2]]) + "\n" for id, line in zip(ids, lines, strict=False)))


def of_vectors(store: Path, change) -> None:
    path = next(rows(store).parent.glob("vectors-*.f32"))
    vectors = np.fromfile(path, np.float32).reshape(24, -1)
    path.write_bytes(b"".join(vector.tobytes() for vector in change(list(vectors))))


def of_the_table(store: Path, change, seal: bool = False) -> None:
    path = store / "store.json"
    state = json.loads(path.read_text())
    table = state["collection"]["table"]
    changed = change(list(zip(*(table[name] for name in ("id", "digest")), strict=True)))
    table["id"] = [id for id, _ in changed]
    files.write_json(path, state) if seal else path.write_text(json.dumps(state))


def of_the_sidecar(store: Path, change) -> None:
    path = store / "indexes" / MODEL / "logits.json"
    sidecar = json.loads(path.read_text())
    sidecar["ids"] = change(sidecar["ids"])
    path.write_text(json.dumps(sidecar))


PLACES = {
    of_lines: "features/squeezenet1_1/logits",
    of_ids_in_lines: "features/squeezenet1_1/logits",
    of_vectors: "features/squeezenet1_1/logits",
    of_the_table: "store.json",
    of_the_sidecar: "indexes/squeezenet1_1/logits.ann",
}


@pytest.mark.parametrize("change", [swap, drop, duplicate, replace_last])
@pytest.mark.parametrize("place", PLACES)
def test_every_row_swapped_dropped_or_doubled_is_found_and_repaired(place, change, indexed, store, capsys):
    folder, whole = indexed
    place(store, change)
    findings = am.indexes.check_store(store)
    assert findings["part"].str.startswith(PLACES[place]).any()
    assert am.indexes.check_store(store).equals(findings)  # checking changes nothing
    assert main(["check", "--store", str(store)]) == 1
    assert "run `amulsearch check --store" in capsys.readouterr().out
    assert len(am.indexes.check_store(store, repair=True)) >= len(findings)
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


def test_a_flipped_bit_anywhere_is_found(indexed, store):
    paths = [path for path in store.rglob("*") if path.is_file() and path.name != "lock"]
    assert len(paths) == 1 + 2 * 3 + 2 * 2
    chance = np.random.default_rng(0)
    for path in paths:
        content = path.read_bytes()
        for place in (0, len(content) - 1, *chance.integers(0, len(content), 2)):
            changed = bytearray(content)
            changed[place] ^= 1 << int(chance.integers(8))
            path.write_bytes(changed)
            assert not am.indexes.check_store(store).empty, (path, place)
        path.write_bytes(content)
    assert am.indexes.check_store(store).empty


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
        assert am.indexes.check_store(store).empty, path
    assert vectors_of(store)[MODEL, "logits"][0] == vectors_of(whole)[MODEL, "logits"][0]


def test_an_index_of_other_vectors_is_found_and_built_again(indexed, store):
    path = store / "indexes" / MODEL / "logits.ann"
    good = path.read_bytes()
    features = am.features.FeatureSet.open(store)[MODEL, "logits"]
    other = am.Features(
        features.vectors[::-1].copy(), features.ids, features.labels, features.fingerprint, features.digests
    )
    am.AnnoyIndex.build(other).save(path)
    assert am.indexes.check_store(store)["finding"].tolist() == ["the index holds other vectors than the features"]
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["rebuilt"]
    assert am.indexes.check_store(store).empty
    assert path.read_bytes() == good


def test_an_index_that_misses_much_is_found(indexed, store):
    """The vectors and digests are correct, but the trees lead to eleven pictures only."""
    path = store / "indexes" / MODEL / "logits.ann"
    nodes = np.fromfile(path, np.int32).reshape(-1, 1003)  # descendants, children; for a picture, 1,000 values
    assert (nodes[24:, 0] == 24).all()
    nodes[24:, 1:25] = np.arange(24) % 11
    nodes.tofile(path)
    about = json.loads(path.with_suffix(".json").read_text())
    files.write_json(path.with_suffix(".json"), {**about, "file_digest": files.file_digest(path)})
    assert re.match(r"the index finds only [34]\d% of the neighbours", am.indexes.check_store(store)["finding"].item())
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["rebuilt"]
    assert am.indexes.check_store(store).empty


def test_pictures_without_a_vector_and_features_without_an_index_are_found(indexed, store):
    features = am.Store.open(store).feature_file(am.Store.open(store).current()[MODEL, "penultimate"])
    features.tidy(list(features.rows)[:20])
    (store / "indexes" / MODEL / "logits.ann").unlink()
    (store / "indexes" / MODEL / "logits.json").unlink()
    findings = dict(am.indexes.check_store(store)[["part", "finding"]].itertuples(index=False))
    ids = am.Store.open(store).collection().ids
    assert findings == {
        f"{MODEL} penultimate": f"4 of 24 pictures have no vector, the first is {ids[20]!r}",
        f"{MODEL} logits": "the features have no index",
    }
    am.indexes.check_store(store, repair=True)
    assert am.indexes.check_store(store)["part"].tolist() == [f"{MODEL} penultimate"]


def test_what_is_left_of_runs_that_were_cut_off_is_deleted_and_nothing_else(indexed, store):
    kept = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    logits = rows(store).parent
    left = [
        store / "store.json.77.partial",
        store / "indexes" / MODEL / "logits.ann.77.partial",
        store / "indexes" / MODEL / "old.npz",
        logits / "vectors-99.f32",
    ]
    for path in left:
        path.write_bytes(b"cut")
    features = am.features.FeatureSet.open(store)[MODEL, "logits"]
    own = am.ExactIndex.build(features).save(store / "indexes" / MODEL / "mine")
    assert am.indexes.check_store(store)["finding"].tolist() == ["an interrupted run left 4 files with 0.0 MB"]
    assert am.indexes.check_store(store, repair=True)["remedy"].tolist() == ["deleted"]
    assert not any(path.exists() for path in left)
    assert am.indexes.check_store(store).empty and am.ExactIndex.open(own).ids == features.ids
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
    state = json.loads((store / "store.json").read_text())
    for format, advice in ((99, "update amulsearch"), (2, "delete the store, which an older amulsearch made")):
        files.write_json(store / "store.json", {**state, "format": format})
        before = (store / "store.json").read_bytes()
        for command in ("check", "evaluate", "index"):
            more = {"check": ["--repair"], "evaluate": [], "index": [str(indexed[0])]}[command]
            assert main([command, *more, "--store", str(store)]) == 2
            assert f"format {format}, but this amulsearch reads format 3: {advice}" in capsys.readouterr().err
        assert (store / "store.json").read_bytes() == before


def test_a_table_that_leads_out_of_the_folder_is_refused(indexed, store, tmp_path):
    for id in ("../../etc/passwd", "/etc/passwd", "animals/../../x.png", "a\0b.png"):
        of_the_table(store, lambda rows, id=id: [(id, rows[0][1]), *rows[1:]], seal=True)
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
            index = am.AnnoyIndex.open(store.index_paths()[key])
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
