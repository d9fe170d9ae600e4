"""Each fusion method compared with scores worked out by hand for three small lists."""

import numpy as np
import pandas as pd
import pytest

from amulsearch import ExactIndex, Features, QueryError, fuse, query_all
from amulsearch.index.neighbours import neighbours
from amulsearch.measure import fuse_all, vote_table
from amulsearch.measure.ensemble import METHODS, fused_similarities


def ranked(ids, distances=None, model="m"):
    ids = list(ids)
    distances = distances or [0.1 * (place + 1) for place in range(len(ids))]
    return neighbours(ids, distances, [id.upper() for id in ids], model, "logits")


@pytest.fixture
def lists():
    return {
        "one": ranked("abcd", [0.1, 0.2, 0.4, 0.5], "one"),
        "two": ranked("bace", [0.2, 0.3, 0.6, 1.0], "two"),
        "three": ranked("fbga", [0.0, 0.5, 0.6, 1.0], "three"),
    }


def scores(table):
    return dict(zip(table["id"], table["score"], strict=True))


def test_vote_counts_lists_among_their_first_n(lists):
    assert scores(fuse(lists, "vote", depth=2)) == {"b": 3, "a": 2, "f": 1}
    assert scores(fuse(lists, "vote")) == {"a": 3, "b": 3, "c": 2, "d": 1, "e": 1, "f": 1, "g": 1}


def test_equal_votes_are_ordered_by_better_ranks_then_by_id(lists):
    # a: ranks 1, 2, 4 = 7; b: 2, 1, 2 = 5. f: 1 in one list, absent from the others; d and e tie in everything.
    assert fuse(lists, "vote", depth=4)["id"].tolist() == ["b", "a", "c", "f", "g", "d", "e"]


def test_borda_shares_the_points_left_among_unnamed_ids():
    # depth 3, but the second list has only 2 ids: the missing id gets the mean of the points left, (3 - 2 + 1) / 2 = 1
    table = fuse([ranked("abc"), ranked("ca")], "borda", depth=3)
    assert scores(table) == {"a": 3 + 2, "c": 1 + 3, "b": 2 + 1}


def test_reciprocal_rank_fusion(lists):
    got = scores(fuse(lists, "rrf"))
    assert got["b"] == pytest.approx(1 / 62 + 1 / 61 + 1 / 62)
    assert got["f"] == pytest.approx(1 / 61)
    assert scores(fuse(lists, "rrf", rrf_k=1))["a"] == pytest.approx(1 / 2 + 1 / 3 + 1 / 5)


def test_combsum_and_combmnz_scale_each_list_to_one(lists):
    # one: a 1, b 3/4, c 1/4, d 0; two: b 1, a 7/8, c 1/2, e 0; three: f 1, b 1/2, g 2/5, a 0
    combsum = scores(fuse(lists, "combsum"))
    assert combsum == pytest.approx({"a": 1.875, "b": 2.25, "c": 0.75, "d": 0, "e": 0, "f": 1, "g": 0.4})
    combmnz = scores(fuse(lists, "combmnz"))
    assert combmnz == pytest.approx({"a": 5.625, "b": 6.75, "c": 1.5, "d": 0, "e": 0, "f": 1, "g": 0.4})


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_lists_does_not_matter(method, lists):
    forwards = fuse(lists, method).drop(columns=["model", "layer"])
    backwards = fuse(list(lists.values())[::-1], method).drop(columns=["model", "layer"])
    pd.testing.assert_frame_equal(forwards, backwards)


@pytest.mark.parametrize("method", METHODS)
def test_one_list_keeps_its_order(method, lists):
    assert fuse([lists["one"]], method)["id"].tolist() == list("abcd")


def test_a_fused_list_can_be_fused_again(lists):
    again = fuse([fuse(lists, "rrf"), lists["one"]], "combsum")
    assert again["id"].iloc[0] in ("a", "b")
    assert again["rank"].tolist() == list(range(1, 8))


def test_the_table_says_what_was_fused(lists):
    table = fuse(lists, "rrf", k=2)
    assert len(table) == 2
    assert table["model"].iloc[0] == ["one", "two", "three"]
    assert table["label"].tolist() == [id.upper() for id in table["id"]]
    assert dict(zip(table["id"], table["votes"], strict=True)) == {"b": 3, "a": 3}


def test_wrong_use_is_told(lists):
    with pytest.raises(QueryError, match="vote, borda"):
        fuse(lists, "sum")
    with pytest.raises(QueryError, match="at least one"):
        fuse([], "vote")
    table = next(iter(lists.values()))
    with pytest.raises(QueryError, match="twice, and would count it twice"):
        fuse([table, pd.concat([table, table])], "vote")
    with pytest.raises(QueryError, match="must be an integer"):
        fuse(lists, "vote", depth=0)


