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
from amulsearch import AmulsearchError, Collection, QueryError, Store, StoreError, extract
from amulsearch.cli import main
from amulsearch.errors import PictureError

MODEL = "squeezenet1_1"
LAYERS = ["logits", "penultimate"]
DIFFERENT = 31
"""Two of the 32 pictures of `small_folder` have the same bytes."""


def vectors_of(features):
    return {key: np.array(value.vectors) for key, value in features.items()}


def test_vectors_are_those_of_single_pictures(small_folder, tmp_path):
    collection = Collection.from_folder(small_folder)
    collection = collection[[id for id in collection if id != collection.duplicates()["id"][1]]]
    features = extract(collection, MODEL, [*LAYERS, "features.6:gem"], store=tmp_path / "store")
    for (model, layer), value in features.items():
        assert value.vectors.dtype == np.float32
        assert isinstance(value.vectors, np.memmap)
        assert value.ids == collection.ids
        assert value.labels == collection.labels
        for row in (0, 17, len(collection) - 1):
            alone = am.embed(collection.open(collection.ids[row]), model, layer)[layer][0]
            np.testing.assert_allclose(value.vectors[row], alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


def test_both_engines_give_the_same_vectors(small_folder, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    collection = Collection.from_folder(small_folder)
    torch = extract(collection, MODEL, LAYERS)
    monkeypatch.setattr("amulsearch.features.engine.WORTH_CONVERTING", 1)
    for _ in ("converted", "from the cache"):
        openvino = extract(collection, MODEL, LAYERS)
        for key, value in torch.items():
            np.testing.assert_allclose(
                openvino[key].vectors, value.vectors, rtol=1e-3, atol=1e-5 * np.abs(value.vectors).max()
            )
    assert list((tmp_path / "amulsearch").glob("*.xml"))


def test_only_what_is_new_or_changed_is_computed(small_folder, tmp_path):
    store = tmp_path / "store"
    first = extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store)
    assert first.extracted == DIFFERENT
    assert extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store).extracted == 0
    ids = first.collection.ids

    image = first.collection.open(ids[3])
    image.transpose(0).save(small_folder / ids[3])  # changed
    (small_folder / ids[5]).unlink()  # deleted
    shutil.copy(small_folder / ids[8], small_folder / "aaa.webp")  # added, and sorts first
    changed = Collection.from_folder(small_folder)
    again = extract(changed, MODEL, LAYERS, store=store)
    assert again.extracted == 1
    assert again[MODEL, "logits"].ids == changed.ids
    clean = extract(changed, MODEL, LAYERS)
    for key, value in again.items():
        np.testing.assert_allclose(value.vectors, clean[key].vectors, rtol=1e-3, atol=1e-3)
    os.utime(small_folder / ids[8])
    assert extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store).extracted == 0
    assert extract(changed, MODEL, "penultimate", framing="crop", store=store).extracted == DIFFERENT - 1


