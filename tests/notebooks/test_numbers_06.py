"""The numbers that lesson 6 and its solutions state."""

import numpy as np
import pandas as pd
import pytest
from plain import cosines

import amulsearch as am

NOTEBOOK, SOLUTIONS = "06_layers_and_pooling", "solutions/06_layers_and_pooling"
WITHIN = 0.0011  # pictures that are the same are ordered in several ways
WRONG = {1: "depth = 5", 2: "narrowest = 256", 3: "all_four = 0.615"}
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
LITES = (LITE0, LITE1, LITE2)
STAGES = ["blocks.1.0.bn1", "blocks.2.0.bn1", "blocks.3.0.bn1", "blocks.5.0.bn1", "last"]
INNER = {SQUEEZENET: "features.9:gem"} | dict.fromkeys(LITES, "blocks.5:gem")
VIOLIN = "recreation/music/violin_colour_ganson.webp"
LION = "animals/mammals/big_cats/leone_architetto_frances_01.webp"


@pytest.fixture(scope="module")
def features(cartoons, store):
    """The layers that the notebook uses."""
    layers = {name: ["logits", "penultimate", "last:gem", INNER[name]] for name in am.models.BUNDLED}
    layers[LITE0] += [f"{stage}:{pooling}" for stage in STAGES for pooling in ("mean", "gem")]
    layers = {name: list(dict.fromkeys(of)) for name, of in layers.items()}
    return am.extract(cartoons, list(am.models.BUNDLED), layers, store=store, progress=False)


@pytest.fixture(scope="module")
def measure(cartoons):
    """Vectors (N, D) -> whether the first neighbour is right (N,), and the first five (N, 5)."""
    labels = np.array(cartoons.labels)

    def of(*parts):
        units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
        similar = sum(unit @ unit.T for unit in units)
        np.fill_diagonal(similar, -9)
        right = labels[np.argsort(-similar, axis=1, kind="stable")[:, :5]] == labels[:, None]
        return right[:, 0].astype(float), right.mean(axis=1)

    return of


@pytest.fixture(scope="module")
def first(features, measure):
    return {key: measure(made.vectors) for key, made in features.items()}


def interval(change):
    drawn = np.random.default_rng(1).choice(100 * change, (1000, len(change))).mean(axis=1)
    return np.percentile(drawn, [2.5, 97.5])


def changes(first, names, layer, other):
    """Mean changes in points at P@1 and P@5, by network, and whether an interval holds 0."""
    pairs = [[first[name, layer][at] - first[name, other][at] for name in names] for at in (0, 1)]
    means = [[round(100 * change.mean(), 1) for change in part] for part in pairs]
    holds = [[interval(change)[0] <= 0 <= interval(change)[1] for change in part] for part in pairs]
    return means, holds


def test_the_toy_and_the_channel(defined, executed, near):
    gem = defined(NOTEBOOK, "gem", np=np, pd=pd)
    assert gem(np.array([3, 6] + [0] * 7)) == pytest.approx(3)
    ran = executed(NOTEBOOK, until='print(f"mean {channel.mean()')
    near([ran["channel"].mean(), gem(ran["channel"])], "pull the mean down to #; GeM stays at #.", within=0.06)
    assert ran["channel"].max() == pytest.approx(6) and np.allclose(
        ran["by_hand"], am.models.pool(ran["last"], "gem")[0]
    )


def test_depths(first, near):
    assert am.models.load(LITE0).stages()["node"].tolist() == STAGES
    assert am.models.load(LITE0).stages()["shape"].tolist()[2:4] == [(240, 28, 28), (672, 14, 14)]
    curve = {
        pooling: np.array([first[LITE0, f"{stage}:{pooling}"][0].mean() for stage in STAGES])
        for pooling in ("mean", "gem")
    }
    near(curve["gem"][[0, -1]], "With GeM, P@1 rises from # to #.")
    steps = np.diff(curve["gem"])
    assert steps.argmax() == np.diff(curve["mean"]).argmax() == 2
    near(steps[2], "to 14 x 14, P@1 rises by #.")
    gaps = curve["gem"] - curve["mean"]
    assert [round(gap, 2) for gap in (gaps[:4].min(), gaps[:4].max())] == [0.04, 0.07]
    near([gaps[:4].min(), gaps[:4].max(), gaps[4]], "by # to # in the inner layers and by # at", within=0.006)
    shallow, last = first[LITE0, f"{STAGES[0]}:gem"][0], first[LITE0, "last:gem"][0]
    near([(shallow > last).sum(), (shallow < last).sum()], "rare: # queries against #", within=2)
    assert 9 < shallow.mean() / 0.033 < 11


def test_the_chance_level(cartoons, near):
    near(am.measure.chance_level(cartoons.labels), "ten times better than chance, #.", within=0.0005)


