"""Measures compared with hand calculation, with brute force over all orders of ties, and with scikit-learn."""

import subprocess
import sys
from itertools import pairwise, permutations, product

import numpy as np
import pandas as pd
import pytest

from amulsearch import AnnoyIndex, ExactIndex, Features, Panel, Relevance, compare, evaluate
from amulsearch.errors import QueryError
from amulsearch.measure import evaluation
from amulsearch.measure.evaluation import MEASURES, cosines, holm
from amulsearch.systems import METHODS, calibrated


def cosine(vectors: np.ndarray) -> np.ndarray:
    """All cosines (N, N) of vectors (N, D)."""
    return cosines(vectors)(np.arange(len(vectors)))


def by_hand(relevant, gains):
    """MEASURES of one ranking without ties, straight from their definitions."""
    total = sum(relevant)
    precision = [sum(relevant[: place + 1]) / (place + 1) for place in range(len(relevant))]
    discounts = [1 / np.log2(place + 2) for place in range(len(gains))][:10]
    ideal = sum(gain * discount for gain, discount in zip(sorted(gains, reverse=True), discounts, strict=False))
    return [
        relevant[0],
        sum(relevant[:5]) / 5,
        sum(relevant[:total]) / total,
        sum(p for p, r in zip(precision[:total], relevant, strict=False) if r) / total,
        sum(p for p, r in zip(precision, relevant, strict=True) if r) / total,
        sum(gain * discount for gain, discount in zip(gains, discounts, strict=False)) / ideal,
    ]


def test_queries_without_anything_relevant_are_left_out_and_counted():
    relevance = Relevance.from_labels(list("abcd"), ["x", "x", "y", None])
    result = evaluate(np.eye(4), relevance, depth=2)
    assert result.per_query["id"].tolist() == ["a", "b"] and result.excluded == 2
    assert repr(result).startswith("Evaluation(2 queries, 2 left out, the first 2 answers: P@1 0.")
    assert "mAP" in repr(result) and len(repr(result)) < 200


@pytest.mark.parametrize("seed", range(4))
def test_ties_count_as_the_mean_over_all_their_orders(seed):
    rng = np.random.default_rng(seed)
    count = 7
    similarity = rng.integers(0, 3, (count, count)).astype(float)
    keywords = {f"{row}": list(rng.choice(list("pqrs"), rng.integers(1, 4), replace=False)) for row in range(count)}
    ids = list(keywords)
    result = evaluate(similarity, Relevance.from_keywords(ids, keywords)).per_query
    for row, id in enumerate(ids):
        others = [other for other in range(count) if other != row]
        gains = {other: len(set(keywords[id]) & set(keywords[str(other)])) for other in others}
        if not any(gains.values()):
            assert id not in result["id"].tolist()
            continue
        worked = [
            by_hand([int(gains[other] > 0) for other in order], [gains[other] for other in order])
            for order in permutations(others)
            if all(similarity[row, a] >= similarity[row, b] for a, b in pairwise(order))
        ]
        mine = result[result["id"] == id][list(MEASURES)].iloc[0].to_numpy(dtype=float)
        np.testing.assert_allclose(mine, np.mean(worked, axis=0), rtol=1e-9)


@pytest.fixture(scope="module")
def clusters():
    """600 pictures of 60 labels, as Features."""
    chance, labels = np.random.default_rng(0), np.arange(600) % 60
    vectors = chance.standard_normal((60, 16))[labels] + chance.standard_normal((600, 16))
    return Features(vectors, [f"{row:03}" for row in range(600)], [f"kind {label}" for label in labels])


def test_equals_scikit_learn(clusters):
    """Equal pictures are tied; scikit-learn averages over ties for nDCG as we do, but not for AP."""
    from sklearn.metrics import average_precision_score, ndcg_score

    vectors, labels = clusters.vectors.copy(), np.array(clusters.labels)
    vectors[100:110] = vectors[99]
    relevance = Relevance.from_labels(clusters.ids, clusters.labels)
    tied = cosine(vectors)
    untied = tied.argsort(axis=1).argsort(axis=1).astype(np.float32)  # the rank, counted from the last
    ndcg = evaluate(tied, relevance).per_query["nDCG@10"]
    precision = evaluate(untied, relevance).per_query["AP"]
    for row in range(0, 600, 33):
        others = np.arange(600) != row
        relevant = labels[others] == labels[row]
        assert ndcg.iat[row] == pytest.approx(ndcg_score([relevant], [tied[row, others]], k=10))
        assert precision.iat[row] == pytest.approx(average_precision_score(relevant, untied[row, others]), abs=1e-6)


