"""FAISS's kinds of index: cells, hashing, threads. (The methods of a graph: test_base.py.)"""

import faiss
import numpy as np
import pytest

from amulsearch import ExactIndex, QueryError
from amulsearch.index import FaissIndex

KINDS = ["HNSW16,Flat", "IVF40,Flat", "LSH64rt,RFlat"]


@pytest.fixture(scope="module")
def vectors():
    """On one side of the origin, as after a ReLU: the planes of hashing still have to part them."""
    return np.abs(np.random.default_rng(2).standard_normal((2000, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def ids():
    return [str(row) for row in range(2000)]


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("metric", FaissIndex.metrics)
def test_more_effort_finds_more_and_in_the_end_all(factory, metric, vectors, ids, tmp_path):
    index = FaissIndex.build(vectors, ids, factory=factory, metric=metric)
    recalls = [index.recall(10, search_k=search_k) for search_k in (1, 20, 2000)]
    assert recalls == sorted(recalls) and recalls[0] < 0.99 and recalls[2] == 1
    assert index.query("3", search_k=2000).equals(index.query("3", search_k=10**6))
    assert len(index.query("7", 300, search_k=1)) == 300  # a cell holds fewer: further ones are searched
    table, exact = index.query("5", search_k=2000), ExactIndex.build(vectors, ids, metric=metric).query("5")
    assert table["id"].tolist() == exact["id"].tolist()
    np.testing.assert_allclose(table["distance"], exact["distance"], rtol=1e-3)
    opened = FaissIndex.open(index.save(tmp_path / "index"))
    assert opened.query("3").equals(index.query("3")) and opened.factory == factory
    assert np.array_equal(opened.vector("8"), index.vector("8"))


@pytest.mark.parametrize("factory", ["HNSW2,Flat", "IVF1,Flat", "LSH1rt,RFlat"])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_few_vectors(factory, count, vectors, ids):
    index = FaissIndex.build(vectors[:count], ids[:count], factory=factory)
    assert sorted(index.query(vectors[0], count)["id"], key=int) == ids[:count]


@pytest.mark.parametrize(
    "factory", ["HNSW1,Flat", "HNSW16", "HNSW16,SQ8", "IVF0,Flat", "IVF40,PQ8", "LSH64", "Flat", "annoy", "", None, 3]
)
def test_what_would_end_the_process_or_change_the_vectors_is_refused(factory, vectors, ids):
    with pytest.raises(QueryError, match="factory must be like 'HNSW16,Flat'"):
        FaissIndex.build(vectors, ids, factory=factory)


def test_threads_are_put_back(vectors, ids):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        FaissIndex.build(vectors, ids).query("5")
        with pytest.raises(QueryError, match="more cells than the 2000 vectors"):
            FaissIndex.build(vectors, ids, factory="IVF2001,Flat")
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
