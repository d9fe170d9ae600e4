"""Each fusion method compared with scores worked out by hand for three small lists, and with loops over ranks."""

import numpy as np
import pytest

import amulsearch as am
from amulsearch.errors import QueryError
from amulsearch.systems import METHODS, Fusion

IDS = list("abcdefg")
LISTS = {
    "one": {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.5},
    "two": {"b": 0.2, "a": 0.3, "c": 0.6, "e": 1.0},
    "three": {"f": 0.0, "b": 0.5, "g": 0.6, "a": 1.0},
}
"""The distances of the first four pictures from a query; all others are far away."""
QUERY = [np.zeros(1)] * 3


@pytest.fixture
def indexes():
    """On a line with the query at 0."""
    places = [[[distances.get(id, 9.0)] for id in IDS] for distances in LISTS.values()]
    labels = [id.upper() for id in IDS]
    return [am.ExactIndex.build(am.Features(place, IDS, labels), metric="euclidean") for place in places]


def scores(indexes, method, depth=4):
    table = Fusion(indexes, method, depth=depth).query([np.zeros(1)] * len(indexes))
    return dict(zip(table["id"], table["score"], strict=True))


def test_vote_counts_lists_among_their_first_n(indexes):
    assert scores(indexes, "vote", 2) == {"b": 3, "a": 2, "f": 1}
    assert scores(indexes, "vote") == {"a": 3, "b": 3, "c": 2, "d": 1, "e": 1, "f": 1, "g": 1}


def test_equal_votes_are_ordered_by_better_ranks_then_by_row(indexes):
    # a: ranks 1, 2, 4 = 7; b: 2, 1, 2 = 5. f: 1 in one list, absent from the others; d and e tie in everything.
    table = Fusion(indexes, "vote", depth=4).query(QUERY)
    assert table["id"].tolist() == ["b", "a", "c", "f", "g", "d", "e"]
    assert table["votes"].tolist() == [3, 3, 2, 1, 1, 1, 1] and table["label"].tolist()[0] == "B"


def test_borda_shares_the_points_left_among_unnamed_ids(indexes):
    # a: 4 + 3 + 1; b: 3 + 4 + 3; c: 2 + 2; d: 1; e: 1; f: 4; g: 2; lists of 4 with depth 4 leave no points
    assert scores(indexes, "borda") == {"a": 8, "b": 10, "c": 4, "d": 1, "e": 1, "f": 4, "g": 2}


def test_reciprocal_rank_fusion(indexes):
    got = scores(indexes, "rrf")
    assert got["b"] == pytest.approx(1 / 62 + 1 / 61 + 1 / 62) and got["f"] == pytest.approx(1 / 61)


def test_combsum_and_combmnz_scale_each_list_to_one(indexes):
    # one: a 1, b 3/4, c 1/4, d 0; two: b 1, a 7/8, c 1/2, e 0; three: f 1, b 1/2, g 2/5, a 0
    combsum = {"a": 1.875, "b": 2.25, "c": 0.75, "d": 0, "e": 0, "f": 1, "g": 0.4}
    assert scores(indexes, "combsum") == pytest.approx(combsum, abs=1e-6)
    assert scores(indexes, "combmnz") == pytest.approx(
        {"a": 5.625, "b": 6.75, "c": 1.5, "d": 0, "e": 0, "f": 1, "g": 0.4}, abs=1e-6
    )


@pytest.fixture(scope="module")
def parts():
    rng, ids = np.random.default_rng(5), [f"{row:03}.png" for row in range(150)]
    return [am.Features(rng.standard_normal((150, 6)), ids) for _ in range(3)]


def by_loops(parts, method, row, depth):
    """The fused scores of the other pictures by id, from cosines and ranks."""
    total, votes = {}, {}
    for part in parts:
        unit = part.vectors / np.linalg.norm(part.vectors, axis=1, keepdims=True)
        distance = np.sqrt(np.maximum(2 - 2 * unit.astype(float) @ unit[row].astype(float), 0))
        order = [other for other in np.argsort(distance, kind="stable") if other != row][:depth]
        low, high = distance[order[-1]], distance[order[0]]
        for rank, other in enumerate(order, 1):
            scaled = (low - distance[other]) / (low - high)
            points = {"vote": 1, "borda": depth - rank + 1, "rrf": 1 / (60 + rank)}.get(method, scaled)
            total[part.ids[other]] = total.get(part.ids[other], 0) + points
            votes[part.ids[other]] = votes.get(part.ids[other], 0) + 1
    return {id: points * (votes[id] if method == "combmnz" else 1) for id, points in total.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [am.ExactIndex, am.AnnoyIndex])
