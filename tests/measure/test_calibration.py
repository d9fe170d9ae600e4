"""The probability that a neighbour is relevant: against made-up odds, by hand, and on labels that took no part."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.index import evidence, unlikely_from
from amulsearch.measure import calibrate, calibrated


@pytest.fixture(scope="module")
def index(bundled_features):
    return am.ExactIndex.build(bundled_features["tf_efficientnet_lite2", "penultimate"])


@pytest.fixture(scope="module")
def labels(cartoons):
    return am.Relevance.from_labels(cartoons.ids, cartoons.labels)


def test_a_calibration_is_displayed_without_its_bins():
    found = am.indexes.Calibration(1.5, -1.0, ((0.1, 0.1, 20), (0.3, 0.2, 10)))
    assert repr(found) == "Calibration(slope=1.5, intercept=-1.0)"


def test_known_odds_are_found_again():
    """Relevance is drawn with the odds exp(1.5 x - 1): the fit finds 1.5 and -1."""
    chance, count = np.random.default_rng(0), 600
    ids = [f"{row:03}.png" for row in range(count)]
    index = am.ExactIndex.build(np.array([2.0, 0, 0]) + chance.standard_normal((count, 3)), ids)
    far = np.sqrt(np.maximum(2 - 2 * index.similarities(np.arange(count)).astype(float), 0))
    similar = np.clip(1 - far**2 / 2, 0, 1)
    odds = np.exp(1.5 * np.log((similar + 0.01) / (1.01 - similar)) - 1)
    drawn = (chance.random(odds.shape) < odds / (1 + odds)).astype(np.float32)
    relevance = am.Relevance(ids, [None] * count, lambda rows: drawn[rows])
    found = calibrate(index, relevance, k=count - 1)
    assert (found.slope, found.intercept) == (pytest.approx(1.5, abs=0.05), pytest.approx(-1, abs=0.05))
    assert found.ece < 0.01
    distances = np.array([0.0, 0.4, 1.0, 1.5])
    by_hand = 1 / (1 + np.exp(-(found.slope * evidence(distances) + found.intercept)))
    assert np.allclose(found.probability(distances), by_hand) and (np.diff(by_hand[:3]) < 0).all()


def test_labels_that_took_no_part(all_features, all_preset):
    """The preset's probabilities hold for categories that took no part; so does the arithmetic of the error."""
    preset, features = all_preset, all_features["tf_efficientnet_lite2", "penultimate"]
    labels = am.Relevance.from_labels(features.ids, features.labels)
    found = calibrate(preset, labels)
    assert found.ece < 0.03 and found.slope > 1
    table = found.table
    assert table["pairs"].sum() == 20 * len(preset)
    by_hand = (table["pairs"] * (table["predicted"] - table["relevant"]).abs()).sum() / table["pairs"].sum()
    assert found.ece == pytest.approx(by_hand)
    assert table["predicted"].is_monotonic_increasing and table["relevant"].iloc[-1] > 0.8 > table["relevant"].iloc[0]
    assert calibrate(am.ExactIndex.build(features), labels).ece < 0.05
    assert calibrate(preset, labels) == found, "the same seed divides the labels in the same way"
    sampled = calibrate(preset, labels, sample=300, k=5)
    assert sampled.table["pairs"].sum() == 1500


def test_a_label_does_not_predict_itself():
    """One label's pictures are all alike, the others' are not: predictions for it come from the others only."""
    chance, count = np.random.default_rng(1), 120
    names = [f"label {row // 20}" for row in range(count)]
    ids = [f"{row:03}.png" for row in range(count)]
    vectors = chance.standard_normal((count, 8))
    vectors[:20] = 3 * np.eye(8)[0] + 0.1 * vectors[:20]
    index = am.ExactIndex.build(vectors, ids)
    found = calibrate(index, am.Relevance.from_labels(ids, names), k=10)
    assert found.ece > 0.1, "the tight label surprises a fit to the others"


