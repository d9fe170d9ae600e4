"""The numbers that notebook 05 and its solutions state."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

NOTEBOOK, SOLUTIONS = "05_ensembles", "solutions/05_ensembles"
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
BULB = "electronics/bulb/bulb.webp"
DAMSELFLY = "animals/bugs/damselfly_leigh_purdie_r.webp"
BUTTERFLY = "animals/bugs/farfalla_contorno_archit_01.webp"
DRAGONFLY = "animals/bugs/blue_dragonfly_ghuul_ghu_01.webp"
SWORD = "tools/weapons/longsword_01.webp"
PLANE = "transportation/vehicles/aircraft_jarno_vasamaa4.webp"


@pytest.fixture(scope="module")
def indexes(bundled_features):
    return {model: am.ExactIndex.build(bundled_features[model, "penultimate"]) for model in am.models.BUNDLED}


@pytest.fixture(scope="module")
def found(indexes):
    return {model: index.all_neighbours(50) for model, index in indexes.items()}


@pytest.fixture(scope="module")
def fusion(indexes):
    """`fusion(method, depth)`: of the four networks, from their first neighbours."""

    def fuse(method, depth=10):
        return am.Fusion(list(indexes.values()), method, depth=depth)

    return fuse


@pytest.fixture(scope="module")
def hits(cartoons):
    """Rows (N, k) -> P@1 of each query, and P@5."""

    def of(rows):
        same = am.measure.same_label(rows[:, :5], cartoons.labels)
        return same[:, 0], same.mean(axis=1)

    return of


def right(table, label):
    return (table["label"] == label).tolist()


def test_what_is_said_of_the_bulb_and_the_butterfly(indexes, fusion):
    panel = am.Panel(indexes)
    lists = panel.query(BULB, 10)
    vote = fusion("vote").query(BULB, 10)
    assert (vote["score"] == 3).sum() == 5
    assert vote["score"].max() == 3
    assert right(vote.head(5), "electronics/bulb") == [True] * 4 + [False]
    assert max(sum(right(table.head(4), "electronics/bulb")) for table in lists.values()) == 3

    lists = panel.query(BUTTERFLY, 10)
    assert [sum(right(table.head(4), "animals/bugs")) for table in lists.values()] == [3, 0, 0, 0]
    for method in ("vote", "combsum"):
        assert not any(right(fusion(method).query(BUTTERFLY, 4), "animals/bugs"))
    assert fusion("vote").query(BUTTERFLY, 1)["score"].iloc[0] == 4


def test_what_is_said_of_the_damselfly(indexes, fusion):
    lists = am.Panel(indexes).query(DAMSELFLY, 10)
    rank = pd.DataFrame({model: table.set_index("id")["rank"] for model, table in lists.items()})
    assert rank.loc[DRAGONFLY].tolist()[1:] == [1, 1, 1]
    assert np.isnan(rank.loc[DRAGONFLY, SQUEEZENET])
    assert rank.loc[PLANE].tolist() == [2, 5, 8, 10]
    assert rank.loc[SWORD, [SQUEEZENET, LITE1]].tolist() == [1, 5]
    order = {method: fusion(method).query(DAMSELFLY, 4)["id"].tolist() for method in am.systems.METHODS}
    assert order["vote"][:3] == [SWORD, PLANE, DRAGONFLY]
    assert order["rrf"] == order["vote"]
    assert order["combsum"][0] == DRAGONFLY
    assert order["borda"][:2] == order["combmnz"][:2] == [SWORD, DRAGONFLY]


def test_ties(fusion, near):
    _, votes = fusion("vote").all_neighbours(40)
    tied = (votes == votes[:, :1]).sum(axis=1)
    near((tied > 1).mean(), "leaves the first place open for # % of the queries", within=0.006)
    near(tied.mean(), "On average, # pictures have the most votes", within=0.06)


def test_precision(found, fusion, hits, near):
    rows, votes = fusion("vote").all_neighbours(40)
    order = np.argsort(-(votes + np.random.default_rng(0).random(votes.shape)), axis=1)
    systems = {model: rows for model, (rows, _) in found.items()}
    systems["random ties"] = np.take_along_axis(rows, order, axis=1)
    systems |= {f"vote {n}": fusion("vote", n).all_neighbours(10)[0] for n in (4, 10)}
    methods = ["borda", "rrf", "combsum", "combmnz"]
    systems |= {method: fusion(method).all_neighbours(10)[0] for method in methods}
    table = pd.DataFrame({name: [part.mean() for part in hits(rows)] for name, rows in systems.items()}).T
    for name, sentence in {
        "random ties": "the vote of 10 has a P@1 of #.",
        LITE2: "best single network, `lite2`, has #",
        SQUEEZENET: "the weakest, `squeezenet1_1`, #.",
        "vote 10": "It reaches # at P@1",
        "vote 4": "do not count at all, reaches #.",
        "combsum": "`combsum` has the highest P@1, #.",
    }.items():
        near(table[0][name], sentence)
    models = list(am.models.BUNDLED)
    assert table[0][models].idxmax() == LITE2
    assert table[0]["combsum"] > table[0].max() - 0.003
    assert table[0]["random ties"] < table[0][models].min() + 0.003
    assert table[1]["random ties"] > table[1][models].max()
    assert (table.loc[methods] > table.loc[models].max()).all(axis=None)
    gain = 100 * (table[1][methods] - table[1][LITE2])
    assert ((gain > 1.5) & (gain < 2.5)).all()


def test_wins_and_losses(found, fusion, hits, near, stated):
    fused, _ = hits(fusion("combsum").all_neighbours(10)[0])
    single, _ = hits(found[LITE2][0])
    wins, losses = int((fused > single).sum()), int((fused < single).sum())
    near([wins, losses], "`lite2` wrong for # pictures, and the other way round for #.", within=3)
    assert stated(NOTEBOOK, "For those # pictures") == stated(NOTEBOOK, "the other way round for #.")
    thrown = wins + losses
    near(thrown, "A fair coin tossed # times", within=5)
    chance = 2 * sum(comb(thrown, heads) for heads in range(max(wins, losses), thrown + 1)) / 2**thrown
    assert 1 / chance == pytest.approx(stated(NOTEBOOK, "about one time in #"), rel=0.4)


def test_solutions(indexes, fusion, hits, bundled_features, near):
    vote = {n: hits(fusion("vote", n).all_neighbours(10)[0])[0].mean() for n in (2, 50)}
    near([vote[2], vote[50]], "falls from # with lists of two to # with", of=SOLUTIONS)
    steady = [hits(fusion("combsum", n).all_neighbours(10)[0])[0].mean() for n in (4, 10, 20, 50)]
    assert np.ptp(steady) < 0.005

    pairs = {
        pair: [
            part.mean()
            for part in hits(am.Fusion([indexes[name] for name in pair], "combsum", depth=10).all_neighbours(10)[0])
        ]
        for pair in combinations(am.models.BUNDLED, 2)
    }
    table = pd.DataFrame(pairs).T
    assert table[0].idxmax() == (LITE1, LITE2)
    near(table[0].max(), "`lite1` with `lite2`, # at", of=SOLUTIONS)
    assert all(SQUEEZENET not in pair for pair in table[1].nlargest(3).index)

    both = [bundled_features[name, layer] for name in am.models.BUNDLED for layer in ("logits", "penultimate")]
    first, five = (part.mean() for part in hits(am.Fusion(both, "combsum", depth=10).all_neighbours(10)[0]))
    near([first, five], "it is not: # against ~ at P@1 and # against", of=SOLUTIONS)


def test_what_is_said_of_the_graph(bundled_features, fusion, found, hits, near, stated):
    from scipy.stats import skew

    index = am.Diffusion.build([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])
    edges = index.graph.edges(DAMSELFLY).set_index("id")
    assert edges.index[0] == DRAGONFLY and (edges.loc[DRAGONFLY].iloc[3:] == 1).sum() == 3
    assert edges.loc[PLANE, "score"] < edges.loc[DRAGONFLY, "score"] / 5
    assert set(index.query(DAMSELFLY, 4)["id"]) == set(fusion("combsum").query(DAMSELFLY, 4)["id"])

    rows = index.all_neighbours(10)[0]
    graph, single = hits(rows), hits(found[LITE2][0])
    combsum = hits(fusion("combsum").all_neighbours(10)[0])
    near([np.nanmean(graph[0]), np.nanmean(graph[1])], "the graph has a P@1 of # and a P@5 of #", within=0.002)
    near([np.nanmean(combsum[0]), np.nanmean(combsum[1])], "P@5 of ~; `combsum` has # and #", within=0.002)
    wins, losses = ((graph[0] > single[0]).sum(), (graph[0] < single[0]).sum())
    near(wins, "The graph is right where `lite2` is wrong for # pictures", within=3)
    near(losses, "the reverse holds for #.", within=3)
    tossed = wins + losses
    assert 2 * sum(comb(int(tossed), at) for at in range(int(losses) + 1)) / 2 ** int(tossed) < 1 / 2000

    hubness = {name: skew(np.bincount(r[:, :10].ravel(), minlength=len(r))) for name, (r, _) in found.items()}
    near([min(hubness.values()), max(hubness.values())], "it is between # and #", within=0.02)
    of_graph = skew(np.bincount(rows.ravel(), minlength=len(rows)))
    near(of_graph, "for the networks, and # for the graph", within=0.02)
