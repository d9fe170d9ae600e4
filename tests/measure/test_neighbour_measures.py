"""Measures of lists of neighbours, by hand."""

import numpy as np
import pytest

import amulsearch as am

LABELS = ["x", "x", "x", "y", "y", None]
NEAR = np.array([[1, 2], [0, 3], [3, 4], [4, 0], [0, 1], [0, 1]])
FAR = np.array([[3, 4], [2, 0], [4, 3], [0, 1], [3, 5], [4, 3]])


def test_precision_at_k():
    lists = {"near": NEAR, "far": (FAR, np.zeros(FAR.shape))}
    table = am.measure.precision_at_k(lists, LABELS, at=(1, 2), baseline="far")
    assert table.loc["near"].tolist() == [3 / 5, (1 + 0.5 + 0 + 0.5 + 0) / 5, 2, 1]
    assert table.loc["far"].tolist() == [2 / 5, (0 + 1 + 0 + 0 + 1) / 5, 0, 0]  # of a neighbour without a label


def test_precision_divides_as_evaluate_does():
    """By k, also where there are fewer than k neighbours."""
    features = am.Features(np.random.default_rng(0).standard_normal((4, 3)), list("abcd"), list("xxxy"))
    rows = am.ExactIndex.build(features).all_neighbours(3)[0]
    table = am.measure.precision_at_k({("net", "logits"): rows}, features.labels)
    assert table.columns.tolist() == ["P@1", "P@5"] and table.index.tolist() == [("net", "logits")]
    expected = am.evaluate(features, am.Relevance.from_labels(features.ids, features.labels)).mean()
    assert table.iloc[0].tolist() == pytest.approx(expected[["P@1", "P@5"]].tolist())


def test_neighbours_without_a_label_are_neither_right_nor_wrong():
    labels = ["x", "x", "x", "y", None, None]
    rows = {"system": np.array([[4, 1, 3], [4, 5, 2], [5, 4, -1], [0, 1, 2], [0, 1, 2], [0, 1, 2]])}
    table = am.measure.precision_at_k(rows, labels, at=(1, 2))
    assert table.iloc[0].tolist() == [(1 + 1 + 0) / 3, (1 / 2 + 1 / 1 + 0 / 1) / 3]
    assert am.measure.chance_level(labels) == pytest.approx(2 / 3)


def test_overlap():
    """`fuse_all` pads with -1."""
    overlap = am.measure.overlap
    assert overlap(np.array([[1, 2, 3, 4]]), np.array([[2, 1, 5, 4]])).tolist() == [0.75]
    short, long, nothing = np.array([[1, 2, 3, -1, -1]]), np.array([[2, 1, 7, 3, 9]]), np.full((1, 5), -1)
    assert overlap(short, short).tolist() == [1]
    assert overlap(short, long).tolist() == [3 / 5] == overlap(long, short).tolist()
    assert overlap(nothing, nothing).tolist() == [0] == overlap(nothing, long).tolist()
    for other, words in ((np.zeros((2, 2), int), "of the same shape"), (np.zeros((2, 3)), "integers")):
        with pytest.raises(am.errors.QueryError, match=words):
            overlap(np.zeros((2, 3), int), other)


def test_same_label():
    labels = ["a", "a", "b", None, "b", "c"]
    rows = np.array([[1, 2], [2, 0], [4, -1], [0, 1], [3, 5], [2, 3]])
    nothing = [np.nan] * 2  # the query has no label, or one that no other picture has
    expected = [[1, 0], [0, 1], [1, 0], nothing, [np.nan, 0], nothing]  # a neighbour without a label is not wrong
    np.testing.assert_array_equal(am.measure.same_label(rows, labels), expected)
    assert np.isnan(am.measure.same_label(np.array([[1], [0]]), [None, None])).all()
