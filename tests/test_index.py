"""Annoy's and the exact index against brute force in numpy, and every silent failure of Annoy against a refusal."""

import json

import annoy
import numpy as np
import pytest

from amulsearch import AnnoyIndex, ExactIndex, Features, QueryError, StoreError, open_image

N, D = 600, 24
KINDS = [AnnoyIndex, ExactIndex]


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def ids():
    return [f"folder/{row:04}.png" for row in range(N)]


def brute_force(vectors, query, metric):
    """Distances of a query to all, in float64."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "angular":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        query = query / np.linalg.norm(query)
    difference = vectors - query
    return np.abs(difference).sum(1) if metric == "manhattan" else np.sqrt((difference**2).sum(1))


@pytest.mark.parametrize("metric", ["angular", "euclidean", "manhattan"])
@pytest.mark.parametrize("kind", KINDS)
def test_query_by_id_and_by_vector_equals_brute_force(kind, metric, vectors, ids):
    index = kind.build(vectors, ids, metric=metric)
    options = {"search_k": 10**6} if kind is AnnoyIndex else {}
    distances = brute_force(vectors, vectors[7], metric)
    expected = np.argsort(distances)[1:11]
    table = index.query(ids[7], k=10, **options)
    assert table["rank"].tolist() == list(range(1, 11))
    assert table["id"].tolist() == [ids[row] for row in expected]
    np.testing.assert_allclose(table["distance"], distances[expected], rtol=1e-4)
    new = vectors[7] + 0.01
    by_vector = index.query(new, k=3, **options)
    assert by_vector["id"].tolist() == [ids[row] for row in np.argsort(brute_force(vectors, new, metric))[:3]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_its_own_neighbour_only_when_asked(kind, vectors, ids):
    index = kind.build(vectors, ids)
    assert ids[3] not in index.query(ids[3], k=20)["id"].tolist()
    own = index.query(ids[3], k=20, include_self=True)
    assert own["id"].iloc[0] == ids[3]
    assert own["distance"].iloc[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_twins_stay_neighbours(kind, vectors, ids):
    index = kind.build(np.concatenate([vectors, vectors[:1]]), [*ids, "twin.png"])
    assert index.query(ids[0], k=1)["id"].tolist() == ["twin.png"]
    assert index.query("twin.png", k=1)["id"].tolist() == [ids[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_it_answers_the_same(kind, vectors, ids, tmp_path):
    index = kind.build(Features(vectors, ids, labels=["a", "b"] * (N // 2)))
    before = index.query(ids[5], k=8)
    path = index.save(tmp_path / "below" / "index")
    again = kind.open(path).query(ids[5], k=8)
    assert before.equals(again)
    assert index.query(ids[5], k=8).equals(before)
    assert again["label"].tolist() == [["a", "b"][int(id[-5]) % 2] for id in again["id"]]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_queries_are_told_in_a_sentence(kind, vectors, ids):
    index = kind.build(vectors, ids)
    for query, words in [
        ("none.png", "open_image"),
        (np.zeros(D + 1), r"\(24,\)"),
        (np.zeros(D), "zero"),
        (np.full(D, np.nan), "NaN"),
        (np.zeros((1, D)), "shape"),
        (None, "an id, a picture or a vector"),
    ]:
        with pytest.raises(QueryError, match=words):
            index.query(query, k=1)
    for k, words in [(0, "from 1"), (2.5, "whole"), (N, f"{N - 1} other")]:
        with pytest.raises(QueryError, match=words):
            index.query(ids[0], k=k)
    with pytest.raises(QueryError, match="without a model"):
        index.query(open_image(_png()), k=1)


def _png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_annoy_takes_silently_are_refused(kind, vectors, ids):
    for value, words in [(np.nan, "NaN or infinite.*0009"), (np.inf, "NaN or infinite.*0009"), (0, "zero.*0009")]:
        bad = vectors.copy()
        bad[9] = value
        with pytest.raises(QueryError, match=words):
            kind.build(bad, ids)
    for array, names in [(vectors[0], ids), (vectors, ids[:-1]), (vectors, [ids[0]] * N), (vectors, None)]:
        with pytest.raises(QueryError):
            kind.build(array, names)
    with pytest.raises(QueryError, match="angular, euclidean, manhattan"):
        kind.build(vectors, ids, metric="cosine")


def test_short_answers_of_annoy_are_asked_again(vectors, ids):
    """Looking at one node, Annoy alone gives fewer than it was asked for."""
    bare = annoy.AnnoyIndex(D, "angular")
    for row, vector in enumerate(vectors):
        bare.add_item(row, vector)
    bare.set_seed(0)
    bare.build(2, 1)
    assert len(bare.get_nns_by_item(0, 300, 1)) < 300
    assert len(AnnoyIndex.build(vectors, ids, n_trees=2).query(ids[0], k=300, search_k=1)) == 300


def test_a_short_list_is_the_beginning_of_a_long_one(vectors, ids):
    """spotify/annoy#215: the first of n=1 is not always the first of n=10."""
    index = AnnoyIndex.build(vectors, ids, n_trees=1)
    for id in ids[:200]:
        ten = index.query(id, k=10)["id"].tolist()
        assert [index.query(id, k=k)["id"].tolist() for k in (1, 2, 5)] == [ten[:1], ten[:2], ten[:5]]


