"""The numbers that notebook 03 and its solutions state."""

import math

import numpy as np
import pandas as pd
import pytest
from plain import cosines, measures, neighbours

import amulsearch as am

NOTEBOOK, SOLUTIONS = "03_is_it_right", "solutions/03_is_it_right"
WITHIN = 0.002
WRONG = {1: "later = 0.6", 2: "wider = 10.0", 3: "exact = exact / 2", 4: "broad = 0.609"}
LITE2 = "tf_efficientnet_lite2"
PANCAKES = "food/breads_and_carbs/pancakes_ganson.webp"
SIGN = "transportation/roadsigns/roundabout.webp"


@pytest.fixture(scope="module")
def labels(cartoons):
    return np.array(cartoons.labels)


@pytest.fixture(scope="module")
def similar(bundled_features):
    return {layer: cosines(bundled_features[LITE2, layer].vectors) for layer in ("penultimate", "logits")}


@pytest.fixture(scope="module")
def orders(similar):
    """The rows of all other pictures by cosine, nearest first, (N, N - 1), by layer."""
    return {layer: neighbours(one) for layer, one in similar.items()}


@pytest.fixture(scope="module")
def relevant(orders, labels):
    return {layer: labels[order] == labels[:, None] for layer, order in orders.items()}


@pytest.fixture(scope="module")
def means(similar, labels):
    """P@1, P@5 and mAP by layer."""
    return {layer: measures(one, labels).mean() for layer, one in similar.items()}


def test_the_pancakes(cartoons, orders, relevant, near):
    row = cartoons.ids.index(PANCAKES)
    names = [cartoons.ids[place].split("/")[-1] for place in orders["penultimate"][row, :5]]
    starts = ["pancake.", "pancakes_berries", "gelato", "hash_browns", "pie_cherry"]
    assert all(name.startswith(start) for name, start in zip(names, starts, strict=True)), names
    right = relevant["penultimate"][row]
    ranks = np.flatnonzero(right) + 1
    near(ranks[:3], "The neighbours at ranks #, # and # are relevant", within=0)
    near((np.arange(1, len(ranks) + 1) / ranks).mean(), "The pancakes have an AP of only #:")
    near(ranks[[3, -1]], "comes at rank # and the last at rank #.", within=0)
    near(len(ranks), "a folder of 26 among 1,631 pictures, # of the 1,630 others", within=0)


def test_precision_and_chance(labels, relevant, means, near):
    curve = [relevant["penultimate"][:, :k].mean() for k in (1, 5, 20)]
    near(curve, "falls from # at k = 1 to # at 5 and # at 20")
    lower = [relevant["logits"][:, :k].mean() < relevant["penultimate"][:, :k].mean() for k in range(1, 21)]
    assert all(lower)
    chance = (pd.Series(labels).value_counts() * (pd.Series(labels).value_counts() - 1)).sum() / 1631 / 1630
    near(chance, "and chance is #, what is P@20?", within=0.0005)
    assert 8 < curve[2] / chance < 9
    near(25 / 1630, "with a probability of 25/1630 = #.", within=0.0005)
    near([means["penultimate"]["mAP"], means["logits"]["mAP"]], "it is # for the penultimate layer and # for the")
    near(means["logits"]["P@1"], "at P@1, the logits have ~, not #.", within=0.0005)
    assert pd.Series(labels).value_counts()["electronics/bulb"] == 9


def test_the_interval(relevant, near):
    values = relevant["penultimate"][:, 0].astype(float)
    rng = np.random.default_rng(5)
    ends = np.percentile([rng.choice(values, len(values)).mean() for _ in range(2000)], [2.5, 97.5])
    near(ends, "The interval goes from # to #, so", within=0.004)
    near(values.mean(), "and #% say yes", within=0.005)
    assert round((ends[1] - ends[0]) * 50) == 2  # give or take 2 points


