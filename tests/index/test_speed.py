"""Recall and speed, and enlarged collections."""

import time

import numpy as np
import pytest

import amulsearch as am
from amulsearch.index import enlarge


@pytest.fixture(scope="module")
def vectors():
    centres = np.random.default_rng(0).normal(size=(40, 16))
    return (np.repeat(centres, 50, axis=0) + np.random.default_rng(1).normal(size=(2000, 16))).astype(np.float32)


def test_an_enlarged_collection_lies_between_near_vectors(vectors):
    small = vectors[:200] / np.linalg.norm(vectors[:200], axis=1, keepdims=True)
    made = enlarge(vectors[:200], 300, seed=1)
    assert made.shape == (300, 16) and made.dtype == np.float32
    assert np.array_equal(made, enlarge(vectors[:200], 300, seed=1))
    distance = np.linalg.norm(small[:, None] - small[None], axis=2)
    reach = np.sort(distance, axis=1)[:, 100]  # distance to the 100th nearest neighbour
    for one in made[:20]:
        # The distances from a point between a and b to both add up to the distance from a to b.
        apart = np.linalg.norm(small - one, axis=1)
        between = np.abs(apart[:, None] + apart[None] - distance) < 1e-4
        assert any(distance[a, b] <= reach[a] + 1e-6 for a, b in np.argwhere(between))
    out = np.zeros((50, 16), dtype=np.float32)
    assert enlarge(vectors, 50, out=out) is out and out.any(axis=1).all()
    features = am.Features(vectors, [str(row) for row in range(len(vectors))])
    points = enlarge(features, 50)
    assert np.array_equal(points.vectors, out) and [points.ids[0], points.ids[-1]] == ["point 1", "point 50"]
    with pytest.raises(am.QueryError, match="2 vectors are too few"):
        enlarge(vectors[:2], 10)


def test_the_longer_it_looks_the_more_is_found(vectors):
    ids = [str(row) for row in range(len(vectors))]
    index = am.AnnoyIndex.build(vectors, ids, n_trees=5)
    table = am.indexes.tradeoff(index, efforts=[10, 100, 1000], k=5, sample=50)
    assert table["effort"].tolist() == [10, 100, 1000] and (table["kind"] == "AnnoyIndex").all()
    expected = [index.recall(5, sample=50, search_k=search_k) for search_k in (10, 100, 1000)]
    assert np.allclose(table["recall"], expected)
    assert table["recall"].is_monotonic_increasing and table["recall"].iloc[0] < table["recall"].iloc[-1]
    assert (table["queries_per_second"] > 0).all()
    whole = am.indexes.tradeoff(index, k=5, sample=50)
    assert whole["recall"].iloc[-1] == 1 and (whole["recall"].iloc[:-1] < 1).all()


def test_new_vectors_ask_as_well(vectors):
    base, new = vectors[::2], vectors[1::50]
    index = am.AnnoyIndex.build(base, [str(row) for row in range(len(base))], n_trees=5)
    unit = [of / np.linalg.norm(of, axis=1, keepdims=True) for of in (base, new)]
    true = np.argsort(-(unit[1] @ unit[0].T), axis=1)[:, :5]
    found = [[int(id) for id in index.query(one, 5, search_k=50)["id"]] for one in new]
    expected = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(true.tolist(), found, strict=True)])
    assert am.indexes.tradeoff(index, new, efforts=[50], k=5)["recall"].iloc[0] == pytest.approx(expected)


def test_several_indexes_in_one_table(vectors):
    features = am.Features(vectors, [str(row) for row in range(len(vectors))])
    built = []

    def annoy():
        time.sleep(0.1)
        built.append(am.AnnoyIndex.build(features, n_trees=5))
        return built[0]

    table = am.indexes.tradeoffs({"forest": annoy, 2: lambda: am.ExactIndex.build(features)}, efforts=[10, 100], k=5)
    assert table["index"].tolist() == ["forest", "forest", 2] and len(built) == 1
    assert table["kind"].tolist() == ["AnnoyIndex", "AnnoyIndex", "ExactIndex"]
    assert np.allclose(table["recall"], [built[0].recall(5, search_k=effort) for effort in (10, 100)] + [1])
    assert (table["build_seconds"] >= [0.1, 0.1, 0]).all() and table["build_seconds"].nunique() == 2


def test_exact_search_has_one_row(vectors):
    table = am.indexes.tradeoff(am.ExactIndex.build(vectors, [str(row) for row in range(len(vectors))]), sample=5)
    assert len(table) == 1 and table["recall"].tolist() == [1]
