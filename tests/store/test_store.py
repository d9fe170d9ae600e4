"""Features on disk: nothing is computed twice, lost by an interruption, or mixed up."""

import dataclasses
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import amulsearch as am
from amulsearch import Collection, Store
from amulsearch.cli import main
from amulsearch.errors import AmulsearchError, PictureError, QueryError, StoreError

MODEL = "squeezenet1_1"
LAYERS = ["logits", "penultimate"]
DIFFERENT = 31
"""Two of the 32 pictures of `small_folder` have the same bytes."""


def scan(folder: Path, **options) -> Collection:
    return Collection.from_folder(folder, progress=False, **options)


def extract(pictures: Collection | Path, layers=LAYERS, **options) -> am.features.FeatureSet:
    """The features of a collection or of a folder."""
    collection = pictures if isinstance(pictures, Collection) else scan(pictures)
    return am.extract(collection, MODEL, layers, progress=False, **options)


@pytest.fixture
def of_openvino(monkeypatch, tmp_path):
    """A function after which OpenVINO computes also for a few pictures."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda: monkeypatch.setattr("amulsearch.features.engine.WORTH_CONVERTING", 1)


def assert_right(features: am.features.FeatureSet) -> None:
    """That each vector is that of its picture, from a pass of its own over all of them."""
    for key, clean in extract(features.collection).items():
        assert features[key].ids == clean.ids == features.collection.ids
        assert features[key].labels == clean.labels
        np.testing.assert_allclose(features[key].vectors, clean.vectors, rtol=1e-3, atol=1e-3)


def same(first: Collection, second: Collection) -> bool:
    return (first.folder, first.opening) == (second.folder, second.opening) and first.table.equals(second.table)


def cut(path: Path) -> bytes:
    """Make a picture end in the middle, with its header intact; what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def test_vectors_are_those_of_single_pictures(small_folder, tmp_path):
    collection = scan(small_folder)
    collection = collection[[id for id in collection if id != collection.duplicates()["id"][1]]]
    features = extract(collection, [*LAYERS, "features.6:gem"], store=tmp_path / "store")
    for (_, layer), value in features.items():
        assert value.vectors.dtype == np.float32 and isinstance(value.vectors, np.memmap)
        assert value.ids == collection.ids and value.labels == collection.labels
        for row in (0, len(collection) - 1):
            alone = am.embed(collection.open(collection.ids[row]), MODEL, layer)[layer][0]
            np.testing.assert_allclose(value.vectors[row], alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


def test_both_engines_give_the_same_vectors(small_folder, of_openvino, tmp_path):
    torch = extract(small_folder)
    of_openvino()
    converted, cached = extract(small_folder), extract(small_folder)
    assert list((tmp_path / "amulsearch").glob("*.xml"))
    for key, value in torch.items():
        atol = 1e-5 * np.abs(value.vectors).max()
        np.testing.assert_allclose(converted[key].vectors, value.vectors, rtol=1e-3, atol=atol)
        assert np.array_equal(cached[key].vectors, converted[key].vectors)


def test_only_what_is_new_or_changed_is_computed(small_folder, tmp_path):
    store = tmp_path / "store"
    first = extract(small_folder, store=store)
    assert first.extracted == DIFFERENT and extract(small_folder, store=store).extracted == 0
    ids = first.collection.ids
    first.collection.open(ids[3]).transpose(0).save(small_folder / ids[3])  # changed
    (small_folder / ids[5]).unlink()  # deleted
    shutil.copy(small_folder / ids[8], small_folder / "aaa.webp")  # added, and sorts first
    again = extract(small_folder, store=store)
    assert again.extracted == 1
    assert_right(again)
    os.utime(small_folder / ids[8])
    assert extract(small_folder, store=store).extracted == 0
    assert extract(small_folder, "penultimate", framing="crop", store=store).extracted == DIFFERENT - 1


def test_pictures_that_cannot_be_decoded_are_listed_and_rows_stay_right(small_folder, tmp_path):
    good, victim = scan(small_folder), "animals/mammals/cut.png"  # sorts between the others
    good.open(good.ids[4]).save(small_folder / victim)
    shutil.copy(small_folder / victim, small_folder / "food/copy.png")
    whole = cut(small_folder / victim)
    cut(small_folder / "food/copy.png")
    for store in (tmp_path / "store", None):
        features = extract(small_folder, store=store)
        assert features.rejected["id"].tolist() == [victim, "food/copy.png"]
        assert features.rejected["reason"].nunique() == 1 and features.extracted == DIFFERENT
        assert features.collection.ids == good.ids
    assert_right(extract(small_folder, store=tmp_path / "store"))
    assert Store.open(tmp_path / "store").collection().ids == good.ids
    (small_folder / victim).write_bytes(whole)
    assert extract(small_folder, store=tmp_path / "store").extracted == 1
    (tmp_path / "bad").mkdir()
    shutil.copy(small_folder / "food/copy.png", tmp_path / "bad")
    with pytest.raises(AmulsearchError, match=r"none of the 1 pictures|no picture in"):
        extract(tmp_path / "bad")


def test_killed_in_the_middle_the_next_run_goes_on(small_folder, tmp_path):
    """The process is killed between two batches, with a row half written; the next run completes the store."""
    store = tmp_path / "store"
    program = (
        "import sys, os, signal, amulsearch as am, amulsearch.store as s\n"
        "append = s.VectorFile.append\n"
        "def slow(self, numbers, vectors):\n"
        "    append(self, numbers, vectors); self.flush()\n"
        "    if len(self.numbers) >= 16 and self.fingerprint['layer'] == 'logits':\n"
        "        open(self.path, 'ab').write(b'torn')\n"
        "        transaction = self._database.transaction()\n"
        "        transaction.__enter__().execute('DELETE FROM chunks')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.VectorFile.append = slow\n"
        f"am.extract(am.Collection.from_folder({str(small_folder)!r}), {MODEL!r}, {LAYERS!r}, store={str(store)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert am.systems.check_store(store).empty
    features = extract(small_folder, store=store)
    assert 0 < features.extracted < DIFFERENT
    assert_right(features)


def test_a_store_belongs_to_one_collection(small_folder, tmp_path):
    store, moved = tmp_path / "store", tmp_path / "moved"
    extract(small_folder, "logits", store=store)
    shutil.move(small_folder, moved)
    left = Store.open(store).collection()
    assert extract(left, "logits", store=store).extracted == 0
    message = f"{left.folder} is not there; if it was moved, index it where it is now with the same store: no vector"
    with pytest.raises(AmulsearchError, match=re.escape(message)):
        extract(left, "penultimate", store=store)
    with pytest.raises(PictureError, match=re.escape(message)):
        left.open(left.ids[0])
    assert set(left.changed(left).values()) == {"missing"}
    assert extract(moved, "logits", store=store).extracted == 0
    kept = Store.open(store).collection()
    assert kept.folder == moved.resolve() and kept.table.equals(scan(moved).table)
    assert extract(moved / "food", "logits", store=store).extracted == 0  # all its ids are new
    (other := tmp_path / "other").mkdir()
    scan(moved).open(kept.ids[0]).save(other / "x.png")
    with pytest.raises(StoreError, match="use another store for"):
        extract(other, "logits", store=store)


def test_wrong_arguments_are_told(small_folder):
    collection = scan(small_folder)
    with pytest.raises(QueryError, match="pad, crop, squash"):
        extract(collection, framing="stretch")
    with pytest.raises(QueryError, match="at least one model"):
        am.extract(collection, [])
    with pytest.raises(QueryError, match=r"there are .'squeezenet1_1'"):
        extract(collection[:2], "logits")["vgg19", "logits"]


def test_a_second_run_loads_no_network(small_folder, tmp_path):
    features = extract(small_folder, "penultimate", store=tmp_path / "store")
    am.AnnoyIndex.build(features[MODEL, "penultimate"]).save(tmp_path / "index")
    id = features.collection.ids[0]
    program = (
        "import sys, amulsearch as am\n"
        f"cartoons = am.Collection.from_folder({str(small_folder)!r})\n"
        f"am.extract(cartoons, {MODEL!r}, 'penultimate', store={str(tmp_path / 'store')!r})\n"
        f"index = am.AnnoyIndex.open({str(tmp_path / 'index')!r})\n"
        f"print(index.query({id!r}, k=3)['id'].tolist())\n"
        "print([name for name in ('torch', 'torchvision', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    exact = am.ExactIndex.build(features[MODEL, "penultimate"]).query(id, k=3)["id"].tolist()
    assert done.stdout.splitlines() == [str(exact), "[]"]


def test_a_subset_leaves_the_table_and_the_indexes_as_they_are(small_folder, tmp_path):
    store = tmp_path / "store"
    assert main(["index", str(small_folder), "--store", str(store), "--models", MODEL]) == 0
    collection = Store.open(store).collection()
    part = extract(collection[:10], "last:gem", store=store)
    assert part.extracted == len(part.collection) == len(part[MODEL, "last:gem"]) == 10
    assert same(Store.open(store).collection(), collection)
    assert main(["query", collection.ids[20], "--store", str(store), "--json"]) == 0
    assert set(am.features.FeatureSet.open(store)) == {(MODEL, layer) for layer in LAYERS}
    with pytest.warns(UserWarning, match=f"{MODEL} last:gem is left out: it does not cover all pictures"):
        assert main(["evaluate", "--store", str(store)]) == 0
    assert extract(collection, "last:gem", store=store).extracted == DIFFERENT - 10


def test_a_part_of_a_changed_folder_leaves_the_table_to_the_whole(small_folder, tmp_path):
    store = tmp_path / "store"
    collection = extract(small_folder, "logits", store=store).collection
    ids = collection.ids
    collection.open(ids[2]).rotate(90).save(small_folder / ids[2])
    Image.effect_noise((90, 90), 50).save(small_folder / "new.png")
    scanned = scan(small_folder)
    part = extract(scanned[[ids[2], "new.png"]], "logits", store=store)
    assert part.extracted == len(part[MODEL, "logits"]) == 2
    assert same(Store.open(store).collection(), collection)
    assert extract(scanned, "logits", store=store).extracted == 0
    assert same(Store.open(store).collection(), scanned)


def test_integers_as_labels_are_text_in_a_store(small_folder, tmp_path):
    ids = scan(small_folder).ids
    table = pd.DataFrame({"path": ids[:3], "label": [4, None, 5]})  # pandas makes floats of them
    collection = Collection.from_table(table, small_folder)
    numbered = dataclasses.replace(collection, table=collection.table.assign(label=np.arange(3)))
    for place, (pictures, labels) in enumerate([(collection, ["4", None, "5"]), (numbered, ["0", "1", "2"])]):
        Store(tmp_path / str(place)).register(pictures)
        assert Store.open(tmp_path / str(place)).collection().labels == labels
    assert collection.labels == ["4", None, "5"] and scan(small_folder, labels={ids[1]: 4}).labels[:2] == [None, "4"]


def test_a_scan_without_keywords_leaves_those_of_the_store(small_folder, tmp_path):
    ids = scan(small_folder).ids
    words = {id: ["one", "two"] for id in ids[:3]}
    for keywords in (words, None):
        extract(scan(small_folder, keywords=keywords), "logits", store=tmp_path / "store")
        kept = Store.open(tmp_path / "store")
        assert kept.collection().keywords == {id: words.get(id, []) for id in ids}
    assert kept.collection(ids[5:6]).keywords == {ids[5]: []}


def test_numbers_never_change_and_a_picture_that_comes_back_is_known(small_folder, tmp_path):
    store = Store(tmp_path / "store")
    first = extract(small_folder, store=store)
    ids = first.collection.ids
    numbers = dict(zip(ids, store.numbers().tolist(), strict=True))
    assert sorted(numbers.values()) == list(range(1, 33))
    content = (small_folder / ids[4]).read_bytes()
    (small_folder / ids[4]).unlink()
    shutil.copy(small_folder / ids[9], small_folder / "aaa.webp")
    changed = extract(small_folder, store=store)
    assert changed.extracted == 0
    left = {id: number for id, number in numbers.items() if id != ids[4]}
    assert dict(zip(changed.collection.ids, store.numbers().tolist(), strict=True)) == {**left, "aaa.webp": 33}
    assert not isinstance(changed[MODEL, "logits"].vectors, np.memmap)  # another order than that of the file
    (small_folder / ids[4]).write_bytes(content)
    (small_folder / "aaa.webp").unlink()
    again = extract(small_folder, store=store)
    assert again.extracted == 0 and store.numbers().tolist() == list(numbers.values())
    assert np.array_equal(again[MODEL, "logits"].vectors, first[MODEL, "logits"].vectors)


def test_a_renamed_file_and_a_copy_are_not_computed_again(small_folder, tmp_path):
    store, ids = Store(tmp_path / "store"), scan(small_folder).ids
    shutil.copy(small_folder / ids[0], small_folder / "copy.webp")
    first = extract(small_folder, store=store)
    assert first.extracted == DIFFERENT and len(first.collection) == 33
    path = store.vectors(first[MODEL, "logits"].fingerprint).path
    assert path.stat().st_size == 4 * 1000 * DIFFERENT
    (small_folder / ids[0]).unlink()  # its copy is another name of it now
    (small_folder / "below").mkdir()
    for place, id in enumerate(ids[5:20]):
        (small_folder / id).rename(small_folder / "below" / f"{place} {Path(id).name}")
    shutil.copy(small_folder / ids[30], small_folder / "aaa.webp")
    shutil.move(small_folder, tmp_path / "elsewhere")
    again = extract(tmp_path / "elsewhere", store=store)
    assert again.extracted == 0 and len(again.collection) == 33
    assert path.stat().st_size == 4 * 1000 * DIFFERENT
    opened = am.features.FeatureSet.open(store)
    for key in first:
        by_digest = dict(zip(first[key].digests, first[key].vectors, strict=True))
        for features in (again, opened):
            expected = [by_digest[digest] for digest in features.collection.table["digest"]]
            assert np.array_equal(features[key].vectors, expected)
        am.AnnoyIndex.build(opened[key]).save_in(store, " ".join(key))
    assert am.systems.check_store(store.folder, progress=False).empty
    assert extract(again.collection).extracted == DIFFERENT  # without a store


def test_vectors_of_different_backends_never_mix(small_folder, tmp_path, of_openvino):
    """A layer that is complete keeps its backend, so that its index goes on answering; no other vector is reused."""
    collection, store = scan(small_folder), tmp_path / "store"
    few = extract(collection[:8], "logits", store=store)[MODEL, "logits"]
    old = extract(collection, "penultimate", store=store)[MODEL, "penultimate"]
    assert all(features.fingerprint["backend"].startswith("torch 2") for features in (few, old))
    of_openvino()
    every = extract(collection, store=store)
    assert every.extracted == DIFFERENT
    assert every[MODEL, "logits"].fingerprint["backend"].startswith("openvino 20")
    assert every[MODEL, "penultimate"].fingerprint == old.fingerprint
    assert np.array_equal(every[MODEL, "penultimate"].vectors, old.vectors)
    alone = extract(collection, "logits")[MODEL, "logits"]
    assert alone.fingerprint == every[MODEL, "logits"].fingerprint
    assert np.array_equal(every[MODEL, "logits"].vectors, alone.vectors)
    assert extract(collection[:8], "logits", store=store).extracted == 0  # the store has them by both


def test_readers_see_the_state_before_or_after_a_change(small_folder, tmp_path):
    store, collection = Store(tmp_path / "store"), scan(small_folder)
    store.register(collection)
    reader = Store.open(store.folder)
    with store.database.transaction():
        store.database.insert("facts", [("folder", '"/elsewhere"')])
        assert reader.collection().folder == collection.folder
    with reader.database.transaction(write=False):
        assert str(reader.collection().folder) == "/elsewhere"
        store.save_collection(collection, store.register(collection))
        assert str(reader.collection().folder) == "/elsewhere"
    assert same(reader.collection(), collection)
    with pytest.raises(ZeroDivisionError), store.database.transaction():
        store.database.insert("facts", [("folder", '"/elsewhere"')])
        1 / 0
    assert same(reader.collection(), collection)


def test_a_locked_store_is_not_called_damaged(small_folder, tmp_path, monkeypatch):
    Store(tmp_path / "store").register(scan(small_folder))
    monkeypatch.setattr("amulsearch.store.database.PATIENCE", 0.1)
    other = sqlite3.connect(tmp_path / "store" / "store.sqlite")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"is locked: wait .* network drive that has no locks"):
        Store(tmp_path / "store").register(scan(small_folder))
    other.close()


def test_what_one_thread_writes_stays_if_another_fails(cartoons, tmp_path):
    """A thread writes while the transaction of another is open, which fails."""
    store = Store(tmp_path / "store")
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(ZeroDivisionError), store.database.transaction():
            store.database.insert("facts", [("revision", '"lost"')])
            registered = other.submit(store.register, cartoons[:3])
            time.sleep(0.2)
            1 / 0
        registered.result()
    assert same(store.collection(), cartoons[:3]) and store.revision not in ("", "lost")
    assert store.register(cartoons[3:5]).tolist() == [4, 5]


def test_keywords_names_and_reasons_come_back_as_they_were(tmp_path, openclipart):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for name in ("a.webp", '猫, "b"\n.webp'):
        shutil.copy(next((openclipart / "animals/birds").glob("*.webp")), folder / name)
    (folder / os.fsdecode(b"not-utf8-\xff.png")).write_bytes(b"x")
    table = pd.DataFrame({"path": ["a.webp", '猫, "b"\n.webp', "none.png"], "keywords": ["x;y", "", "z"]})
    for collection in (scan(folder), Collection.from_table(table, folder)):
        store = Store(tmp_path / f"store {len(collection.rejected['id'][0])}")
        store.register(collection)
        kept = Store.open(store.folder).collection()
        assert same(kept, collection) and kept.rejected.equals(collection.rejected)
        assert dict(kept.passed_over) == dict(collection.passed_over)