def test_the_paired_test(relevant, means, near):
    first, second = (relevant[layer][:, 0] for layer in ("penultimate", "logits"))
    wins, losses = int((first & ~second).sum()), int((~first & second).sum())
    near([wins, losses], "There are # wins and # losses", within=1)
    near((first == second).sum(), "for # of the 1,631 queries", within=2)
    coins = wins + losses
    p = 2 * sum(math.comb(coins, heads) for heads in range(wins, coins + 1)) / 2**coins
    assert 0.0007 < p < 0.002  # once in a thousand
    near(p, "The exact value is #.", of=SOLUTIONS, within=0.0002)
    near([means[layer]["P@1"] for layer in means], "P@1 is # for the penultimate layer and # for the logits, and")
    near(100 * (first.mean() - second.mean()), "is still small, # points", within=0.2)
    near(100 * 2 * (1 + 8) / 2**8, "coins stray as far from 0 in # of 100 trials", within=0.5)
    ways = math.comb(8, 7) + math.comb(8, 8)
    text = "`math.comb(8, 7) + math.comb(8, 8)` are # of #; doubled, since tails may lead as well, #,"
    near([ways, 2**8, 2 * ways], text, within=0)


def test_the_road_sign_and_wrong_first_neighbours(cartoons, labels, orders, relevant, near):
    row = cartoons.ids.index(SIGN)
    places = orders["penultimate"][row, :5]
    assert [cartoons.ids[place].split("/")[-1] for place in places[:2]] == ["bambi.webp", "horse.webp"]
    assert labels[places].tolist() == ["transportation"] * 2 + ["transportation/roadsigns"] * 3
    top = np.array([label.split("/")[0] for label in labels])
    first = orders["penultimate"][:, 0]
    wrong = ~relevant["penultimate"][:, 0]
    near(
        [wrong.sum(), (wrong & (top[first] == top)).sum()], "Of the # first neighbours that count as wrong, #", within=2
    )
    sizes = pd.Series(top).value_counts()
    broad, chance = (top[first] == top).mean(), (sizes * (sizes - 1)).sum() / 1631 / 1630
    near([0.609, broad], "P@1 rises from # to #, and", of=SOLUTIONS)
    near([0.033, chance], "rises from # to #. Ten", of=SOLUTIONS)
    assert len(sizes) == 10 and len(set(labels)) == 49


def test_folders(labels, relevant, near):
    by_folder = pd.Series(relevant["penultimate"][:, 0].astype(float)).groupby(labels).agg(["mean", "sum", "size"])
    by_folder = by_folder[by_folder["size"] >= 20].sort_values("mean")
    assert [by_folder.index[0], by_folder.index[-1]] == ["electronics", "people/stickmen"]
    near(by_folder.iloc[-1][["size", "sum"]], "Of the # stickmen, # find a stickman first", within=0)
    near(by_folder.iloc[0][["sum", "size"]], "only # of # pictures find another one", within=0)


def test_the_exercise_on_paper(near):
    near((1 / 3 + 2 / 4 + 3 / 5) / 3, "It is #, about half", of=SOLUTIONS)
    near((1 + 1 + 3 / 4) / 3, "about half of the # for ranks 1, 2 and 4", of=SOLUTIONS)


def test_the_library_agrees_where_the_notebook_says_so(executed):
    variables = executed(NOTEBOOK, until="am.measure.differences")
    assert variables["chance"] == pytest.approx(am.measure.chance_level(variables["cartoons"].labels))
    interval = variables["evaluations"]["penultimate"].interval("P@1")
    assert [variables["low"], variables["high"]] == pytest.approx(interval, abs=0.004)
    result = am.measure.differences(variables["pair"], ["P@1"])
    assert variables["p"] == pytest.approx(result["p"].item(), abs=0.001)
    assert [variables["wins"], variables["losses"]] == result[["wins", "losses"]].iloc[0].tolist()