def test_small_steps(first, near):
    everyone = am.models.BUNDLED
    (one, five), holds = changes(first, everyone, "last:gem", "penultimate")
    near([min(one), max(one)], "the gain is # to # points, and every", within=0.11)
    near([min(five), max(five)], "At P@5 it is # to # points", within=0.11)
    assert all(holds[0]) and not any(holds[1])
    (one, five), holds = changes(first, LITES, "penultimate", "logits")
    near([min(one), max(one), min(five), max(five)], "by # to # points at P@1 and # to # at P@5", within=0.11)
    assert not any(holds[0] + holds[1])
    (one, five), _ = changes(first, [SQUEEZENET], "penultimate", "logits")
    near([one[0], five[0]], "SqueezeNet gains # points at P@1, # at P@5", within=0.11)


def test_joined(features, first, measure, near):
    joined = {
        name: measure(features[name, "last:gem"].vectors, features[name, INNER[name]].vectors)
        for name in am.models.BUNDLED
    }
    both = first | {(name, "joined"): hits for name, hits in joined.items()}
    both |= {(name, "inner"): first[name, INNER[name]] for name in am.models.BUNDLED}
    losses = [-change for change in changes(both, am.models.BUNDLED, "inner", "last:gem")[0][0]]
    near([min(losses), max(losses)], "worse than the last map by # to # points", within=0.11)
    (one, _), holds = changes(both, [LITE0, LITE1], "joined", "last:gem")
    near(one, "gain # points in Lite0 and # in Lite1", within=0.11)
    assert not any(holds[0])
    (one, _), holds = changes(both, [SQUEEZENET, LITE2], "joined", "last:gem")
    near(one, "gains of # in SqueezeNet and # in Lite2 could be luck", within=0.11)
    assert all(holds[0])


def test_the_two_grids(features):
    def right(query, layer):
        return (am.ExactIndex.build(features[LITE0, layer]).query(query, 4)["label"] == query.rpartition("/")[0]).sum()

    assert [right(VIOLIN, f"{stage}:gem") for stage in STAGES] == [0, 0, 0, 1, 4]
    assert [right(LION, f"{stage}:gem") for stage in STAGES] == [3, 0, 0, 0, 0]
    found = {
        layer: am.ExactIndex.build(features[LITE0, layer]).query(VIOLIN, 4)["id"].str.split("/").str[-1].tolist()
        for layer in (f"{STAGES[0]}:gem", f"{STAGES[3]}:gem", "last:gem", "logits")
    }
    shallow, fourth, last, logits = found.values()
    starts = [("dog_04", "bread_01", "glace_01", "clown_loach"), ("violin_ganson", "dog", "dog", "")]
    starts.append(("violin", "cello", "guitar", "guitar"))
    for ids, begins in zip((shallow, fourth, last), starts, strict=True):
        assert all(id.startswith(begin) for id, begin in zip(ids, begins, strict=True)), ids
    assert set(last) == set(logits)


def test_solutions(features, first, measure, near):
    last = features[SQUEEZENET, "last:gem"]
    narrow = {width: measure(am.transforms.PCA.fit(last, width)(last).vectors)[0].mean() for width in (8, 32, 128)}
    near([narrow[128], first[SQUEEZENET, "last:gem"][0].mean()], "SqueezeNet have #, all 512 numbers #;", of=SOLUTIONS)
    near([narrow[32], narrow[8]], "P@1 falls to #, and with 8 to #.", of=SOLUTIONS)
    joined = measure(*(features[name, "last:gem"].vectors for name in am.models.BUNDLED))[0].mean()
    best = first[LITE1, "last:gem"][0].mean()
    assert best == max(first[name, "last:gem"][0].mean() for name in am.models.BUNDLED)
    near(joined, "It has #,", of=SOLUTIONS)
    near(100 * (joined - best), "# points above the best single network", of=SOLUTIONS, within=0.11)
    near(best, "(Lite1 by GeM, #)", of=SOLUTIONS)


def test_the_hand_and_the_thing(cartoons, store, near):
    drawn = am.course.redrawn(cartoons, f"{store}-06")
    nodes = [f"{stage}:gem" for stage in STAGES]
    features = am.extract(drawn, LITE0, nodes, store=f"{store}-06/store", progress=False)
    subjects, hands = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    alike = {}
    for node in nodes:
        first = cosines(features[LITE0, node].vectors).argmax(axis=1)
        alike[node] = [(hands[first] == hands).mean(), (subjects[first] == subjects).mean()]
    told = "#% of the nearest neighbours are by the same hand (#% by chance) and #% of the same subject (#% by chance)"
    (hand, subject), within = alike[nodes[0]], 0.006
    near([hand, 59 / 179, subject, 2 / 179], told, within=within)
    near(alike[nodes[3]][::-1], "the thing wins, #% against #%", within=within)
    near(alike[nodes[-1]][0], "in the last map, #% are still by", within=within)