def test_pictures_that_cannot_be_decoded_are_listed_and_rows_stay_right(small_folder, tmp_path):
    good = Collection.from_folder(small_folder)
    victim = "animals/mammals/cut.png"  # sorts between the others
    good.open(good.ids[4]).save(small_folder / victim)
    whole = (small_folder / victim).read_bytes()
    (small_folder / victim).write_bytes(whole[: len(whole) // 2])  # its header is intact
    cut = Collection.from_folder(small_folder)
    assert 0 < cut.ids.index(victim) < len(cut) - 1
    features = extract(cut, MODEL, "penultimate", store=tmp_path / "store")
    assert features.rejected["id"].tolist() == [victim]
    assert features.rejected["reason"].iloc[0]
    assert victim not in features[MODEL, "penultimate"].ids
    assert len(features.collection) == len(good)
    clean = extract(good, MODEL, "penultimate")
    np.testing.assert_allclose(
        features[MODEL, "penultimate"].vectors, clean[MODEL, "penultimate"].vectors, rtol=1e-3, atol=1e-3
    )
    assert extract(cut, MODEL, "penultimate", store=tmp_path / "store").extracted == 0
    (small_folder / victim).write_bytes(whole)
    assert extract(Collection.from_folder(small_folder), MODEL, "penultimate", store=tmp_path / "store").extracted == 1


def test_nothing_but_bad_pictures_is_an_error(tmp_path, small_folder):
    id = Collection.from_folder(small_folder).ids[0]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.webp").write_bytes((small_folder / id).read_bytes()[:900])
    with pytest.raises(AmulsearchError, match=r"none of the 1 pictures|no picture in"):
        extract(Collection.from_folder(tmp_path / "bad"), MODEL)


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
        "        self._database.transaction().__enter__().execute('DELETE FROM chunks')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.VectorFile.append = slow\n"
        f"am.extract(am.Collection.from_folder({str(small_folder)!r}), {MODEL!r}, {LAYERS!r}, store={str(store)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    collection = Collection.from_folder(small_folder)
    features = extract(collection, MODEL, LAYERS, store=store)
    clean = extract(collection, MODEL, LAYERS)
    for key, value in features.items():
        assert value.ids == collection.ids
        np.testing.assert_allclose(value.vectors, clean[key].vectors, rtol=1e-3, atol=1e-3)


def test_a_store_belongs_to_one_collection(small_folder, tmp_path):
    collection = Collection.from_folder(small_folder)
    extract(collection, MODEL, "logits", store=tmp_path / "store")
    shutil.move(small_folder, tmp_path / "moved")
    left = Store.open(tmp_path / "store").collection()
    assert extract(left, MODEL, "logits", store=tmp_path / "store").extracted == 0
    told = f"{left.folder} is not there; if it was moved, index it where it is now with the same store: no vector"
    with pytest.raises(AmulsearchError, match=re.escape(told)):
        extract(left, MODEL, "penultimate", store=tmp_path / "store")
    with pytest.raises(PictureError, match=re.escape(told)):
        left.open(left.ids[0])
    assert set(left.changed(left).values()) == {"missing"}
    moved = Collection.from_folder(tmp_path / "moved")
    assert extract(moved, MODEL, "logits", store=tmp_path / "store").extracted == 0
    kept = Store.open(tmp_path / "store").collection()
    assert kept.folder == (tmp_path / "moved").resolve()
    assert kept.table.equals(moved.table)
    below = Collection.from_folder(tmp_path / "moved" / "food")  # all its ids are new
    assert extract(below, MODEL, "logits", store=tmp_path / "store").extracted == 0
    other = tmp_path / "other"
    other.mkdir()
    moved.open(moved.ids[0]).save(other / "x.png")
    with pytest.raises(StoreError, match="use another store for"):
        extract(Collection.from_folder(other), MODEL, "logits", store=tmp_path / "store")


def test_folders_that_are_no_store_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("keep me")
    with pytest.raises(StoreError, match="neither a store nor empty"):
        Store(tmp_path / "full")
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "full" / "letter.txt")
    with pytest.raises(StoreError, match="amulsearch index"):
        Store.open(tmp_path / "nothing")


def test_wrong_arguments_are_told(small_folder):
    collection = Collection.from_folder(small_folder)
    with pytest.raises(QueryError, match="pad, crop, squash"):
        extract(collection, MODEL, framing="stretch")
    with pytest.raises(QueryError, match="at least one model"):
        extract(collection, [])
    features = extract(collection, MODEL, "logits")
    with pytest.raises(QueryError, match=r"there are .'squeezenet1_1'"):
        features["vgg19", "logits"]


def test_a_second_run_loads_no_network(small_folder, tmp_path):
    store = tmp_path / "store"
    collection = Collection.from_folder(small_folder)
    features = extract(collection, MODEL, "penultimate", store=store)
    am.AnnoyIndex.build(features[MODEL, "penultimate"]).save(tmp_path / "index")
    program = (
        "import sys, amulsearch as am\n"
        f"cartoons = am.Collection.from_folder({str(small_folder)!r})\n"
        f"am.extract(cartoons, {MODEL!r}, 'penultimate', store={str(store)!r})\n"
        f"index = am.AnnoyIndex.open({str(tmp_path / 'index')!r})\n"
        f"print(index.query({collection.ids[0]!r}, k=3)['id'].tolist())\n"
        "print([name for name in ('torch', 'torchvision', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ids, imported = done.stdout.splitlines()
    index = am.ExactIndex.build(features[MODEL, "penultimate"])
    assert ids == str(index.query(collection.ids[0], k=3)["id"].tolist())
    assert imported == "[]"


def test_a_subset_leaves_the_table_and_the_indexes_as_they_are(small_folder, tmp_path, capsys):
    store = tmp_path / "store"
    assert main(["index", str(small_folder), "--store", str(store), "--models", MODEL]) == 0
    collection = Store.open(store).collection()
    part = extract(collection[:10], MODEL, "last:gem", store=store)
    assert part.extracted == len(part.collection) == len(part[MODEL, "last:gem"]) == 10
    assert Store.open(store).collection() == collection
    query = ["query", collection.ids[20], "--store", str(store), "--json"]
    assert main(query) == 0
    assert set(am.features.FeatureSet.open(store)) == {(MODEL, layer) for layer in LAYERS}
    capsys.readouterr()
    assert main(["evaluate", "--store", str(store)]) == 0
    assert f"{MODEL} last:gem is left out: it does not cover all pictures" in capsys.readouterr().err
    assert extract(collection, MODEL, "last:gem", store=store).extracted == DIFFERENT - 10


def test_a_part_of_a_changed_folder_changes_its_own_pictures_only(small_folder, tmp_path):
    store, cut = tmp_path / "store", "food/cut.png"
    Image.effect_noise((90, 90), 50).save(small_folder / cut)
    collection = extract(Collection.from_folder(small_folder), MODEL, "logits", store=store).collection
    ids = collection.ids
    collection.open(ids[2]).rotate(90).save(small_folder / ids[2])
    whole = (small_folder / cut).read_bytes()
    (small_folder / cut).write_bytes(whole[: len(whole) // 2])  # its header is intact
    scanned = Collection.from_folder(small_folder)
    part = extract(scanned[[ids[2], cut, ids[7]]], MODEL, "logits", store=store)
    assert part.extracted == 1 and part.rejected["id"].tolist() == [cut]
    kept = Store.open(store).collection()
    assert kept.ids == [id for id in ids if id != cut]
    digests = dict(zip(scanned.ids, scanned.table["digest"], strict=True))
    assert all(digests[id] == digest for id, digest in zip(kept.ids, kept.table["digest"], strict=True))
    assert kept.rejected["id"].tolist() == [cut]
    (small_folder / cut).write_bytes(whole)
    part = extract(Collection.from_folder(small_folder)[[cut]], MODEL, "logits", store=store)
    assert part.extracted == 0 and Store.open(store).collection().ids == ids  # its vector is still there
    assert Store.open(store).collection().rejected.empty


def test_integers_as_labels_are_text_in_a_store(small_folder, tmp_path):
    ids = Collection.from_folder(small_folder).ids
    table = pd.DataFrame({"path": ids[:3], "label": [4, None, 5]})  # pandas makes floats of them
    collection = Collection.from_table(table, small_folder)
    assert collection.labels == ["4", None, "5"]
    assert Collection.from_folder(small_folder, labels={ids[1]: 4}).labels[:3] == [None, "4", None]
    own = dataclasses.replace(collection, table=collection.table.assign(label=np.arange(3)))
    for number, (made, labels) in enumerate([(collection, ["4", None, "5"]), (own, ["0", "1", "2"])]):
        Store(tmp_path / str(number)).register(made)
        assert Store.open(tmp_path / str(number)).collection().labels == labels


@pytest.mark.parametrize("some", [slice(3), slice(-3, None)], ids=["the first", "the last"])
def test_keywords_of_some_pictures_leave_the_others_without(small_folder, tmp_path, some):
    collection = Collection.from_folder(small_folder)
    store = Store(tmp_path / "store")
    store.register(collection)
    named = {id: ["one", "two"] for id in collection.ids[some]}
    part = Collection.from_folder(small_folder, keywords=named)[some]
    store.save_collection(part, store.register(part))
    kept = Store.open(store.folder).collection()
    assert kept.keywords == {id: named.get(id, []) for id in collection.ids}
    assert all("keywords" in store.collection([id]).table for id in named)


def test_row_numbers_never_change_and_a_picture_that_comes_back_is_known(small_folder, tmp_path):
    store = Store(tmp_path / "store")
    collection = Collection.from_folder(small_folder)
    first = extract(collection, MODEL, "logits", store=store)
    rows = dict(zip(collection.ids, store.numbers().tolist(), strict=True))
    assert sorted(rows.values()) == list(range(1, 33))
    id = collection.ids[4]
    content = (small_folder / id).read_bytes()
    (small_folder / id).unlink()
    shutil.copy(small_folder / collection.ids[9], small_folder / "aaa.webp")
    changed = extract(Collection.from_folder(small_folder), MODEL, "logits", store=store)
    assert changed.extracted == 0
    assert dict(zip(changed.collection.ids, store.numbers().tolist(), strict=True)) == {
        **{name: row for name, row in rows.items() if name != id},
        "aaa.webp": 33,
    }
    assert not isinstance(changed[MODEL, "logits"].vectors, np.memmap)  # another order than that of the file
    (small_folder / id).write_bytes(content)
    (small_folder / "aaa.webp").unlink()
    again = extract(Collection.from_folder(small_folder), MODEL, "logits", store=store)
    assert again.extracted == 0 and store.numbers().tolist() == list(rows.values())
    assert np.array_equal(again[MODEL, "logits"].vectors, first[MODEL, "logits"].vectors)


def test_a_renamed_file_and_a_copy_are_not_computed_again(small_folder, tmp_path):
    store, ids = Store(tmp_path / "store"), Collection.from_folder(small_folder).ids
    shutil.copy(small_folder / ids[0], small_folder / "copy.webp")
    first = extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store)
    assert first.extracted == DIFFERENT and len(first.collection) == 33
    made_by = first[MODEL, "logits"].fingerprint
    size = store.vectors(made_by).path.stat().st_size
    assert size == 4 * 1000 * DIFFERENT
    (small_folder / ids[0]).unlink()  # its copy is another name of it now
    (small_folder / "below").mkdir()
    for id in ids[5:20]:
        (small_folder / id).rename(small_folder / "below" / f"{ids.index(id)} {Path(id).name}")
    shutil.copy(small_folder / ids[30], small_folder / "aaa.webp")
    shutil.move(small_folder, tmp_path / "elsewhere")
    again = extract(Collection.from_folder(tmp_path / "elsewhere"), MODEL, LAYERS, store=store)
    assert again.extracted == 0 and len(again.collection) == 33
    assert store.vectors(made_by).path.stat().st_size == size
    opened = am.features.FeatureSet.open(store)
    for key in first:
        by_digest = dict(zip(first[key].digests, first[key].vectors, strict=True))
        for features in (again, opened):
            expected = [by_digest[digest] for digest in features.collection.table["digest"]]
            assert np.array_equal(features[key].vectors, expected)
        am.AnnoyIndex.build(opened[key]).save_in(store, " ".join(key))
    assert am.indexes.check_store(store.folder, progress=False).empty
    assert extract(again.collection, MODEL, LAYERS).extracted == DIFFERENT  # without a store


def test_a_copy_of_a_picture_that_cannot_be_used_is_rejected_with_it(small_folder, tmp_path):
    ids = Collection.from_folder(small_folder).ids
    with Image.open(small_folder / ids[0]) as image:
        image.save(small_folder / "cut.png")
    whole = (small_folder / "cut.png").read_bytes()
    for name in ("cut.png", "food/copy.png"):
        (small_folder / name).write_bytes(whole[: len(whole) // 2])  # its header is intact
    for store in (tmp_path / "store", None):
        features = extract(Collection.from_folder(small_folder), MODEL, "logits", store=store)
        assert features.rejected["id"].tolist() == ["cut.png", "food/copy.png"]
        assert features.rejected["reason"].nunique() == 1 and features.extracted == DIFFERENT
        assert features.collection.ids == features[MODEL, "logits"].ids == ids
    assert Store.open(tmp_path / "store").collection().ids == ids


def test_vectors_of_different_backends_never_mix(small_folder, tmp_path, monkeypatch):
    """Half of the pictures by torch, then all by OpenVINO: no row of the first is taken for one of the second."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    collection, store = Collection.from_folder(small_folder), tmp_path / "store"
    few = extract(collection[:8], MODEL, "logits", store=store)[MODEL, "logits"]
    assert few.fingerprint["backend"].startswith("torch 2")
    monkeypatch.setattr("amulsearch.features.engine.WORTH_CONVERTING", 1)
    every = extract(collection, MODEL, "logits", store=store)
    assert every.extracted == DIFFERENT
    assert every[MODEL, "logits"].fingerprint["backend"].startswith("openvino 20")
    alone = extract(collection, MODEL, "logits")[MODEL, "logits"]
    assert alone.fingerprint == every[MODEL, "logits"].fingerprint
    assert np.array_equal(every[MODEL, "logits"].vectors, alone.vectors)
    again = extract(collection[:8], MODEL, "logits", store=store)  # the store has them by both
    assert again.extracted == 0


def test_a_layer_keeps_its_backend_when_another_one_is_asked_for(small_folder, tmp_path, monkeypatch):
    """Its index goes on answering: the new layer comes from the faster backend, the old one stays as it is."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    collection, store = Collection.from_folder(small_folder), tmp_path / "store"
    old = extract(collection, MODEL, "penultimate", store=store)[MODEL, "penultimate"]
    assert old.fingerprint["backend"].startswith("torch 2")
    monkeypatch.setattr("amulsearch.features.engine.WORTH_CONVERTING", 1)
    both = extract(collection, MODEL, ["last:gem", "penultimate"], store=store)
    assert both[MODEL, "last:gem"].fingerprint["backend"].startswith("openvino 20")
    assert both[MODEL, "penultimate"].fingerprint == old.fingerprint
    assert np.array_equal(both[MODEL, "penultimate"].vectors, old.vectors)


def test_readers_see_the_state_before_or_after_a_change(small_folder, tmp_path):
    store, collection = Store(tmp_path / "store"), Collection.from_folder(small_folder)
    store.register(collection)
    reader = Store.open(store.folder)
    with store.database.transaction():
        store.database.insert("facts", [("folder", '"/elsewhere"')])
        assert reader.collection().folder == collection.folder
    with reader.snapshot():
        assert str(reader.collection().folder) == "/elsewhere"
        store.save_collection(collection, store.register(collection))
        assert str(reader.collection().folder) == "/elsewhere"
    assert reader.collection() == collection
    with pytest.raises(ZeroDivisionError), store.database.transaction():
        store.database.insert("facts", [("folder", '"/elsewhere"')])
        1 / 0
    assert reader.collection() == collection


def test_a_locked_store_is_not_called_damaged(small_folder, tmp_path, monkeypatch):
    collection = Collection.from_folder(small_folder, progress=False)
    Store(tmp_path / "store").register(collection)
    monkeypatch.setattr("amulsearch.store.database.PATIENCE", 0.1)
    other = sqlite3.connect(tmp_path / "store" / "store.sqlite")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"is locked: wait .* network drive that has no locks"):
        Store(tmp_path / "store").register(collection)
    other.close()


def test_what_is_written_stays_or_is_refused(cartoons, tmp_path):
    """A thread writes while the transaction of another is open, which fails; or in a snapshot."""
    store = Store(tmp_path / "store")
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(ZeroDivisionError), store.database.transaction():
            store.database.insert("facts", [("revision", '"lost"')])
            registered = other.submit(store.register, cartoons[:3])
            time.sleep(0.2)
            1 / 0
        registered.result()
    assert store.collection() == cartoons[:3] and store.revision not in ("", "lost")
    with pytest.raises(StoreError, match="write to the store outside of it"), store.snapshot():
        store.register(cartoons[3:5])
    assert store.register(cartoons[3:5]).tolist() == [4, 5]


def test_keywords_names_and_reasons_come_back_as_they_were(tmp_path, openclipart):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for name in ("a.webp", '猫, "b"\n.webp'):
        shutil.copy(next((openclipart / "animals/birds").glob("*.webp")), folder / name)
    (folder / os.fsdecode(b"not-utf8-\xff.png")).write_bytes(b"x")
    table = pd.DataFrame({"path": ["a.webp", '猫, "b"\n.webp', "none.png"], "keywords": ["x;y", "", "z"]})
    for collection in (Collection.from_folder(folder), Collection.from_table(table, folder)):
        store = Store(tmp_path / f"store {len(collection.rejected['id'][0])}")
        store.register(collection)
        kept = Store.open(store.folder).collection()
        assert kept == collection and kept.rejected.equals(collection.rejected)
        assert dict(kept.passed_over) == dict(collection.passed_over)
