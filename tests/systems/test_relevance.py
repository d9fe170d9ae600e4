import numpy as np
import pytest

import amulsearch as am

from_keywords, from_distance = am.Relevance.from_keywords, am.Relevance.from_distance


def test_keywords_are_counted_as_by_hand():
    rng = np.random.default_rng(0)
    has = rng.random((30, 12)) < 0.3
    ids = [f"picture {row}" for row in range(30)]
    keywords = {id: [f"word {word}" for word in np.flatnonzero(row)] for id, row in zip(ids, has, strict=True)}
    shared = (has[:, None] & has[None]).sum(axis=2)
    relevance = from_keywords(ids, keywords)
    grades = relevance.grades(np.arange(30))
    bare = ~has.any(axis=1)  # of a picture without keywords nothing is known
    assert bare.any() and np.isnan(grades[bare]).all() and np.isnan(grades[:, bare]).all()
    assert np.array_equal(np.nan_to_num(grades), shared) and grades.dtype == np.float32
    assert relevance.queries.tolist() == np.flatnonzero(shared.sum(axis=1) > shared.diagonal()).tolist()
    rare = has[:, has.mean(axis=0) <= 0.3]
    stricter = from_keywords(ids, keywords, most=0.3, at_least=2).grades(np.array([4, 7]))
    shared = (rare[[4, 7], None] & rare[None]).sum(axis=2)
    assert np.array_equal(np.nan_to_num(stricter), np.where(shared >= 2, shared, 0))


def test_neighbours_in_time_and_place():
    seconds = np.array([0.0, 10, 11, 30])
    near = from_distance(list("abcd"), seconds, within=10)
    assert near.grades(np.array([1, 3])).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]] and len(near.queries) == 4
    places = np.array([[0.0, 0], [3, 4], [30, 40]])
    assert from_distance(list("abc"), places, within=5).grades(np.array([0])).tolist() == [[1, 1, 0]]


def test_keywords_of_other_pictures_and_names_in_any_form():
    relevance = from_keywords(["a", "b"], {"a": "x;y;;x", "b": "x", "c": "x", "d": "y"})
    assert relevance.unmatched == 2 and "2 entries of other pictures left out" in repr(relevance)
    assert relevance.grades(np.array([0])).tolist() == [[2, 1]]
    words = {"caf\u00e9.png": "x", "b.png": ["x", "y"]}
    assert from_keywords(["cafe\u0301.png", "b.png"], words).grades(np.arange(2)).tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("finite and of shape", lambda: from_distance(["a", "b"], np.array([1.0]), within=1)),
        ("finite and of shape", lambda: from_distance(["a"], np.array([np.nan]), within=1)),
        ("0 or more", lambda: from_distance(["a"], np.array([1.0]), within=-1)),
        ("at_least must be 1", lambda: from_keywords(["a"], {"a": "x"}, at_least=0)),
        ("most above 0", lambda: from_keywords(["a"], {"a": "x"}, most=1.5)),
        ("has a keyword", lambda: from_keywords(["a"], {"d": "x;y"})),
        ("3 ids and 2 labels", lambda: am.Relevance.from_labels(list("abc"), ["x", "x"])),
    ],
)
def test_wrong_use_is_told(words, make):
    with pytest.raises(am.errors.QueryError, match=words):
        make()
