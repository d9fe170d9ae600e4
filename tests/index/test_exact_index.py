"""Exact search for all pictures at once gives the same as single queries (which test_base.py tests)."""

import numpy as np
import pytest

from amulsearch import ExactIndex, QueryError


@pytest.mark.parametrize("metric", ExactIndex.metrics)
@pytest.mark.parametrize("k", [1, 10, 599])
def test_all_neighbours_are_what_query_says_of_each(metric, k, vectors, ids):
    vectors = vectors.copy()
    vectors[300] = vectors[20]  # a pair at distance 0, and two at the same distance from all others
    index = ExactIndex.build(vectors, ids, metric=metric)
    rows, distances = index.all_neighbours(k)
    assert rows.shape == distances.shape == (600, k)
    for row in (0, 20, 255, 256, 300, 599):
        table = index.query(ids[row], k)
        assert [ids[place] for place in rows[row]] == table["id"].tolist()
        assert distances[row] == pytest.approx(table["distance"].to_numpy(), rel=1e-5, abs=1e-6)


def test_all_neighbours_of_a_few_pictures():
    index = ExactIndex.build(np.array([[1.0, 0.0], [1e-9, 1e-9], [0.0, 5.0]]), ["a", "b", "c"])
    rows, distances = index.all_neighbours(2)
    assert rows.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert distances[0] == pytest.approx([(2 - 2**0.5) ** 0.5, 2**0.5])
    with pytest.raises(QueryError, match="2 other pictures"):
        index.all_neighbours(3)
