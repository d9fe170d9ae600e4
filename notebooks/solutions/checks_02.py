"""The right answers to the exercises of lesson 2. V holds the vectors of the cartoons, of length 1."""

import numpy as np

import amulsearch as am


def distance_of_the_diagonal():
    """The angular distance of two vectors at 45 degrees: twice the sine of half the angle."""
    return 2 * np.sin(np.radians(45) / 2)


def near_pairs(exact, cartoons):
    """How many pairs are less than 0.23 apart, under different labels and in files that differ."""
    table, pairs = cartoons.table, set()
    rows, distances = exact.all_neighbours(min(100, len(cartoons) - 1))
    for row, place in np.argwhere(distances < 0.23):
        pair = table.loc[[row, rows[row, place]]]
        if pair["label"].nunique() == pair["digest"].nunique() == 2:
            pairs.add(frozenset(pair["id"]))
    return len(pairs)


def least_effort(short, k):
    """The smallest of five search_k at which one tree finds 90% of the true neighbours."""
    tree = am.AnnoyIndex.build(short, n_trees=1)
    found = (search_k for search_k in (100, 200, 400, 800, 1600) if tree.recall(k, search_k=search_k) >= 0.9)
    return next(found, None)


def between(V, cartoons):
    """The ids of the eight pictures with the largest sum of cosines with a banana and an apple."""
    pair = cartoons.choose(["food/fruit/banana.webp", "food/fruit/an_apple_01.webp"])
    total = sum(V @ V[cartoons.ids.index(id)] for id in pair)
    return {cartoons.ids[row] for row in np.argsort(-total, kind="stable")[:8]}
