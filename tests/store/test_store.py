"""Features on disk: nothing is computed twice, lost by an interruption, or mixed up."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import amulsearch as am
from amulsearch import AmulsearchError, Collection, QueryError, Store, StoreError, extract

MODEL = "squeezenet1_1"
LAYERS = ["logits", "penultimate"]


def vectors_of(features):
    return {key: np.array(value.vectors) for key, value in features.items()}


def test_vectors_are_those_of_single_pictures(small_folder, tmp_path):
    collection = Collection.from_folder(small_folder)
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
    assert first.extracted == len(first.collection)
    assert extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store).extracted == 0
    ids = first.collection.ids

    image = first.collection.open(ids[3])
    image.transpose(0).save(small_folder / ids[3])  # changed
    (small_folder / ids[5]).unlink()  # deleted
    shutil.copy(small_folder / ids[8], small_folder / "aaa.webp")  # added, and sorts first
    changed = Collection.from_folder(small_folder)
    again = extract(changed, MODEL, LAYERS, store=store)
    assert again.extracted == 2
    assert again[MODEL, "logits"].ids == changed.ids
    clean = extract(changed, MODEL, LAYERS)
    for key, value in again.items():
        np.testing.assert_allclose(value.vectors, clean[key].vectors, rtol=1e-3, atol=1e-3)
    os.utime(small_folder / ids[8])
    assert extract(Collection.from_folder(small_folder), MODEL, LAYERS, store=store).extracted == 0
    assert extract(changed, MODEL, "penultimate", framing="crop", store=store).extracted == len(changed)


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
        "append = s.FeatureFile.append\n"
        "def slow(self, keys, vectors):\n"
        "    append(self, keys, vectors); self.flush()\n"
        "    if len(self.rows) >= 16 and self.meta['fingerprint']['layer'] == 'logits':\n"
        "        open(self.vectors_path, 'ab').write(b'torn'); open(self.rows_path, 'ab').write(b'[\"half a row')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.FeatureFile.append = slow\n"
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
    moved = Collection.from_folder(tmp_path / "moved")
    assert extract(moved, MODEL, "logits", store=tmp_path / "store").extracted == 0
    kept = Store.open(tmp_path / "store").collection()
    assert kept.folder == (tmp_path / "moved").resolve()
    assert kept.table.equals(moved.table)
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
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "store.json").write_text(json.dumps({"format": 99, "current": {}}))
    with pytest.raises(StoreError, match="format 99"):
        Store.open(tmp_path / "new")


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