def test_two_systems_are_compared_query_by_query():
    rng = np.random.default_rng(1)
    labels = np.repeat(list("abcdefgh"), 10)
    ids = [str(row) for row in range(80)]
    centres = np.repeat(rng.standard_normal((8, 20)), 10, axis=0)
    relevance = Relevance.from_labels(ids, labels.tolist())
    clear, blurred, blurred_too = (
        evaluate(cosine(centres + noise * rng.standard_normal((80, 20))), relevance) for noise in (0.8, 1.6, 1.6)
    )
    better = clear.compare(blurred)
    assert better["difference"] == pytest.approx(clear.mean()["mAP"] - blurred.mean()["mAP"])
    assert 0 < better["low"] < better["difference"] < better["high"]
    assert better["p"] < 0.001
    assert better["wins"] + better["losses"] + better["ties"] == 80
    alike = blurred.compare(blurred_too)
    assert alike["low"] < 0 < alike["high"]
    assert alike["p"] > 0.05
    assert clear.compare(clear)["p"] == 1
    low, high = clear.interval()
    assert low < clear.mean()["mAP"] < high


def test_wrong_use_is_told():
    ids = list("abc")
    relevance = Relevance.from_labels(ids, ["x", "x", None])
    result = evaluate(np.eye(3), relevance)
    other = evaluate(np.eye(3), Relevance.from_labels(list("xyz"), ["x", "x", None]))
    for words, call in (
        ("do not fit 3", lambda: evaluate(np.eye(4), relevance)),
        ("no picture 'z'", lambda: evaluate(np.eye(3), relevance, queries=["z"])),
        ("NaN", lambda: evaluate(np.full((3, 3), np.nan), relevance)),
        ("do not hold the same pictures", lambda: evaluate(ExactIndex.build(np.eye(3), ids[::-1]), relevance)),
        ("do not hold the same pictures", lambda: evaluate(Features(np.eye(3), ids[::-1]), relevance)),
        ("evaluated on different queries", lambda: result.compare(other)),
        ("P@1, P@5", lambda: result.interval("F1")),
        ("needs a Relevance, not list", lambda: evaluate(np.eye(3), ids)),
        ("a system must be Features", lambda: evaluate("annoy", relevance)),
        ("fewer than two labels", lambda: result.interval(by="label")),
        ("by must be query or label, not 'picture'", lambda: result.interval(by="picture")),
    ):
        with pytest.raises(QueryError, match=words):
            call()


def test_cosines_are_numpy_s_without_a_copy_of_the_vectors(tmp_path):
    vectors = np.random.default_rng(5).standard_normal((9000, 16)).astype(np.float32)  # more than one block
    vectors[7] = 0
    vectors[8000] = 3 * vectors[20]
    file = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=vectors.shape)
    file[:] = vectors
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    units = vectors / np.where(lengths, lengths, 1)[:, None]
    rows = np.array([0, 7, 20, 8999])
    for array in (vectors, file, np.asfortranarray(vectors)):
        np.testing.assert_allclose(cosines(array)(rows), units[rows] @ units.T, atol=2e-6)