def test_the_same_seed_gives_the_same_forest(vectors, ids, tmp_path):
    one, two = (
        AnnoyIndex.build(vectors, ids, n_trees=3, seed=5).save(tmp_path / name).read_bytes() for name in ("one", "two")
    )
    other = AnnoyIndex.build(vectors, ids, n_trees=3, seed=6).save(tmp_path / "other").read_bytes()
    assert one == two != other


def test_recall_counts_what_brute_force_finds(vectors, ids):
    index = AnnoyIndex.build(vectors, ids, n_trees=1)
    found = 0
    for row, id in enumerate(ids):
        true = {ids[near] for near in np.argsort(brute_force(vectors, vectors[row], "angular"))[1:6]}
        found += len(true & set(index.query(id, k=5, search_k=30)["id"]))
    measured = index.recall(5, sample=N, search_k=30)
    assert measured == pytest.approx(found / (5 * N), abs=1e-3)
    assert measured < 0.9 < index.recall(5, sample=50, search_k=10**6)


def test_a_file_of_another_width_is_refused(vectors, ids, tmp_path):
    """Annoy opens 64-d vectors as 131-d without a word, and answers or crashes."""
    path = AnnoyIndex.build(vectors, ids).save(tmp_path / "index")
    other = AnnoyIndex.build(vectors[:, :12], ids).save(tmp_path / "other")
    path.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match="bytes instead of"):
        AnnoyIndex.open(path)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_and_missing_files_are_refused(kind, vectors, ids, tmp_path):
    path = kind.build(vectors, ids).save(tmp_path / "index")
    sidecar = path.with_suffix(".json")
    good = sidecar.read_text()
    other = ExactIndex if kind is AnnoyIndex else AnnoyIndex
    with pytest.raises(StoreError, match="no index"):
        other.open(path)
    for change, words in [
        ({"format": 99}, "format 99"),
        ({"kind": "Other"}, "saved by Other"),
        ({"ids": ids[::-1]}, "changed"),
        ({"ids": ids[1:], "labels": ids[1:]}, "changed"),
        ({"file_bytes": 3}, "instead of 3"),
    ]:
        sidecar.write_text(json.dumps({**json.loads(good), **change}))
        with pytest.raises(StoreError, match=words):
            kind.open(path)
    sidecar.write_text(good[: len(good) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        kind.open(path)
    sidecar.unlink()
    with pytest.raises(StoreError, match="missing"):
        kind.open(path)


def test_adding_after_building_is_not_offered(vectors, ids):
    """Annoy takes the call and ignores it; our index has no such verb."""
    assert not hasattr(AnnoyIndex.build(vectors, ids), "add_item")


@pytest.mark.parametrize("metric", ["angular", "euclidean", "manhattan"])
@pytest.mark.parametrize("k", [1, 10, N - 1])
def test_all_neighbours_are_what_query_says_of_each(metric, k, vectors, ids):
    vectors = vectors.copy()
    vectors[300] = vectors[20]  # a pair at distance 0, and two at the same distance of all others
    index = ExactIndex.build(vectors, ids, metric=metric)
    rows, distances = index.all_neighbours(k)
    assert rows.shape == distances.shape == (N, k)
    for row in (0, 20, 255, 256, 300, N - 1):
        table = index.query(ids[row], k)
        assert [ids[place] for place in rows[row]] == table["id"].tolist()
        assert distances[row] == pytest.approx(table["distance"].to_numpy(), rel=1e-5, abs=1e-6)


def test_all_neighbours_of_a_few_pictures():
    index = ExactIndex.build(np.array([[1.0, 0.0], [1e-9, 1e-9], [0.0, 5.0]]), ["a", "b", "c"])
    rows, distances = index.all_neighbours(2)
    assert rows.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert distances[0] == pytest.approx([(2 - 2**0.5) ** 0.5, 2**0.5])
    with pytest.raises(QueryError, match="2 other pictures"):
        index.all_neighbours(3)