def test_a_query_all_neighbours_and_the_evaluation_are_the_same_fusion(method, kind, parts):
    """By default a vote reads 10 neighbours, CombMNZ 100, and the others all, or 100 of an approximate index."""
    fusion = Fusion([kind.build(part) for part in parts], method)
    exact = kind is am.ExactIndex
    depth = {"vote": 10, "combmnz": 100}.get(method, 150 if exact else 100)
    assert fusion.depth == depth
    rows, values = fusion.all_neighbours(20)
    for row in (0, 71, 149):
        expected = by_loops(parts, method, row, depth)
        table = fusion.query(fusion.ids[row], 20)
        listed = rows[row] >= 0
        assert table["id"].tolist() == [fusion.ids[other] for other in rows[row][listed]]
        assert np.array_equal(table["score"], values[row][listed]), "bit for bit"
        assert table["score"].tolist() == pytest.approx(sorted(expected.values(), reverse=True)[:20], abs=1e-4)
        measured = fusion.similarities(np.array([row]))[0]
        if exact:
            assert set(np.flatnonzero(measured > -np.inf)) - {row} == {fusion.ids.index(id) for id in expected}
            assert (np.diff(measured[[fusion.row(id) for id in table["id"]]]) <= 1e-7).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_systems_does_not_matter_and_one_keeps_its_order(method, parts):
    indexes = [am.ExactIndex.build(part) for part in parts]
    forwards, backwards = (Fusion(some, method).query("007.png", 12) for some in (indexes, indexes[::-1]))
    assert forwards["id"].tolist() == backwards["id"].tolist()
    alone = Fusion(indexes[:1], method).query("007.png", 5)["id"].tolist()
    assert alone == indexes[0].query("007.png", 5)["id"].tolist()


def test_a_fusion_can_be_fused_again_and_says_what_it_is_of(parts):
    named = [
        am.Features(part.vectors, part.ids, fingerprint={"model": name, "layer": "logits"})
        for part, name in zip(parts, "xyz", strict=True)
    ]
    inner = Fusion(named[:2], "rrf")
    outer = Fusion([inner, named[2]], "combsum")
    table = outer.query("007.png", 3)
    assert table["model"][0] == ["x", "y", "z"] and table["layer"][0] == ["logits"] and len(table) == 3
    vectors = [part.vectors[7] for part in named]
    assert outer.query(vectors, 1)["id"].tolist() == ["007.png"]


def test_what_is_evaluated_of_approximate_systems_is_what_they_answer(parts):
    """The order of equal votes included, but for those with equal ranks."""
    labels = [f"kind {row % 30}" for row in range(150)]
    indexes = [am.AnnoyIndex.build(am.Features(part.vectors, part.ids, labels), n_trees=5) for part in parts]
    relevance = am.Relevance.from_labels(indexes[0].ids, labels)
    for system in (Fusion(indexes, "vote"), Fusion([Fusion(indexes[:2], "vote"), indexes[2]], "rrf")):
        first = [system.query(id, 1)["label"].iat[0] == label for id, label in zip(system.ids, labels, strict=True)]
        assert am.evaluate(system, relevance).mean()["P@1"] == pytest.approx(np.mean(first), abs=0.005)


def test_a_fusion_of_a_fusion_reads_its_order(parts):
    inner = Fusion(parts, "vote")
    outer = Fusion([inner], "rrf", depth=10)
    assert outer.query("007.png", 10)["id"].tolist() == inner.query("007.png", 10)["id"].tolist()


def test_few_pictures_are_all_answered(parts):
    few = [am.Features(part.vectors[:2], part.ids[:2]) for part in parts]
    for method in METHODS:
        assert len(Fusion(few, method).query([part.vectors[5] for part in parts], 2)) == 2


def test_the_effort_is_that_of_the_systems(parts):
    approximate = Fusion([am.AnnoyIndex.build(part) for part in parts], "rrf")
    assert len(approximate.query("007.png", 5, search_k=10)) == 5
    with pytest.raises(QueryError, match="no query option 'search_k': its systems are exact"):
        Fusion(parts, "rrf").query("007.png", 5, search_k=10)


def test_wrong_use_is_told(parts):
    for call, words in (
        (lambda: Fusion(parts, "sum"), "use one of vote, borda"),
        (lambda: Fusion([], "vote"), "at least one"),
        (lambda: Fusion(parts, "vote", depth=0), "depth must be an integer"),
        (lambda: Fusion(parts[0]), "systems in a list"),
        (lambda: Fusion([parts[0].vectors]), "give systems or Features, not ndarray"),
        (lambda: Fusion([parts[0], am.Features(np.eye(6), list("abcdef"))]), "not of the same pictures"),
        (lambda: Fusion(parts).query("007.png", 150), "k=150 is more than the 149 other pictures"),
        (lambda: Fusion(parts).query(parts[0].vectors[0]), "a vector for each of the 3 parts"),
    ):
        with pytest.raises(QueryError, match=words):
            call()
