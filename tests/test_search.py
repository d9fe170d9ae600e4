"""Neighbours with their query's label, on a case worked out by hand."""

import numpy as np

from amulsearch import same_label


def test_same_label():
    labels = ["a", "a", "b", None, "b", "c"]
    rows = np.array([[1, 2], [2, 0], [4, -1], [0, 1], [3, 5], [2, 3]])
    expected = [[1, 0], [0, 1], [1, 0], [np.nan] * 2, [0, 0], [np.nan] * 2]  # no label; a label that no other has
    np.testing.assert_array_equal(same_label(rows, labels), expected)


def test_without_labels_nothing_can_be_asked():
    assert np.isnan(same_label(np.array([[1], [0]]), [None, None])).all()
