"""The recall that `tune_index` reports, on pictures that were not used in tuning."""

from functools import partial

import numpy as np
import pytest
from index import enlarge

import amulsearch as am
from amulsearch.index.tuning import least_recall

tune = partial(am.indexes.tune_index, progress=False)
TEN = {"kind": am.AnnoyIndex, "builds": [{"n_trees": 10}]}


def names(vectors):
    return [str(row) for row in range(len(vectors))]


def held_back(vectors, index, k=10):
    """Recall of an index of all rows but the last fifth, with the last fifth as queries."""
    base, new = np.split(vectors, [len(index)])
    limits = am.ExactIndex.build(base, names(base)).search(new, k)[1][:, -1:]
    units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (base, new)]
    distances = np.linalg.norm(units[0][index.search(new, k)[0]] - units[1][:, None], axis=2)
    return np.mean(distances <= limits + 1e-5)


@pytest.fixture(scope="module")
def digits():
    """The pixels of 1,797 small pictures of digits as vectors, in random order."""
    from sklearn.datasets import load_digits

    vectors = load_digits().data.astype(np.float32)
    return vectors[np.random.default_rng(5).permutation(len(vectors))]


@pytest.mark.parametrize("name", ["digits", "many"])
def test_the_recall_is_reached_by_what_was_held_back(name, digits):
    vectors = digits if name == "digits" else enlarge(digits, 8000, seed=3)
    base = vectors[: len(vectors) * 4 // 5]
    tuned = tune(base, names(base), recall=0.95, sample=300, **TEN)
    assert held_back(vectors, tuned.index) >= 0.95
    assert tuned.index.recall(10, sample=1000, seed=11) >= 0.95
    assert tuned.exact_is_enough  # up to 2 ** 22 numbers
    if name == "many":  # and not by an exhaustive search
        assert tuned.index.search_k < 3000
        loose = tune(base, names(base), recall=0.8, sample=300, **TEN)
        assert loose.index.search_k < tuned.index.search_k and held_back(vectors, loose.index) >= 0.8


@pytest.mark.parametrize("factory", ["HNSW16,Flat", "IVF40,Flat", "LSH256rt,RFlat"])
def test_every_index_of_faiss_can_be_tuned(factory, digits, tmp_path):
    base = digits[:1437]
    tuned = tune(base, names(base), kind=am.indexes.FaissIndex, recall=0.9, builds=[{"factory": factory}])
    assert held_back(digits, tuned.index) >= 0.9
    opened = am.indexes.FaissIndex.open(tuned.index.save(tmp_path / "index"))
    assert opened.search_k == tuned.index.search_k >= tuned.chosen["search_k"]
    assert tuned.index.ids == names(base)


def test_the_table_says_what_it_costs(digits):
    tuned = tune(digits, names(digits), kind=am.AnnoyIndex, recall=0.9, sample=100)
    table, costs = tuned.table, ["queries_per_second", "build_seconds"]
    assert table.columns.tolist() == ["n_trees", "search_k", "recall", "at_least", *costs]
    assert tuned.chosen["at_least"] >= 0.9 and tuned.chosen["n_trees"] == tuned.index.n_trees
    assert (table.loc[table["at_least"] >= 0.9, "queries_per_second"] <= tuned.chosen["queries_per_second"]).all()
    assert set(table["n_trees"]) == {10, 30, 100}
    assert (table[costs] > 0).all(axis=None) and tuned.exact_queries_per_second > 0
    assert repr(tuned).endswith("is enough here and misses nothing (ExactIndex).")
    assert f"n_trees={tuned.index.n_trees}, search_k={tuned.chosen['search_k']}: recall 0.9" in repr(tuned)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("no search effort to tune", {"kind": am.ExactIndex}),
        ("above 0 and at most 1", {"recall": 95}),
        ("recall must be above 0 and at most 1, not '0.9'", {"recall": "0.9"}),
        ("kind must be a class of index", {"kind": "annoy"}),
        ("sample", {"sample": 0}),
        ("pictures to tune with", {"k": 1797}),
        (
            "reaches recall 1 with confidence, the best has",
            {"recall": 1, "kind": am.indexes.FaissIndex, "builds": [{"factory": "HNSW2,Flat"}]},
        ),
    ],
)
def test_wrong_use_is_told(digits, words, options):
    with pytest.raises(am.errors.QueryError, match=words):
        tune(digits, names(digits), **options)


@pytest.mark.parametrize("missed", [0, 1, 20, 90])
def test_the_bound_is_about_the_exact_one(missed):
    """That of Clopper and Pearson; where nothing is missed too."""
    from scipy.stats import beta

    hits = np.ones(100)
    hits[:missed] -= 0.1  # one of 10 neighbours each
    bound = least_recall(hits, 10)
    assert bound == pytest.approx(beta.ppf(0.001, 1000 - missed, missed + 1), abs=0.006) and bound < hits.mean()
    assert least_recall(hits[:10], 10) < least_recall(np.tile(hits[:10], 10), 10)


def test_without_a_miss_nothing_is_certain(digits):
    """30 pictures held back: only a search of everything is sure to find 99.9%."""
    few = digits[:300]
    tuned = tune(few, names(few), kind=am.AnnoyIndex, recall=0.999, k=5)
    assert tuned.index.search_k == tuned.index._most() and tuned.chosen["at_least"] == 1
    table = tuned.table[tuned.table["search_k"] < 4 * 270 * tuned.table["n_trees"]]
    assert (table["at_least"] < 0.995).all() and (table["recall"] == 1).any()
    with pytest.raises(am.errors.QueryError, match=r"at least 0\.9.*or ExactIndex, which misses nothing"):
        tune(few, names(few), kind=am.indexes.FaissIndex, recall=0.999)


def test_few_pictures(digits):
    tuned = tune(digits[:12], names(digits[:12]), k=3)
    assert len(tuned.index.query("5", 3)) == 3 and tuned.exact_is_enough