def test_the_table_has_the_probability_and_the_index_keeps_it(index, labels, tmp_path):
    copy = dataclasses.replace(calibrate(index, labels))
    index.calibration = None
    plain = index.query(index.ids[5], 6)
    assert "probability" not in plain and unlikely_from(plain) is None
    index.calibration = copy
    try:
        table = index.query(index.ids[5], 6)
        assert table.columns.tolist()[:4] == ["rank", "id", "distance", "probability"]
        assert np.array_equal(table["probability"], copy.probability(plain["distance"]))
        opened = am.ExactIndex.open(index.save(tmp_path / "index"))
        assert opened.calibration.probability([0.3, 0.9]).tolist() == copy.probability([0.3, 0.9]).tolist()
        assert opened.calibration.ece == pytest.approx(copy.ece)
        assert opened.query(index.ids[5], 6).equals(table)
    finally:
        index.calibration = None


def test_neighbours_without_a_label_do_not_count(index, labels, cartoons):
    """With the labels of a third of the pictures, the probabilities stay about the same."""
    some = [label if row % 3 == 0 else None for row, label in enumerate(cartoons.labels)]
    found, whole = calibrate(index, am.Relevance.from_labels(cartoons.ids, some)), calibrate(index, labels)
    distances = np.array([0.4, 0.6, 0.9])
    assert found.probability(distances) == pytest.approx(whole.probability(distances), abs=0.15)
    assert found.table["pairs"].sum() < 0.5 * 20 * len(cartoons) / 3
    rows = index.all_neighbours(20)[0]
    judged = np.array([label is not None for label in some])
    asked = np.isin(np.arange(len(some)), am.Relevance.from_labels(cartoons.ids, some).queries)
    assert found.table["pairs"].sum() == judged[rows[asked]].sum()


def test_where_nothing_is_likely_any_more():
    table = pd.DataFrame({"rank": [1, 2, 3], "id": list("abc"), "probability": [0.5, 0.09, 0.04]})
    assert unlikely_from(table) == 2 and unlikely_from(table.head(1)) is None


def test_judgements_count_only_what_was_judged(index):
    chance, rows = np.random.default_rng(2), []
    for query in index.ids[::8]:
        found = index.query(query, 30)
        judged = found.iloc[chance.permutation(30)[:6]]
        rows += [(query, row.id, int(row.rank <= 10)) for row in judged.itertuples()]
    table = pd.DataFrame(rows, columns=["query", "id", "relevance"])
    found = calibrate(index, table)
    assert found.table["pairs"].sum() == len(table) == 120
    near, far = (np.quantile(index.query(index.ids[0], 30)["distance"], part) for part in (0.05, 0.95))
    assert found.probability([near])[0] > found.probability([far])[0]
    with pytest.raises(am.QueryError, match="judge some results first"):
        calibrate(index, table.assign(query="nobody"))


def test_mistakes_are_told(index, labels, cartoons):
    euclidean = am.ExactIndex.build(np.eye(6), list("abcdef"), metric="euclidean")
    with pytest.raises(am.QueryError, match="angular metric, not euclidean"):
        calibrate(euclidean, am.Relevance.from_labels(list("abcdef"), list("xxyyzz")))
    small = am.ExactIndex.build(np.random.default_rng(0).standard_normal((6, 3)), list("abcdef"))
    with pytest.raises(am.QueryError, match="at least 5 labels or judged queries, not 3"):
        calibrate(small, am.Relevance.from_labels(list("abcdef"), list("xxyyzz")))
    with pytest.raises(am.QueryError, match="all of the neighbours are relevant"):
        calibrate(small, am.Relevance.from_labels(list("abcdef"), list("xxxxxx")))
    with pytest.raises(am.QueryError, match="not of the pictures of the index"):
        calibrate(small, labels)
    assert calibrated(small).calibration is None, "without labels, nothing is calibrated and nothing is raised"