@pytest.mark.parametrize("n", [None, 3, 40])
@pytest.mark.parametrize("method", METHODS)
def test_fusing_all_at_once_is_fusing_each(method, n):
    rng = np.random.default_rng(5)
    ids = [f"{row:02}.png" for row in range(50)]
    vectors = rng.standard_normal((50, 6))
    indexes = {seed: ExactIndex.build(vectors + rng.standard_normal((50, 6)), ids) for seed in ("a", "b", "c")}
    rows, scores = fuse_all({name: index.all_neighbours(12) for name, index in indexes.items()}, method, depth=n, k=20)
    assert rows.shape == scores.shape == (50, 20)
    for row, id in enumerate(ids):
        table = fuse(query_all(indexes, id, 12), method, depth=n, k=20)
        named = rows[row] >= 0
        assert [ids[place] for place in rows[row][named]] == table["id"].tolist()
        assert scores[row][named] == pytest.approx(table["score"].to_numpy())
        assert np.isnan(scores[row][~named]).all()


def test_lists_of_different_collections_are_not_fused():
    lists = [(np.zeros((count, 1), dtype=int), np.zeros((count, 1))) for count in (3, 4)]
    with pytest.raises(QueryError, match="different collections"):
        fuse_all(lists)


@pytest.mark.parametrize("method", METHODS)
def test_fused_scores_of_everything_order_as_fuse_all_does(method):
    rng = np.random.default_rng(3)
    ids = [str(row) for row in range(30)]
    parts = [Features(rng.standard_normal((30, 6)), ids) for _ in range(3)]
    n = 10 if method == "vote" else 29
    lists = [ExactIndex.build(part).all_neighbours(n) for part in parts]
    rows, _ = fuse_all(lists, method, depth=n, k=8)
    scores = fused_similarities(parts, method, depth=n)(np.arange(30))
    scores[np.arange(30), np.arange(30)] = -np.inf
    expected = np.take_along_axis(scores, rows, axis=1)
    np.testing.assert_allclose(-np.sort(-scores, axis=1)[:, :8], expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [4, 150])
def test_what_is_evaluated_is_what_fuse_answers(method, count):
    """By default, for lists of 10 neighbours in a vote, of 100 in CombMNZ, and of all in the other methods."""
    rng, ids = np.random.default_rng(4), [f"{row:03}" for row in range(count)]
    parts = [Features(rng.standard_normal((count, 6)), ids) for _ in range(2)]
    depth = min({"vote": 10, "combmnz": 100}.get(method, count), count - 1)
    lists = [ExactIndex.build(part).query(ids[1], depth) for part in parts]
    scores = fused_similarities(parts, method)(np.array([1]))[0]
    answered = fuse(lists, method)
    assert set(np.flatnonzero(np.isfinite(scores))) - {1} == {int(id) for id in answered["id"]}
    assert (np.diff(scores[answered["id"].astype(int)]) <= 1e-7).all()


def test_features_of_different_pictures_are_not_fused():
    a, b = (Features(np.eye(3), ids) for ids in ("abc", "abd"))
    with pytest.raises(QueryError, match="different collections"):
        fused_similarities([a, b], "rrf")


def test_votes_say_which_list_has_a_result_at_which_rank(lists):
    fused = fuse(lists, "vote", depth=2)
    table = vote_table(lists, fused, depth=2)
    assert table["id"].tolist() == ["b", "a", "f"]
    assert table["one"].tolist() == [2, 1, pd.NA]
    assert table["three"].tolist() == [2, pd.NA, 1]
    assert table[list(lists)].notna().sum(axis=1).tolist() == fused["votes"].tolist()
    assert vote_table(lists, fused)["three"].tolist() == [2, 4, 1]


@pytest.mark.parametrize("method", METHODS)
def test_lists_that_were_padded_are_fused_as_the_short_lists_they_are(method):
    """`fuse_all` pads with rows of -1: they are neither a picture nor a vote for one of another query."""
    padded = (
        np.array([[2, 1, -1], [0, 2, 1], [-1, -1, -1]]),
        np.array([[0.1, 0.4, np.nan], [0.2, 0.3, 0.5], [np.nan] * 3]),
    )
    whole = np.array([[1, 2, 0], [2, 0, 1], [0, 1, 2]]), np.array([[0.2, 0.3, 0.9], [0.1, 0.6, 0.7], [0.3, 0.4, 0.5]])
    rows, scores = fuse_all([padded, whole], method, depth=3, k=3)
    for query in range(3):
        tables = []
        for found, distances in (padded, whole):
            named = found[query] >= 0
            ids = [str(row) for row in found[query][named]]
            tables.append(neighbours(ids, distances[query][named], [None] * len(ids)))
        expected = fuse(tables, method, depth=3)
        assert [str(row) for row in rows[query] if row >= 0] == expected["id"].tolist()
        np.testing.assert_allclose(scores[query][rows[query] >= 0], expected["score"], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_empty_lists_is_an_empty_table(method):
    fused = fuse([neighbours([], [], [])] * 2, method)
    assert fused.empty and fused.columns.tolist() == fuse([ranked("ab")], method).columns.tolist()
