"""Checks for errors that Annoy ignores silently, and forests built on disk."""

import shutil
import subprocess
import sys

import pytest

from amulsearch import AnnoyIndex, QueryError, StoreError

annoy = pytest.importorskip("annoy")


def test_short_answers_are_asked_again(vectors, ids):
    """If it searches one node, Annoy itself returns fewer neighbours than requested."""
    bare = annoy.AnnoyIndex(24, "angular")
    for row, vector in enumerate(vectors):
        bare.add_item(row, vector)
    bare.set_seed(0)
    bare.build(2, 1)
    assert len(bare.get_nns_by_item(0, 300, 1)) < 300
    assert len(AnnoyIndex.build(vectors, ids, n_trees=2).query(ids[0], k=300, search_k=1)) == 300


def test_search_k_of_build_is_the_default(vectors, ids):
    index, other = (AnnoyIndex.build(vectors, ids, n_trees=1, search_k=search_k) for search_k in (30, None))
    assert index.query(ids[0]).equals(other.query(ids[0], search_k=30))
    assert other.query(ids[0]).equals(other.query(ids[0], search_k=100))  # n_trees * 100


@pytest.mark.parametrize("metric", ["angular", "euclidean", "manhattan"])
def test_a_forest_grown_on_disk_is_the_same(metric, vectors, ids, tmp_path):
    options = {"metric": metric, "n_trees": 7, "seed": 3}
    plain, folder = AnnoyIndex.build(vectors, ids, **options), tmp_path / "new" / "grown"
    grown = AnnoyIndex.build(vectors, ids, **options, on_disk=folder)
    files = [next(path.rglob("*.ann")) for path in (folder, plain.save(tmp_path / "plain"))]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_mode == files[1].stat().st_mode
    copy = AnnoyIndex.open(grown.save(tmp_path / "copy"))
    for index in (grown, AnnoyIndex.open(folder), AnnoyIndex.open(tmp_path / "plain"), copy):
        assert index.query(ids[3]).equals(plain.query(ids[3]))
    assert [path.name for path in folder.parent.iterdir()] == ["grown"]


def test_a_disk_too_small_for_a_forest_is_told(vectors, ids, tmp_path, monkeypatch):
    """Annoy maps its file into memory: on a full disk, the process would be killed."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StoreError, match=r"0\.0 GB free, but the forest takes"):
        AnnoyIndex.build(vectors, ids, on_disk=tmp_path / "index")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        AnnoyIndex.build(vectors, ids, on_disk=tmp_path / "file" / "index")
    with pytest.raises(QueryError, match="n_jobs"):
        AnnoyIndex.build(vectors, ids, n_jobs=-2)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say how much memory is whose")
def test_on_disk_the_vectors_are_never_all_in_memory(tmp_path):
    """Build from a memory map of 49 MB; memory means the process's own memory, without mapped files."""
    code = f"""
import numpy as np, amulsearch as am
from pathlib import Path

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

path = {str(tmp_path / "vectors.npy")!r}
vectors = np.lib.format.open_memmap(path, "w+", np.float32, (24_000, 512))
for start in range(0, len(vectors), 1000):
    vectors[start : start + 1000] = np.random.default_rng(start).standard_normal((1000, 512), dtype=np.float32)
vectors.flush()
ids, build = [str(row) for row in range(len(vectors))], am.AnnoyIndex.build
before = own()
index = build(np.load(path, mmap_mode="r"), ids, n_trees=1, on_disk={str(tmp_path / "index")!r})
print(own() - before, index.query("7", 1, include_self=True)["id"][0])
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    grown, found = output.split()
    assert float(grown) < 25 and found == "7"
