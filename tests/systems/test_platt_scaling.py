"""The probability that a neighbour is relevant: against made-up odds, by hand, and on labels that took no part."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.index import evidence, unlikely_from
from amulsearch.systems import calibrate, calibrated


@pytest.fixture(scope="module")
def index():
    """Six hundred pictures of sixty labels."""
    chance, labels = np.random.default_rng(0), np.arange(600) % 60
    vectors = 1.5 * chance.standard_normal((60, 16))[labels] + chance.standard_normal((600, 16))
    ids = [f"{row:03}.png" for row in range(600)]
    return am.ExactIndex.build(am.Features(vectors, ids, [f"label {label}" for label in labels]))


@pytest.fixture(scope="module")
def relevance(index):
    return am.Relevance.from_labels(index.ids, index.labels)


@pytest.fixture(scope="module")
def calibration(index, relevance):
    return calibrate(index, relevance)


def test_known_odds_are_found_again():
    """Relevance is drawn with the odds exp(1.5 x - 1): the fit finds 1.5 and -1."""
    chance, count = np.random.default_rng(0), 600
    ids = [f"{row:03}.png" for row in range(count)]
    index = am.ExactIndex.build(np.array([2.0, 0, 0]) + chance.standard_normal((count, 3)), ids)
    far = -index.similarities(np.arange(count))
    np.fill_diagonal(far, 0)
    similar = np.clip(1 - far**2 / 2, 0, 1)
    odds = np.exp(1.5 * np.log((similar + 0.01) / (1.01 - similar)) - 1)
    drawn = (chance.random(odds.shape) < odds / (1 + odds)).astype(np.float32)
    fit = calibrate(index, am.Relevance(ids, [None] * count, lambda rows: drawn[rows]), k=count - 1)
    assert (fit.slope, fit.intercept) == (pytest.approx(1.5, abs=0.05), pytest.approx(-1, abs=0.05))
    assert fit.ece < 0.01
    distances = np.array([0.0, 0.4, 1.0, 1.5])
    by_hand = 1 / (1 + np.exp(-(fit.slope * evidence(distances) + fit.intercept)))
    assert np.allclose(fit.probability(distances), by_hand) and (np.diff(by_hand[:3]) < 0).all()


def test_labels_that_took_no_part(index, relevance, calibration):
    """The probabilities hold for labels that took no part; so does the arithmetic of the error."""
    table = calibration.table
    assert calibration.ece < 0.03 and calibration.slope > 0 and table["pairs"].sum() == 20 * len(index)
    by_hand = (table["pairs"] * (table["predicted"] - table["relevant"]).abs()).sum() / table["pairs"].sum()
    assert calibration.ece == pytest.approx(by_hand)
    assert table["predicted"].is_monotonic_increasing and table["relevant"].iloc[-1] > 0.6 > table["relevant"].iloc[0]
    assert calibrate(index, relevance) == calibration, "the same seed divides the labels in the same way"
    assert calibrate(index, relevance, sample=300, k=5).table["pairs"].sum() == 1500
    assert repr(am.indexes.Calibration(1.5, -1.0, ((0.1, 0.1, 20),))) == "Calibration(slope=1.5, intercept=-1.0)"


def test_a_label_does_not_predict_itself():
    """One label's pictures are all alike, the others' are not: predictions for it come from the others only."""
    chance, count = np.random.default_rng(1), 120
    ids = [f"{row:03}.png" for row in range(count)]
    vectors = chance.standard_normal((count, 8))
    vectors[:20] = 3 * np.eye(8)[0] + 0.1 * vectors[:20]
    relevance = am.Relevance.from_labels(ids, [f"label {row // 20}" for row in range(count)])
    assert calibrate(am.ExactIndex.build(vectors, ids), relevance, k=10).ece > 0.1, "it surprises a fit to the others"


def test_the_table_has_the_probability_and_the_index_keeps_it(index, calibration, tmp_path, monkeypatch):
    plain = index.query(index.ids[5], 6)
    assert "probability" not in plain and unlikely_from(plain) is None
    monkeypatch.setattr(index, "calibration", calibration)
    table = index.query(index.ids[5], 6)
    assert table.columns.tolist()[:4] == ["rank", "id", "distance", "probability"]
    assert np.array_equal(table["probability"], calibration.probability(plain["distance"]))
    opened = am.ExactIndex.open(index.save(tmp_path / "index"))
    assert opened.calibration.probability([0.3, 0.9]).tolist() == calibration.probability([0.3, 0.9]).tolist()
    assert opened.calibration.ece == pytest.approx(calibration.ece)
    assert opened.query(index.ids[5], 6).equals(table)


def test_where_nothing_is_likely_any_more():
    table = pd.DataFrame({"rank": [1, 2, 3], "id": list("abc"), "probability": [0.5, 0.09, 0.04]})
    assert unlikely_from(table) == 2 and unlikely_from(table.head(1)) is None


def test_neighbours_that_are_not_judged_do_not_count(index, calibration):
    """With the labels of half of the pictures, the probabilities stay about the same."""
    some = [label if row % 120 < 60 else None for row, label in enumerate(index.labels)]
    relevance, distances = am.Relevance.from_labels(index.ids, some), np.array([0.4, 0.6, 0.9])
    half = calibrate(index, relevance)
    assert half.probability(distances) == pytest.approx(calibration.probability(distances), abs=0.1)
    labelled = np.array([label is not None for label in some])
    assert half.table["pairs"].sum() == labelled[index.all_neighbours(20)[0][relevance.queries]].sum()
    chance, rows = np.random.default_rng(2), []
    for query in index.ids[:200:10]:
        table = index.query(query, 30)
        rows += [(query, row.id, int(row.rank <= 10)) for row in table.iloc[chance.permutation(30)[:6]].itertuples()]
    judged = (
        pd.DataFrame(rows, columns=["query", "id", "relevance"])
        .groupby("query")
        .filter(lambda part: 0 < part["relevance"].mean() < 1)
    )
    fit = calibrate(index, am.Relevance.from_judgements(index.ids, judged), k=30)
    assert fit.table["pairs"].sum() == len(judged) > 60 and fit.probability([0.3])[0] > fit.probability([1.2])[0]


def test_mistakes_are_told(relevance):
    ids, from_labels = list("abcdef"), am.Relevance.from_labels
    small = am.ExactIndex.build(np.random.default_rng(0).standard_normal((6, 3)), ids)
    for words, index, truth in (
        ("angular metric, not euclidean", am.ExactIndex.build(np.eye(6), ids, metric="euclidean"), relevance),
        ("at least 5 labels or judged queries, not 3", small, from_labels(ids, list("xxyyzz"))),
        ("all of the neighbours are relevant", small, from_labels(ids, list("xxxxxx"))),
        ("not of the pictures of the index", small, relevance),
    ):
        with pytest.raises(am.errors.QueryError, match=words):
            calibrate(index, truth)
    assert calibrated(small).calibration is None, "without labels, nothing is calibrated and nothing is raised"
