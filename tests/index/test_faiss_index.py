"""Features of FAISS only: cells, threads, and exact distances after a search by bits. (Methods: test_base.py.)"""

import faiss
import numpy as np
import pytest

import amulsearch as am


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(2).standard_normal((2000, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def ids():
    return [str(row) for row in range(2000)]


def test_a_centre_is_learned_from_enough_vectors(vectors, ids, capfd):
    """facebookresearch/faiss#414: too few training points."""
    nlist = {count: am.indexes.FaissIVFIndex.build(vectors[:count], ids[:count]).nlist for count in (1, 38, 80, 2000)}
    assert nlist == {1: 1, 38: 1, 80: 2, 2000: 51}  # 2000 / 39; 4 sqrt(N) is less from 24,336 vectors on
    every = am.indexes.FaissIVFIndex.build(vectors[:50], ids[:50], nlist=50, nprobe=1)
    assert every.query("7", 1, include_self=True)["id"].tolist() == ["7"]
    assert len(every.query("7", 20)) == 20  # a cell holds one vector: further cells are searched
    with pytest.raises(am.QueryError, match="nlist=51 is more than the 50 vectors"):
        am.indexes.FaissIVFIndex.build(vectors[:50], ids[:50], nlist=51)
    assert capfd.readouterr().err == ""


def test_all_cells_find_everything(vectors, ids):
    index = am.indexes.FaissIVFIndex.build(vectors, ids, nlist=40, nprobe=1)
    recalls = [index.recall(10, nprobe=nprobe) for nprobe in (1, 4, 40)]
    assert recalls == sorted(recalls) and recalls[0] < 0.7 and recalls[2] == 1
    assert index.query("3", nprobe=1000).equals(index.query("3", nprobe=40))


def test_threads_are_put_back(vectors, ids):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        am.indexes.FaissHNSWIndex.build(vectors, ids)
        with pytest.raises(am.QueryError):
            am.indexes.FaissIVFIndex.build(vectors, ids, nlist=10**6)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


def test_bits_choose_and_distances_are_exact(vectors, ids):
    """For vectors on one side of the origin, as after a ReLU, the planes still pass through their centre."""
    vectors = np.abs(vectors)
    index = am.indexes.FaissLSHIndex.build(vectors, ids, metric="euclidean", n_bits=64, n_candidates=200)
    table = index.query("5", 10)
    rows = table["id"].astype(int)
    np.testing.assert_allclose(table["distance"], np.linalg.norm(vectors[rows] - vectors[5], axis=1), rtol=1e-5)
    assert index.recall(10) > 0.8
    assert index.recall(10, n_candidates=20) < index.recall(10) < index.recall(10, n_candidates=2000) == 1
    with pytest.raises(am.QueryError, match="no metric 'manhattan': use one of angular, euclidean"):
        am.indexes.FaissLSHIndex.build(vectors, ids, metric="manhattan")
