"""The recall that `tune_index` reports, on pictures that were not used in tuning."""

import numpy as np
import pytest
from index import enlarge

import amulsearch as am
from amulsearch.index.tuning import least_recall


def held_back(vectors, index, k=10):
    """Recall of an index of all rows but the last fifth, with the last fifth as queries."""
    base, new = np.split(vectors, [len(index)])
    limits = am.ExactIndex.build(base, [str(row) for row in range(len(base))]).search(new, k)[1][:, -1:]
    unit = [of / np.linalg.norm(of, axis=1, keepdims=True) for of in (base, new)]
    distances = np.linalg.norm(unit[0][index.search(new, k)[0]] - unit[1][:, None], axis=2)
    return np.mean(distances <= limits + 1e-5)


@pytest.fixture(scope="module")
def digits():
    """The pixels of 1,797 small pictures of digits as vectors."""
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float32)


@pytest.fixture(scope="module")
def collections(digits, bundled_features):
    cartoons = bundled_features["tf_efficientnet_lite0", "penultimate"].vectors
    mixed = {"digits": digits, "cartoons": np.array(cartoons), "many": enlarge(digits, 8000, seed=3)}
    return {name: vectors[np.random.default_rng(5).permutation(len(vectors))] for name, vectors in mixed.items()}


@pytest.mark.parametrize("name", ["digits", "cartoons", "many"])
def test_the_recall_is_reached_by_what_was_held_back(name, collections):
    vectors = collections[name]
    base = vectors[: len(vectors) * 4 // 5]
    ids = [str(row) for row in range(len(base))]
    tuned = am.indexes.tune_index(
        base, ids, recall=0.95, kind=am.AnnoyIndex, builds=[{"n_trees": 10}], sample=300, progress=False
    )
    assert held_back(vectors, tuned.index) >= 0.95
    assert tuned.index.recall(10, sample=1000, seed=11) >= 0.95
    assert tuned.exact_is_enough == (name != "many" or len(base) * base.shape[1] <= 2**22)
    if name == "many":  # and not by an exhaustive search
        assert tuned.index.search_k < 3000
        loose = am.indexes.tune_index(
            base, ids, recall=0.8, kind=am.AnnoyIndex, builds=[{"n_trees": 10}], sample=300, progress=False
        )
        assert loose.index.search_k < tuned.index.search_k and held_back(vectors, loose.index) >= 0.8


@pytest.mark.parametrize(
    "kind",
    [
        am.indexes.FaissIVFIndex,
        am.indexes.FaissHNSWIndex,
        am.indexes.FaissLSHIndex,
    ],
)
def test_every_approximate_index_can_be_tuned(kind, collections, tmp_path):
    base = collections["digits"][:1437]
    ids = [str(row) for row in range(len(base))]
    tuned = am.indexes.tune_index(base, ids, kind=kind, recall=0.9, builds=kind.ladder[:1], progress=False)
    assert held_back(collections["digits"], tuned.index) >= 0.9
    effort = getattr(tuned.index, kind.effort)
    assert effort == tuned.table[kind.effort].iloc[-1]
    assert getattr(kind.open(tuned.index.save(tmp_path / "index")), kind.effort) == effort
    assert tuned.index.ids == ids


def test_the_table_says_what_it_costs(digits):
    ids = [str(row) for row in range(len(digits))]
    tuned = am.indexes.tune_index(digits, ids, kind=am.AnnoyIndex, recall=0.9, sample=100, progress=False)
    table = tuned.table
    assert table.columns.tolist() == [
        *["kind", "n_trees", "search_k", "asked", "recall", "at_least"],
        *["queries_per_second", "build_seconds", "bytes"],
    ]
    assert table["kind"].iloc[0] == "ExactIndex" and table["recall"].iloc[0] == 1
    assert table["asked"].iloc[-1] == "of the index" and table["at_least"].iloc[-1] >= 0.9
    assert set(table["n_trees"].dropna()) == {10, 30, 100}
    assert (table[["queries_per_second", "build_seconds", "bytes"]] > 0).all(axis=None)
    assert repr(tuned).endswith("is enough here and misses nothing (ExactIndex).")
    assert f"n_trees={tuned.index.n_trees}, search_k={tuned.index.search_k}: recall@10" in repr(tuned)


def test_wrong_use_is_told(digits):
    ids = [str(row) for row in range(len(digits))]
    for words, options in (
        ("no search effort to tune", {"kind": am.ExactIndex}),
        ("above 0 and at most 1", {"recall": 95}),
        ("recall must be above 0 and at most 1, not '0.9'", {"recall": "0.9"}),
        ("kind must be a class of index", {"kind": "annoy"}),
        ("seed must be an integer", {"seed": -1}),
        ("sample", {"sample": 0}),
        ("pictures to tune with", {"k": 1797}),
        (
            "reaches recall 1 with confidence, the best has",
            {"recall": 1, "kind": am.indexes.FaissHNSWIndex, "builds": [_POOR]},
        ),
    ):
        with pytest.raises(am.QueryError, match=words):
            am.indexes.tune_index(digits, ids, **options, progress=False)


_POOR = {"M": 2, "ef_construction": 1}


@pytest.mark.parametrize("missed", [0, 1, 20, 90])
def test_the_bound_is_about_the_exact_one(missed):
    """That of Clopper and Pearson; where nothing is missed too."""
    from scipy.stats import beta

    found = np.ones(100)
    found[:missed] -= 0.1  # one of 10 neighbours each
    bound = least_recall(found, 10)
    assert bound == pytest.approx(beta.ppf(0.001, 1000 - missed, missed + 1), abs=0.006) and bound < found.mean()
    assert least_recall(found[:10], 10) < least_recall(np.tile(found[:10], 10), 10)


def test_without_a_miss_nothing_is_certain(digits):
    """30 pictures held back: only a search of everything is sure to find 99.9%."""
    ids = [str(row) for row in range(300)]
    tuned = am.indexes.tune_index(digits[:300], ids, kind=am.AnnoyIndex, recall=0.999, k=5, progress=False)
    assert tuned.index.search_k == tuned.index._most() and tuned.table["at_least"].iloc[-1] == 1
    table = tuned.table[tuned.table["search_k"] < 4 * 270 * tuned.table["n_trees"]]
    assert (table["at_least"] < 0.995).all() and (table["recall"] == 1).any()
    with pytest.raises(am.QueryError, match=r"at least 0\.9.*or ExactIndex, which misses nothing"):
        am.indexes.tune_index(digits[:300], ids, kind=am.indexes.FaissHNSWIndex, recall=0.999, progress=False)


def test_few_pictures(digits):
    tuned = am.indexes.tune_index(digits[:12], [str(row) for row in range(12)], k=3, progress=False)
    assert len(tuned.index.query("5", 3)) == 3 and tuned.exact_is_enough
