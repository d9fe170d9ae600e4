import numpy as np
import pytest

import amulsearch as am


def test_keywords_are_counted_as_by_hand():
    rng = np.random.default_rng(0)
    has = rng.random((30, 12)) < 0.3
    ids = [f"picture {row}" for row in range(30)]
    keywords = {id: [f"word {word}" for word in np.flatnonzero(row)] for id, row in zip(ids, has, strict=True)}
    shared = (has[:, None] & has[None]).sum(axis=2)
    grades = am.Relevance.from_keywords(ids, keywords).grades(np.arange(30))
    bare = ~has.any(axis=1)  # of a picture without keywords nothing is known
    assert bare.any() and np.isnan(grades[bare]).all() and np.isnan(grades[:, bare]).all()
    assert np.array_equal(np.nan_to_num(grades), shared) and grades.dtype == np.float32
    rare = has[:, has.mean(axis=0) <= 0.3]
    stricter = am.Relevance.from_keywords(ids, keywords, most=0.3, at_least=2).grades(np.array([4, 7]))
    shared = (rare[[4, 7], None] & rare[None]).sum(axis=2)
    assert np.array_equal(np.nan_to_num(stricter), np.where(shared >= 2, shared, 0))


def test_neighbours_in_time_and_place():
    seconds = np.array([0.0, 10, 11, 30])
    near = am.Relevance.from_distance(list("abcd"), seconds, within=10)
    assert near.grades(np.array([1, 3])).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    places = np.array([[0.0, 0], [3, 4], [30, 40]])
    assert am.Relevance.from_distance(list("abc"), places, within=5).grades(np.array([0])).tolist() == [[1, 1, 0]]


def test_names_that_match_nothing_are_counted():
    relevance = am.Relevance.from_keywords(["a", "b"], {"a": "x;y", "b": "x", "c": "x", "d": "y"})
    assert relevance.unmatched == 2 and "2 entries of other pictures left out" in repr(relevance)
    assert relevance.grades(np.array([0])).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: am.Relevance.from_distance(["a", "b"], np.array([1.0]), within=1),
        lambda: am.Relevance.from_distance(["a"], np.array([np.nan]), within=1),
        lambda: am.Relevance.from_distance(["a"], np.array([1.0]), within=-1),
        lambda: am.Relevance.from_keywords(["a"], {"a": "x"}, at_least=0),
        lambda: am.Relevance.from_keywords(["a"], {"a": "x"}, most=1.5),
    ],
)
def test_what_cannot_be(make):
    with pytest.raises(am.QueryError):
        make()


def test_keywords_are_named_in_any_form():
    words = {"caf\u00e9.png": "x", "b.png": ["x", "y"]}
    grades = am.Relevance.from_keywords(["cafe\u0301.png", "b.png"], words).grades(np.arange(2))
    assert grades.tolist() == [[1, 1], [1, 2]]