def test_the_size_of_a_block_does_not_change_the_measures(monkeypatch):
    rng = np.random.default_rng(6)
    ids, labels = [str(row) for row in range(500)], [str(row % 9) for row in range(500)]
    features, relevance = Features(rng.standard_normal((500, 12)), ids), Relevance.from_labels(ids, labels)
    expected = evaluate(features, relevance).per_query
    for memory in (1, 500 * evaluation.PER_PAIR * 7):
        monkeypatch.setattr(evaluation, "MEMORY", memory)
        pd.testing.assert_frame_equal(evaluate(features, relevance).per_query, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in kilobytes on Linux only")
def test_queries_of_many_pictures_take_little_memory(tmp_path):
    program = """if True:
        import resource, sys
        import numpy as np
        from amulsearch import Features, Relevance, evaluate
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        count = 300_000
        file = np.memmap(sys.argv[1], np.float32, "w+", shape=(count, 128))
        block = np.random.default_rng(0).standard_normal((1000, 128), dtype=np.float32)
        for start in range(0, count, 1000):
            file[start : start + 1000] = block + np.float32(start)
        file.flush()
        del file
        ids = [str(row) for row in range(count)]
        evaluate(np.eye(2), Relevance.from_labels(ids[:2], ["x", "x"]))
        relevance = Relevance.from_labels(ids, [str(row // 1000) for row in range(count)])
        features = Features(np.memmap(sys.argv[1], np.float32, "r", shape=(count, 128)), ids)
        before = peak()
        result = evaluate(features, relevance, queries=ids[:: count // 32])
        print(peak() - before, len(result.per_query), result.mean()["P@5"])
    """
    command = [sys.executable, "-c", program, str(tmp_path / "vectors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    more, queries, precision = map(float, done.stdout.split())
    assert more < 512 and queries == 32 and 0 <= precision <= 1


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
@pytest.mark.parametrize("depth", [None, 7])
def test_exact_search_is_measured_as_the_ranking_of_all(metric, depth):
    vectors = np.random.default_rng(3).standard_normal((60, 8)).astype(np.float32)
    ids = [str(row) for row in range(60)]
    relevance = Relevance.from_labels(ids, [str(row % 5) for row in range(60)])
    system = Features(vectors, ids) if metric == "angular" else -np.linalg.norm(vectors[:, None] - vectors, axis=2)
    expected = evaluate(system, relevance, depth=depth).per_query
    found = evaluate(ExactIndex.build(vectors, ids, metric=metric), relevance, depth=depth).per_query
    pd.testing.assert_frame_equal(found, expected)


def test_an_approximate_index_is_measured_by_what_it_answers(clusters):
    """The measures of the tables that `query` returns, by hand; exact search finds far more."""
    relevance = Relevance.from_labels(clusters.ids, clusters.labels)
    index, exact = AnnoyIndex.build(clusters, n_trees=1, search_k=1), evaluate(clusters, relevance).mean()
    result = evaluate(index, relevance).per_query
    for row in range(0, 600, 7):
        right = (index.query(clusters.ids[row])["label"] == clusters.labels[row]).to_numpy(float)
        precision = right.cumsum() / np.arange(1, 11)
        expected = [right[0], right[:5].mean(), (precision * right).sum() / 9]
        assert result.loc[row, ["P@1", "P@5", "AP"]].tolist() == pytest.approx(expected)
    assert result["P@1"].mean() < exact["P@1"] - 0.02
    assert evaluate(index, relevance, depth=3).mean()["P@5"] < result["P@5"].mean()
    answered = index.similarities(np.array([4]), k=3)[0]
    assert np.isfinite(answered).sum() == 3 and answered[4] == np.inf
    assert evaluate(lambda rows: index.similarities(rows, 20), relevance).mean()["mAP"] > result["AP"].mean()


def test_systems_measured_to_different_depths_are_not_compared_by_mAP(clusters):
    relevance = Relevance.from_labels(clusters.ids, clusters.labels)
    exact, index = evaluate(clusters, relevance), AnnoyIndex.build(clusters)
    approximate = evaluate(index, relevance)
    assert approximate.compare(exact, "P@1")["difference"] == pytest.approx(0, abs=0.01)
    with pytest.raises(QueryError, match="evaluate both systems with depth=10"):
        approximate.compare(exact)
    compared = compare({("net", "logits"): clusters, "annoy": index}, progress=False)
    assert compared.note == "The first 10 answers of each system were measured, as one of them is approximate."
    assert compared.table["mAP"].tolist() == pytest.approx([approximate.mean()["mAP"]] * 2, abs=0.01)


def test_what_is_not_answered_is_never_found():
    similarity = np.full((6, 6), -np.inf)
    similarity[0, :4] = 9, 1, 3, 2  # the query a; c, d, b are answered, e and f are not
    relevance = Relevance.from_labels(list("abcdef"), ["x", "x", "y", "x", "x", "x"])
    result = evaluate(similarity, relevance, queries=["a"]).per_query.iloc[0]
    assert result[["P@1", "P@5", "R-precision"]].tolist() == [0, 2 / 5, 2 / 4]
    assert result["AP"] == pytest.approx((1 / 2 + 2 / 3) / 4)
    ideal = (1 / np.log2(np.arange(2, 6))).sum()
    assert result["nDCG@10"] == pytest.approx((1 / np.log2(3) + 1 / np.log2(4)) / ideal)


def partly(labels, share, seed=0):
    """The labels of a random share of the pictures; None for the others."""
    return np.where(np.random.default_rng(seed).random(len(labels)) < share, np.array(labels, dtype=object), None)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_pictures_without_a_label_are_taken_out_of_the_ranking(clusters, share):
    """Of whole rankings, the measures are those of the collection of the labelled pictures alone."""
    labels = partly(clusters.labels, share)
    rows = np.flatnonzero(labels != None)  # noqa: E711
    some = Features(clusters.vectors[rows], [clusters.ids[row] for row in rows])
    alone = evaluate(some, Relevance.from_labels(some.ids, labels[rows]))
    among = evaluate(clusters, Relevance.from_labels(clusters.ids, labels))
    pd.testing.assert_frame_equal(among.per_query, alone.per_query)
    assert among.excluded == alone.excluded + len(labels) - len(rows)
    words = {id: [label] for id, label in zip(clusters.ids, labels, strict=True) if label}
    shared = evaluate(clusters, Relevance.from_keywords(clusters.ids, words)).per_query
    pd.testing.assert_frame_equal(shared.drop(columns="label"), among.per_query.drop(columns="label"))


def test_an_approximate_index_answers_more_where_few_are_labelled(clusters):
    """With enough effort, it is measured as exact search is to the same depth."""
    relevance = Relevance.from_labels(clusters.ids, partly(clusters.labels, 0.2))
    found, exact = (evaluate(system, relevance, depth=10).mean() for system in (AnnoyIndex.build(clusters), clusters))
    assert found[["P@1", "P@5", "mAP"]].tolist() == pytest.approx(exact[["P@1", "P@5", "mAP"]].tolist(), rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("labels", ["x", "xxxxxyyyy", [None, "x", "y", "x", "y", None, "z", "z", "x"]])
def test_tiny_collections_have_measures_or_none(count, labels):
    ids, labels = [str(row) for row in range(count)], [*labels, *[None] * 9][:count]
    parts = [Features(np.random.default_rng(seed).standard_normal((count, 4)), ids, labels) for seed in (0, 1)]
    relevance = Relevance.from_labels(ids, labels)
    features = dict(zip([("a", "logits"), ("b", "logits")], parts, strict=True))
    others = {"annoy": AnnoyIndex.build(parts[0]), "exact": ExactIndex.build(parts[0], metric="euclidean")}
    panel = Panel({**features, **others}, fusions=METHODS) if count > 1 else {**features, **others}
    found = compare(panel, relevance, progress=False)
    queries = sum(labels.count(label) > 1 for label in labels if label)
    assert found.queries == queries
    table = found.table[["P@1", "P@5", "mAP"]]
    if queries:
        assert table.notna().all(axis=None) and (table["P@5"] < count / 5).all()
    else:
        assert "nothing to count" in repr(found)
        result = evaluate(parts[0], relevance)
        assert result.per_query.empty and result.mean().isna().all() and result.by_label().empty
        assert np.isnan(result.interval("P@1")).all() and result.excluded == count
        change = result.compare(result, "mAP")
        assert np.isnan([change[name] for name in ("difference", "low", "high", "p")]).all() and change["ties"] == 0
    index = calibrated(ExactIndex.build(parts[0]))
    assert index.calibration is None, "one sentence of calibrate, which calibrated leaves out"


def table_of(values, labels) -> evaluation.Evaluation:
    columns = {name: np.asarray(values, dtype=np.float64) for name in MEASURES}
    ids = [str(row) for row in range(len(values))]
    return evaluation.Evaluation(pd.DataFrame({"id": ids, "label": pd.Series(labels, dtype=object), **columns}), 0)


def test_an_interval_by_label_counts_labels_and_not_queries():
    """Where all queries of a label have one value, a hundred of them say no more than one does."""
    chance = np.random.default_rng(0)
    values, names = chance.uniform(size=12), list("abcdefghijkl")
    one, many = table_of(values, names), table_of(np.repeat(values, 100), np.repeat(names, 100))
    assert one.interval(by="label") == pytest.approx(many.interval(by="label"), abs=1e-9)
    assert one.interval() == pytest.approx(one.interval(by="label"))
    low, high = many.interval()
    wide_low, wide_high = many.interval(by="label")
    assert wide_high - wide_low > 5 * (high - low)
    spread = values.std() / 12**0.5  # the standard error of the mean of twelve independent labels
    assert wide_high - wide_low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    sizes = table_of(np.concatenate([np.ones(90), np.zeros(10)]), ["a"] * 90 + ["b"] * 10)
    assert sizes.interval(by="label") == (0.0, 1.0)  # a label may be drawn twice, and the other not


def test_the_test_by_label_changes_the_signs_of_whole_labels():
    """Exactly, over all 2^6 changes of signs."""
    values = np.array([0.3, 0.1, -0.2, 0.4, 0.25, 0.5])
    better = table_of(np.repeat(0.5 + values, [3, 1, 2, 5, 2, 4]), np.repeat(list("abcdef"), [3, 1, 2, 5, 2, 4]))
    base = table_of(np.full(17, 0.5), np.repeat(list("abcdef"), [3, 1, 2, 5, 2, 4]))
    sums = values * [3, 1, 2, 5, 2, 4]
    signs = np.array(list(product([-1, 1], repeat=6)))
    exact = (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12).mean()
    found = better.compare(base, by="label")
    assert found["p"] == pytest.approx(exact, abs=0.015)
    assert found["difference"] == pytest.approx(sums.sum() / 17)
    assert better.compare(base)["p"] < 0.01 < found["p"]


def test_holm_is_the_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, np.nan, 0.005]) == pytest.approx([0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert np.isnan(holm([np.nan])).all() and not len(holm([]))
