"""The numbers that lesson 5 and its solutions state."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from plain import cosines

import amulsearch as am

NOTEBOOK, SOLUTIONS = "05_ensembles", "solutions/05_ensembles"
WITHIN = 0.0011
WRONG = {1: 'first = "dog"', 2: "vote_at = vote_at + 0.01", 3: "pair = models[:2]", 4: 'more = "C"'}
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
DAMSELFLY = "animals/bugs/damselfly_leigh_purdie_r.webp"
QUERIES = (
    "animals/mammals/big_cats/tigre03_architetto_franc_01.webp",
    "electronics/bulb/bulb.webp",
    "food/fruit/grapes_01.webp",
    "food/desserts/pie_pumpkin.webp",
    DAMSELFLY,
)
DRAGONFLY = "animals/bugs/blue_dragonfly_ghuul_ghu_01.webp"
SWORD = "tools/weapons/longsword_01.webp"


@pytest.fixture(scope="module")
def indexes(bundled_features):
    layers = "logits", "penultimate"
    return {
        layer: {name: am.ExactIndex.build(bundled_features[name, layer]) for name in am.models.BUNDLED}
        for layer in layers
    }


@pytest.fixture(scope="module")
def found(indexes):
    """Layer -> network -> the rows (N, 10) of its neighbours."""
    return {layer: {name: one.all_neighbours(10)[0] for name, one in of.items()} for layer, of in indexes.items()}


@pytest.fixture(scope="module")
def same(cartoons):
    labels = np.array(cartoons.labels)
    return labels[:, None] == labels


@pytest.fixture(scope="module")
def fusion(indexes):
    def fuse(method, layer="penultimate", depth=10):
        return am.Fusion(list(indexes[layer].values()), method, depth=depth)

    return fuse


def right(same, rows):
    return np.take_along_axis(same, rows, axis=1).astype(float)


def chances(same, found, depth, places):
    """Expected precision (N,) of a vote among all pictures, whose ties chance breaks: drawn 60 times."""
    count, rng = len(same), np.random.default_rng(5)
    votes = np.zeros((count, count))
    for rows in found.values():
        np.add.at(votes, (np.arange(count)[:, None], rows[:, :depth]), 1)
    candidates = np.argsort(-votes, axis=1, kind="stable")[:, : 4 * depth]
    votes, hits = np.take_along_axis(votes, candidates, axis=1), right(same, candidates)
    drawn = []
    for _ in range(60):
        order = np.argsort(rng.random(votes.shape) / 2 - votes, axis=1)[:, :places]
        drawn.append(np.take_along_axis(hits, order, axis=1).mean(axis=1))
    return np.mean(drawn, axis=0), (votes == votes[:, :1]).sum(axis=1)


def test_the_pictures(indexes, fusion):
    counts = []
    for query in QUERIES:
        counts.append(sum(fusion("vote", "logits").query(query, 4)["label"] == query.rpartition("/")[0]))
    assert counts == [4, 4, 3, 2, 2]
    lists = {name: index.query(DAMSELFLY, 10) for name, index in indexes["logits"].items()}
    ranks = pd.DataFrame({name: table.set_index("id")["rank"] for name, table in lists.items()})
    assert ranks.loc[DRAGONFLY].tolist()[1:] == [1, 1, 1] and np.isnan(ranks.loc[DRAGONFLY, SQUEEZENET])
    assert ranks.loc[SWORD].min() == 2 and ranks.loc[SWORD].notna().all()
    firsts = {method: fusion(method, "logits").query(DAMSELFLY, 1)["id"][0] for method in am.systems.METHODS}
    assert firsts == dict.fromkeys(("vote", "borda", "rrf", "combmnz"), SWORD) | {"combsum": DRAGONFLY}
    distance = lists[LITE1].set_index("id")["distance"]
    assert (distance[SWORD] - distance.min()) / (distance.max() - distance.min()) > 0.7


def test_the_vote_with_ties_by_chance(same, found, fusion, near):
    single = {layer: {name: right(same, rows)[:, 0].mean() for name, rows in of.items()} for layer, of in found.items()}
    assert all(max(of, key=of.get) == LITE2 for of in single.values())
    ten, tied = chances(same, found["logits"], 10, 1)
    near((tied > 1).mean(), "with lists of ten, the first place is tied for #% of the queries", within=0.006)
    near(ten.mean(), "broken by chance, P@1 is #, ~ points", within=0.003)
    near(100 * (single["logits"][LITE2] - ten.mean()), "# points below Lite2 and even", within=0.25)
    near(single["logits"][SQUEEZENET], "below SqueezeNet with #.")
    assert ten.mean() < min(single["logits"].values())
    by_rank = {
        (layer, depth): right(same, fusion("vote", layer, depth).all_neighbours(4)[0])
        for layer in found
        for depth in (4, 10)
    }
    near(by_rank["logits", 10][:, 0].mean(), "ties broken by rank, it is #, and the loss")
    four = chances(same, found["logits"], 4, 1)[0].mean()
    near(four, "lists of four have # by chance", within=0.003)
    near([by_rank["logits", 4][:, 0].mean(), single["logits"][LITE2]], "by chance and # by rank, and Lite2 has #;")
    penultimate = chances(same, found["penultimate"], 4, 1)[0].mean()
    near(penultimate, "penultimate layer, # and", within=0.003)
    near(100 * (single["penultimate"][LITE2] - penultimate), "Short lists lose # points at most", within=0.25)
    assert four > single["logits"][LITE2]
    near([by_rank["penultimate", 4][:, 0].mean(), single["penultimate"][LITE2]], "layer, ~ and # against #.")
    for layer in found:
        best = max(right(same, rows[:, :4]).mean() for rows in found[layer].values())
        for depth in (4, 10):
            assert chances(same, found[layer], depth, 4)[0].mean() > best
            assert by_rank[layer, depth].mean() > best


def test_the_best_column(same, found, fusion, near):
    vote = right(same, fusion("vote", "logits", 4).all_neighbours(4)[0]).mean(axis=1)
    four = {name: right(same, rows[:, :4]).mean(axis=1) for name, rows in found["logits"].items()}
    near((np.max(list(four.values()), axis=0) > vote).mean(), "For #% of the queries, some", within=0.006)
    more, fewer = ([change(one, vote).mean() for one in four.values()] for change in (np.greater, np.less))
    near([100 * min(more), max(more)], "more for only # to #%", within=0.5)
    near([100 * min(fewer), max(fewer)], "fewer for # to #%", within=0.5)
    assert [round(100 * end) for end in (min(more), max(more), min(fewer), max(fewer))] == [10, 12, 17, 29]


def test_fusions_and_the_graph(bundled_features, same, found, fusion, near):
    methods = {method: right(same, fusion(method).all_neighbours(5)[0]) for method in am.systems.METHODS}
    single = {name: right(same, rows[:, :5]) for name, rows in found["penultimate"].items()}
    for part in (lambda hits: hits[:, 0].mean(), lambda hits: hits.mean()):
        values = [part(hits) for hits in methods.values()]
        assert min(values) > max(part(hits) for hits in single.values()) and np.ptp(values) < 0.0115
    wins = methods["combsum"][:, 0] > single[LITE2][:, 0]
    losses = methods["combsum"][:, 0] < single[LITE2][:, 0]
    near([wins.sum(), losses.sum()], "Lite2 wrong for # queries; the reverse holds for #.", within=2)

    diffusion = am.Diffusion.build([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])
    edges = diffusion.graph.edges(DAMSELFLY)["id"].tolist()
    assert edges[:2] == [DRAGONFLY, SWORD]
    rows = diffusion.all_neighbours(10)[0]
    graph = right(same, rows[:, :5])
    five = [hits.mean() for hits in (single[LITE2], methods["combsum"], graph)]
    near(five, "P@5 rises from # for Lite2 and # for CombSUM to # for the graph")
    change = graph.mean(axis=1) - methods["combsum"].mean(axis=1)
    drawn = np.random.default_rng(1).choice(change, (500, len(change))).mean(axis=1)
    assert np.percentile(drawn, 2.5) > 0.02
    weights = diffusion.graph.weights.toarray()
    root = np.sqrt(weights.sum(axis=1))
    arrived = np.linalg.inv(np.eye(len(weights)) - 0.9 * weights / root / root[:, None])
    np.fill_diagonal(arrived, -1)
    order = np.argsort(-arrived, axis=1)[:, :10]
    near(am.measure.overlap(order, rows).mean(), "It shares #% of its answers", within=0.006)
    won = diffusion.ids[change.argmax()]
    assert (diffusion.query(won, 4)["label"] == "people").all() and won.startswith("people/")
    for rows_, expected in ((found["penultimate"][LITE2], "rpp-"), (fusion("combsum").all_neighbours(4)[0], "prhr")):
        ids = [diffusion.ids[row] for row in rows_[change.argmax(), :4]]
        kinds = ["r" if "rhino" in id else "h" if "/horses/" in id else "p" if "people/" in id else "-" for id in ids]
        assert "".join(kinds) == expected

    counts = {name: np.bincount(of.ravel(), minlength=len(of)) for name, of in found["penultimate"].items()}
    near(counts[LITE0].max(), "one hub of Lite0 is in #.", within=1)
    hubness = pd.DataFrame(counts | {"graph": np.bincount(rows.ravel(), minlength=len(rows))}).skew()
    assert hubness.idxmin() == "graph"


def test_the_toys(near, defined):
    weights = np.zeros((8, 8))
    for one, other in ((0, 1), (1, 2), (1, 3), (2, 3), (4, 5), (4, 6), (5, 6), (5, 7), (6, 7), (0, 4)):
        weights[one, other] = weights[other, one] = 1 if (one, other) == (0, 4) else 2
    root = np.sqrt(weights.sum(axis=1))
    arrived = 0.1 * np.linalg.solve(np.eye(8) - 0.9 * weights / np.outer(root, root), np.eye(8)[0])
    near([arrived[2], arrived[4]], "at C and D (#) than at E (#)", within=0.0005)
    weights[0, 4] = weights[4, 0] = 2
    root = np.sqrt(weights.sum(axis=1))
    arrived = 0.1 * np.linalg.solve(np.eye(8) - 0.9 * weights / np.outer(root, root), np.eye(8)[0])
    near([arrived[4], arrived[2]], "E, with # against #.", within=0.0005, of=SOLUTIONS)
    lists = [{"cat": 0.9, "dog": 0.5, "hen": 0.4}, {"cat": 0.8, "fox": 0.7, "dog": 0.3}]
    lists += [{"owl": 0.6, "dog": 0.5, "cat": 0.4}, {"fox": 0.9, "owl": 0.8, "dog": 0.1}]
    toy = pd.DataFrame(lists).T
    points = defined(NOTEBOOK, "fuse", pd=pd, similarity=toy)(toy, 3)
    assert points["RRF"].idxmax() == points["vote"].idxmax() == "dog" and points["Borda"].idxmax() == "cat"
    assert points["CombSUM"].rank(ascending=False)["dog"] == 4


def test_solutions(same, indexes, fusion, near):
    vote = {n: right(same, fusion("vote", "logits", n).all_neighbours(1)[0]).mean() for n in (1, 2, 4, 10, 20, 50)}
    near([vote[2], vote[4]], "four are best, with # and #.", of=SOLUTIONS)
    near(vote[1], "only first places to count (#)", of=SOLUTIONS)
    near([vote[10], vote[20], vote[50]], "fifty have #, # and #:", of=SOLUTIONS)
    pairs = {}
    for pair in combinations(am.models.BUNDLED, 2):
        fused = am.Fusion([indexes["penultimate"][name] for name in pair], "combsum", depth=10)
        pairs[pair] = right(same, fused.all_neighbours(5)[0])
    first = {pair: hits[:, 0].mean() for pair, hits in pairs.items()}
    assert max(first, key=first.get) == (LITE1, LITE2)
    near(first[LITE1, LITE2], "Lite1 with Lite2, # at P@1", of=SOLUTIONS)
    best = sorted(pairs, key=lambda pair: -pairs[pair].mean())[:3]
    assert not any(SQUEEZENET in pair for pair in best)


def test_drawn_by_another_hand(cartoons, store, near):
    folder, within = f"{store}-05", 0.007
    drawn = am.course.redrawn(cartoons, folder)
    features = am.extract(drawn, "bundled", "penultimate", store=f"{folder}/store", progress=False)
    subjects = np.repeat(np.arange(60), 3)
    similar = {name: cosines(made.vectors) for (name, _), made in features.items()}
    combined = 0
    for one in similar.values():
        low = np.where(np.isfinite(one), one, np.inf).min(axis=1, keepdims=True)
        combined = combined + (one - low) / (one.max(axis=1, keepdims=True) - low)
    first = {name: one.argmax(axis=1) for name, one in (similar | {"CombSUM": combined}).items()}
    parts = [am.ExactIndex.build(made) for made in features.values()]
    first["vote"] = am.Fusion(parts, "vote").all_neighbours(1)[0][:, 0]
    first["graph"] = am.Diffusion.build(list(features.values())).all_neighbours(1)[0][:, 0]
    recipe = am.systems.SAME_THING
    for name, view in (("same-thing", recipe.view), ("sharp", "")):
        made = replace(recipe, view=view).build(drawn, store=f"{folder}/store", progress=False)
        first[name] = made.all_neighbours(1)[0][:, 0]
    right = {name: (subjects[rows] == subjects).mean() for name, rows in first.items()}
    assert max(am.models.BUNDLED, key=right.get) == LITE2
    told = [right[name] for name in (LITE2, "vote", "CombSUM", "graph")]
    near(told, "the best single network, has a P@1 of #; the vote has #, CombSUM #, and the graph #,", within=within)
    near(right["same-thing"], "for this question, has #.", within=within)
    near(right["sharp"], "without the blur, P@1 is #.", within=within)
