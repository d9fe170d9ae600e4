"""The numbers that notebook 03 and its solutions state about the bundled cartoons."""

import numpy as np
import pandas as pd
import pytest
from PIL import ImageOps

import amulsearch as am

annoy = pytest.importorskip("annoy")
NOTEBOOK = "03_nearest_neighbours"
SOLUTIONS = f"solutions/{NOTEBOOK}"
NAME = am.models.BUNDLED[-1]
GUITAR = "recreation/music/guitar_jarno_vasamaa1.webp"


@pytest.fixture(scope="module")
def vectors(bundled_features) -> am.Features:
    return bundled_features[NAME, "penultimate"]


@pytest.fixture(scope="module")
def exact(vectors) -> am.ExactIndex:
    return am.ExactIndex.build(vectors)


def test_queries(exact, bundled_features, near):
    assert all("guitar" in id for id in exact.query(GUITAR, 4)["id"])
    found = exact.query(ImageOps.mirror(bundled_features.collection.open(GUITAR)), 2)
    assert found["id"][0] == GUITAR
    near(found["distance"][0], "first at a distance of #", within=0.01)
    near(found["distance"][1], "than the second at #", within=0.01)


def test_what_a_distance_says(exact, bundled_features, near):
    cartoons = bundled_features.collection
    asked = cartoons.sample(500)
    first = pd.concat([exact.query(id, 1) for id in asked]).set_axis(asked).sort_values("distance")
    right = first["label"] == pd.Series(cartoons.labels, index=cartoons.ids)[first.index]
    # two pictures of the 125
    near(right.iloc[:125].mean(), "#% of the queries in the nearest quarter", within=0.017)
    near(right.iloc[-125:].mean(), "in the farthest quarter, #%", within=0.017)
    near(first["distance"].iloc[-5:], "neighbours are about # away", within=0.05)


def test_recall(vectors, tmp_path, near, stated):
    index = am.AnnoyIndex.build(vectors, n_trees=50)
    recall = stated(NOTEBOOK, "recall on the bundled cartoons is #,")
    assert recall == pytest.approx(index.recall(10), abs=0.003)
    one, five = (am.AnnoyIndex.build(vectors, n_trees=n_trees) for n_trees in (1, 5))
    recall = one.recall(10, sample=50, search_k=1000)
    near(recall, "one tree with `search_k=1000` finds #:", within=0.015)
    assert recall < one.recall(10, sample=50, search_k=2000) == 1
    recall = five.recall(10, sample=50, search_k=1000)
    near(recall, "with `search_k=1000` are hardly better, #,", within=0.015)

    # A tree with one split has a root, two leaves, and a copy of the root at the end; a second split, in a tenth of the
    # trees, adds a node and a leaf. A node has three integers and a vector.
    width = vectors.vectors.shape[1]
    file = next(index.save(tmp_path / "index").rglob("*.ann"))
    nodes = file.stat().st_size / (4 * (3 + width)) - len(vectors)
    assert nodes / 50 == pytest.approx(0.9 * 4 + 0.1 * 6, abs=0.1)
    near(width, "vectors have numbers, here #.", within=0)
    deep = len(vectors) / (32 + 2) * (width + 2)  # pictures for as many leaves, with full vectors
    assert stated(NOTEBOOK, "as one over # pictures") == pytest.approx(deep, rel=0.1)


def test_curves(vectors, near):
    unit = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    short = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -32:]
    fifty, one = (am.AnnoyIndex.build(short, vectors.ids, n_trees=n_trees) for n_trees in (50, 1))
    recall = [fifty.recall(10, sample=100, search_k=search_k) for search_k in (10, 100, 1000)]
    near(recall, "recall rises from # at `search_k=10` to # at 100 and # at 1000", within=0.02)
    near(one.recall(10, sample=100, search_k=100), "At `search_k=100`, one tree finds #", within=0.02)


def test_annoy_alone_opens_the_index_of_another_network(bundled_features, tmp_path):
    other = bundled_features[am.models.BUNDLED[-2], "penultimate"]
    path = next(am.AnnoyIndex.build(other, n_trees=5).save(tmp_path / "other").rglob("*.ann"))
    assert annoy.AnnoyIndex(bundled_features[NAME, "penultimate"].vectors.shape[1], "angular").load(str(path))


def test_solution_1(exact, bundled_features, near):
    digest = dict(zip(exact.ids, bundled_features.collection.table["digest"], strict=True))
    first = [(id, exact.query(id, 1).iloc[0]) for id in exact.ids]
    pairs = {
        frozenset((id, row["id"])) for id, row in first if row["distance"] < 0.15 and digest[id] != digest[row["id"]]
    }
    near(len(pairs), "there are # such pairs", of=SOLUTIONS, within=0)


def test_solution_2(exact):
    pair = ["food/fruit/banana.webp", "food/fruit/an_apple_01.webp"]
    found = exact.query(sum(exact.vector(id) for id in pair), 3)["id"].tolist()
    assert set(found[:2]) == set(pair) and "orange" in found[2]


def test_solution_3(vectors, bundled_features, near):
    labels = np.array(bundled_features.collection.labels)
    metrics = ("angular", "euclidean", "manhattan")
    found = {metric: am.ExactIndex.build(vectors, metric=metric).all_neighbours(10)[0] for metric in metrics}
    right = {metric: (labels[rows] == labels[:, None]).mean() for metric, rows in found.items()}
    sets = {metric: [set(row) for row in rows.tolist()] for metric, rows in found.items()}
    shared = {
        metric: np.mean([len(one & other) for one, other in zip(sets[metric], sets["angular"], strict=True)]) / 10
        for metric in metrics
    }
    near(shared["euclidean"], "Euclidean distance keeps #%", of=SOLUTIONS, within=0.01)
    near(shared["manhattan"], "Manhattan distance #%", of=SOLUTIONS, within=0.01)
    near([right[metric] for metric in metrics], "only slightly, from # to # and #.", of=SOLUTIONS)
