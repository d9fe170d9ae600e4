"""Hubs, counted by hand and compared with scipy's skewness."""

import numpy as np
import pytest
from scipy.stats import skew

import amulsearch as am


def test_occurrences_are_counted():
    table = am.measure.hubs(list("abcd"), np.array([[1, 2], [0, 2], [1, -1], [2, 1]]))
    assert table.values.tolist() == [["b", 3], ["c", 3], ["a", 1], ["d", 0]]
    assert table.attrs["hubness"] == pytest.approx(skew([1, 3, 3, 0]))
    flat = am.measure.hubs(list("abc"), np.array([[1], [2], [0]]))
    assert flat["occurrences"].tolist() == [1, 1, 1] and flat.attrs["hubness"] == 0


def test_the_graph_has_fewer_hubs_than_a_network(bundled_features):
    """Measured on the bundled cartoons: the neighbours of a single network are the most skewed."""
    parts = [bundled_features[name, "last:gem"] for name in am.models.BUNDLED]
    single = [am.measure.hubs(part.ids, am.ExactIndex.build(part).all_neighbours(10)[0]) for part in parts]
    index = am.indexes.DiffusionIndex.build(parts)
    graph = am.measure.hubs(index.ids, index.all_neighbours(10)[0])
    assert all(table["occurrences"].mean() == pytest.approx(10) for table in (*single, graph))
    assert graph.attrs["hubness"] < min(table.attrs["hubness"] for table in single) * 0.8
    assert graph["occurrences"].max() < min(table["occurrences"].max() for table in single)


def test_mistakes_are_told():
    for rows in (np.array([[4]]), np.array([1, 2]), np.array([[0.5]])):
        with pytest.raises(am.QueryError, match="neighbours among the 4 ids"):
            am.measure.hubs(list("abcd"), rows)
