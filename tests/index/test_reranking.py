"""Re-ranking compared with a version in sets and loops, for pictures of the collection and for new ones."""

import numpy as np
import pytest

import amulsearch as am


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((6, 16))
    vectors = np.repeat(centres, 10, axis=0) + 0.75 * rng.standard_normal((60, 16))
    labels = [str(row // 10) for row in range(60)]
    return am.Features(vectors.astype(np.float32), [str(row) for row in range(60)], labels)


def k_reciprocal(vectors, k1, k2, weight):
    """The distances of Zhong et al. 2017 for a whole collection, as the paper defines them."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    squared = np.maximum(2 - 2 * vectors @ vectors.T, 0)
    np.fill_diagonal(squared, 0)
    order = np.argsort(squared, axis=1, kind="stable")

    def reciprocal(row, k):
        return {other for other in order[row, : k + 1] if row in order[other, : k + 1]}

    codes = np.zeros_like(squared)
    for row in range(len(vectors)):
        chosen = reciprocal(row, k1)
        for other in list(chosen):
            theirs = reciprocal(other, round(k1 / 2))
            if len(theirs & chosen) >= 2 / 3 * len(theirs):
                chosen |= theirs
        places = sorted(chosen)
        codes[row, places] = np.exp(-squared[row, places]) / np.exp(-squared[row, places]).sum()
    codes = np.stack([codes[order[row, :k2]].mean(axis=0) for row in range(len(vectors))])
    jaccard = np.array([[1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in codes] for a in codes])
    return (1 - weight) * jaccard + weight * squared / squared.max(axis=1, keepdims=True)


def test_k_reciprocal_distances(features):
    index = am.indexes.KReciprocal.build(features, 8, 3, weight=0.3)
    expected = k_reciprocal(features.vectors.astype(np.float64), 8, 3, 0.3)
    np.testing.assert_allclose(-index.similarities(np.arange(60)), expected, atol=1e-4)


@pytest.mark.parametrize(
    "build", [lambda f: am.indexes.KReciprocal.build(f, 8, 3), lambda f: am.indexes.QueryExpansion.build(f, 5, alpha=3)]
)
def test_neighbours_are_those_of_the_scores(features, build):
    index = build(features)
    scores = index.similarities(np.arange(60))
    scores[np.arange(60), np.arange(60)] = -np.inf
    for row in (0, 17, 59):
        expected = np.argsort(-scores[row], kind="stable")[:6]
        assert index.query(str(row), 6)["id"].tolist() == [str(other) for other in expected]
    # A new picture near the centre of a group finds the group.
    assert set(index.query(features.vectors[20:30].mean(axis=0), 7)["label"]) == {"2"}


@pytest.mark.parametrize(
    "build", [lambda f: am.indexes.KReciprocal.build(f, 8, 3), lambda f: am.indexes.QueryExpansion.build(f, 5, alpha=3)]
)
def test_many_queries_at_once_are_answered_as_single_ones(features, build):
    index = build(features)
    rows, distances = index.all_neighbours(5)
    new = index.search(features.vectors + 0.1, 4)
    for row in (0, 17, 59):
        table = index.query(str(row), 5)
        assert table["id"].tolist() == [str(place) for place in rows[row]]
        np.testing.assert_allclose(distances[row], table["distance"], atol=1e-6)
        assert index.query(features.vectors[row] + 0.1, 4)["id"].tolist() == [str(place) for place in new[0][row]]


def test_re_ranking_helps_groups(features):
    relevance = am.Relevance.from_labels(features.ids, features.labels)
    plain = am.evaluate(features, relevance).mean()["mAP"]
    for index in (am.indexes.KReciprocal.build(features, 10, 3), am.indexes.QueryExpansion.build(features, 5)):
        assert am.evaluate(index, relevance).mean()["mAP"] > plain


def test_query_expansion_by_hand():
    base = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    index = am.indexes.QueryExpansion.build(am.Features(base, ["a", "b", "c"]), 1, alpha=1)
    moved = np.array([1 + 0.8 * 0.8, 0.8 * 0.6])  # a, plus b weighted by its cosine
    expected = base @ moved / np.linalg.norm(moved)
    np.testing.assert_allclose(index.similarities(np.array([0]))[0], expected, atol=1e-6)


def test_wrong_use_is_told(features, tmp_path):
    for call, words in (
        (lambda: am.indexes.KReciprocal.build(features, 8).recall(5), "recall is not defined"),
        (lambda: am.indexes.QueryExpansion.build(features, 5).save(tmp_path / "index"), "cannot be saved"),
        (lambda: am.indexes.KReciprocal.build(features, 60), "k=60 is more than"),
        (lambda: am.indexes.KReciprocal.build(features, 8, 9), "k=9 is more than"),
        (lambda: am.indexes.KReciprocal.build(features, 8, 3, weight=2), "from 0 to 1"),
        (lambda: am.indexes.QueryExpansion.build(features, 60), "59 other pictures"),
        (lambda: am.indexes.KReciprocal.build(features, 8).query(np.ones(3), 2), "vector of shape"),
    ):
        with pytest.raises(am.QueryError, match=words):
            call()
