"""The graph of several networks and the diffusion over it, compared with loops and matrix inverses in numpy."""

import tracemalloc

import numpy as np
import pytest

import amulsearch as am
from amulsearch.errors import QueryError, StoreError
from amulsearch.systems import Diffusion, NeighbourGraph, diffusion

N, K = 90, 6
IDS = [f"folder/{row:02}.png" for row in range(N)]


@pytest.fixture
def unlimited(monkeypatch):
    """Every edge is followed to the end, and nothing is cut off."""
    for name, value in (("KEPT", 10**6), ("EDGES", 10**6), ("STEPS", 300)):
        monkeypatch.setattr(diffusion, name, value)


@pytest.fixture(scope="module")
def parts() -> list[am.Features]:
    """Three noisy views of pictures in nine groups of ten."""
    chance = np.random.default_rng(3)
    labels = [f"group {row // 10}" for row in range(N)]
    found = []
    for width in (6, 9, 12):
        centres = np.repeat(chance.standard_normal((9, width)), 10, axis=0)
        found.append(am.Features(centres + 0.8 * chance.standard_normal((N, width)), IDS, labels))
    return found


def unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ranks(vectors: np.ndarray, queries: np.ndarray, own: bool) -> np.ndarray:
    """The rank (Q, N), from 1, of each picture for each query; 0 beyond the first K."""
    cosine = unit(queries) @ unit(vectors).T
    if own:
        np.fill_diagonal(cosine, -2)
    order = np.argsort(-cosine, axis=1)
    found = np.zeros(cosine.shape, dtype=int)
    for query in range(len(queries)):
        for rank in range(K):
            found[query, order[query, rank]] = rank + 1
    return found


def weights_by_loops(parts: list[am.Features], power: float) -> np.ndarray:
    weights = np.zeros((N, N))
    for part in parts:
        rank = ranks(part.vectors, part.vectors, own=True)
        for i in range(N):
            for j in range(N):
                for a, b in ((i, j), (j, i)):
                    weights[i, j] += 1 / np.sqrt(rank[a, b]) if rank[a, b] else 0
    return (weights / (2 * len(parts))) ** power


def test_the_weights_are_those_of_loops(parts):
    for power in (1.0, 2.0):
        graph = NeighbourGraph.build(parts, K, power=power)
        expected = weights_by_loops(parts, power)
        np.testing.assert_allclose(graph.weights.toarray(), expected, atol=1e-12)
        assert repr(graph) == f"NeighbourGraph(90 pictures, 3 parts, {(expected > 0).sum() // 2} edges)"
    assert (graph.weights != graph.weights.T).nnz == 0 and graph.weights.data.max() <= 1
    again = NeighbourGraph.build(parts, K)
    assert np.array_equal(again.weights.data, graph.weights.data)
    approximate = NeighbourGraph.build([am.AnnoyIndex.build(part, n_trees=30) for part in parts], K)
    assert np.array_equal(approximate.rows, graph.rows)


def test_edges_say_which_networks_agree(parts):
    graph = NeighbourGraph.build(parts, K)
    table = graph.edges(IDS[7])
    weights = weights_by_loops(parts, 2.0)[7]
    assert table["score"].is_monotonic_decreasing and len(table) == (weights > 0).sum()
    assert table["score"].tolist() == pytest.approx([weights[IDS.index(id)] for id in table["id"]])
    assert table["label"].tolist() == [f"group {IDS.index(id) // 10}" for id in table["id"]]
    for name, part in zip(graph.names, parts, strict=True):
        rank = ranks(part.vectors, part.vectors, own=True)[7]
        assert table[name].fillna(0).tolist() == [rank[IDS.index(id)] for id in table["id"]]
    with pytest.raises(QueryError, match="no picture 'x' in the graph"):
        graph.edges("x")


def profiles_by_inverse(weights: np.ndarray, alpha: float) -> np.ndarray:
    scale = np.diag(weights.sum(axis=1) ** -0.5)
    root = np.sqrt(np.linalg.inv(np.eye(N) - alpha * scale @ weights @ scale))
    return root / np.linalg.norm(root, axis=1, keepdims=True)


def test_without_limits_the_ranking_is_that_of_the_inverse(parts, unlimited):
    index = Diffusion.build(parts, K, alpha=0.8)
    reached = profiles_by_inverse(weights_by_loops(parts, 2.0), 0.8)
    expected = reached @ reached.T
    similar = 1 - index.similarities(np.arange(N)) ** 2 / 2
    np.fill_diagonal(similar, 1)
    np.testing.assert_allclose(similar, expected, atol=1e-5)
    np.fill_diagonal(expected, -1)
    for row in (0, 33, 89):
        found = index.query(IDS[row], 10)
        order = np.argsort(-expected[row])[:10]
        assert found["id"].tolist() == [IDS[place] for place in order]
        np.testing.assert_allclose(found["distance"], np.sqrt(2 - 2 * expected[row, order]), atol=1e-3)
    rows, _ = index.all_neighbours(5)
    assert rows[33].tolist() == np.argsort(-expected[33])[:5].tolist()


def test_only_the_strongest_edges_and_the_greatest_elements_are_kept(parts, monkeypatch):
    monkeypatch.setattr(diffusion, "KEPT", 20)
    monkeypatch.setattr(diffusion, "EDGES", 3)
    monkeypatch.setattr(diffusion, "STEPS", 2)
    index = Diffusion.build(parts, K, alpha=0.5)
    weights = weights_by_loops(parts, 2.0)
    scale = weights.sum(axis=1) ** -0.5
    between = scale[:, None] * weights * scale

    def greatest(matrix: np.ndarray, keep: int) -> np.ndarray:
        cut = np.zeros_like(matrix)
        for row, values in enumerate(matrix):
            first = np.argsort(-values, kind="stable")[:keep]
            cut[row, first] = values[first]
        return cut

    strongest = greatest(between, 3)
    strongest = 0.5 * np.maximum(strongest, strongest.T)
    expected = np.eye(N)
    for _ in range(2):
        expected = greatest(np.eye(N) + expected @ strongest, 20)
    np.testing.assert_allclose(index._spread.toarray(), expected, atol=1e-6)
    assert np.diff(index._spread.indptr).max() <= 20


def parts_of(parts, row: int, noise: float = 0.0) -> list[np.ndarray]:
    """The vectors (1, D) of a new picture near a picture of the collection, one for each part."""
    chance = np.random.default_rng(row)
    made = [unit(part.vectors[row : row + 1] + noise * chance.standard_normal(part.vectors.shape[1])) for part in parts]
    return [vectors.astype(np.float32) for vectors in made]


def test_a_new_picture_enters_by_its_neighbours_in_each_network(parts, unlimited):
    graph = NeighbourGraph.build(parts, K)
    index = Diffusion.build(parts, K, alpha=0.8)
    new = parts_of(parts, 41, noise=0.3)
    weights = np.zeros(N)
    for part, of in zip(parts, new, strict=True):
        forward = ranks(part.vectors, of, own=False)[0]
        cosine, among = (unit(of) @ unit(part.vectors).T)[0], unit(part.vectors) @ unit(part.vectors).T
        np.fill_diagonal(among, -2)
        back = 1 + (among > cosine[:, None]).sum(axis=1)
        weights += np.where(forward > 0, 1 / np.sqrt(np.maximum(forward, 1)), 0)
        weights += np.where((back <= K), 1 / np.sqrt(back), 0) * any_lists(parts, new)
    weights = (weights / 6) ** 2
    np.testing.assert_allclose(graph.links(new).toarray()[0], weights, atol=1e-9)
    matrix = weights_by_loops(parts, 2.0)
    scale = matrix.sum(axis=1) ** -0.5
    inverse = np.linalg.inv(np.eye(N) - 0.8 * scale[:, None] * matrix * scale)
    root = np.sqrt((weights * scale) @ inverse)
    expected = profiles_by_inverse(matrix, 0.8) @ (root / np.linalg.norm(root))
    rows, distances = index.rank(new, 8)
    assert rows[0].tolist() == np.argsort(-expected)[:8].tolist()
    np.testing.assert_allclose(distances[0], np.sqrt(2 - 2 * np.sort(-expected)[:8] * -1), atol=1e-3)
    assert (rows[0] // 10 == 4).mean() > 0.7


def any_lists(parts, new) -> np.ndarray:
    """Which pictures (N,) any part lists for a new one."""
    lists = [ranks(part.vectors, of, own=False)[0] > 0 for part, of in zip(parts, new, strict=True)]
    return np.any(lists, axis=0)


def test_networks_together_find_more_than_each(parts):
    labels = am.Relevance.from_labels(parts[0].ids, parts[0].labels)
    single = max(am.evaluate(part, labels).mean()["mAP"] for part in parts)
    joined = am.evaluate(am.transforms.concatenate(parts), labels).mean()["mAP"]
    assert am.evaluate(Diffusion.build(parts, 10), labels).mean()["mAP"] > joined + 0.02 > single + 0.02


def test_saved_and_opened_it_answers_the_same(parts, tmp_path):
    index = Diffusion.build(parts, K, alpha=0.7)
    opened = Diffusion.open(index.save(tmp_path / "graph"))
    assert opened.query(IDS[5], 7).equals(index.query(IDS[5], 7))
    new = parts_of(parts, 60, noise=0.2)
    assert np.array_equal(opened.rank(new, 5)[1], index.rank(new, 5)[1])
    assert opened.graph.edges(IDS[5]).equals(index.graph.edges(IDS[5])) and opened.alpha == 0.7
    with pytest.raises(StoreError, match="saved by Diffusion: open it with that class"):
        am.ExactIndex.open(tmp_path / "graph")


def test_a_new_picture_asks_with_its_file(cartoons, bundled_features, tmp_path):
    parts = [bundled_features[name, "penultimate"] for name in am.models.BUNDLED[:2]]
    some = [
        am.Features(part.vectors[:150], part.ids[:150], part.labels[:150], part.fingerprint, part.digests[:150])
        for part in parts
    ]
    index = Diffusion.open(Diffusion.build(some).save(tmp_path / "graph"))
    found = index.query(cartoons.path(some[0].ids[20]), 3)
    assert found["id"][0] == some[0].ids[20]
    assert set(found["id"][1:]) <= set(index.query(some[0].ids[20], 10)["id"])


def test_small_collections_and_mistakes(parts):
    few = [am.Features(part.vectors[:3], part.ids[:3]) for part in parts]
    index = Diffusion.build(few)
    assert sorted(index.query(IDS[0], 2)["id"]) == IDS[1:3]
    with pytest.raises(QueryError, match="at least one"):
        Diffusion.build([])
    with pytest.raises(QueryError, match="not of the same pictures"):
        NeighbourGraph.build([parts[0], few[0]])
    with pytest.raises(QueryError, match="alpha must be at least 0 and below 1, not 1"):
        Diffusion.build(parts, alpha=1)
    with pytest.raises(QueryError, match="k must be an integer"):
        NeighbourGraph.build(parts, 0)
    with pytest.raises(QueryError, match="power must be above 0, not -1"):
        NeighbourGraph.build(parts, power=-1)
    with pytest.raises(QueryError, match="systems in a list, not Features"):
        Diffusion.build(parts[0])
    with pytest.raises(QueryError, match="there are no other pictures"):
        NeighbourGraph.build([am.Features(parts[0].vectors[:1], IDS[:1])])


def most_memory(function) -> float:
    """The most MB that Python and numpy hold while a function runs."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_the_memory_of_a_hub_is_that_of_its_edges(monkeypatch):
    """A picture that every other lists: 4,000 rows as long as its own would be 128 MB."""
    monkeypatch.setattr(diffusion, "STEPS", 1)
    vectors = np.random.default_rng(0).standard_normal((4000, 64))
    vectors[0] = 0
    part = am.Features(vectors + 8 * np.eye(64)[0], map(str, range(4000)))
    graph = NeighbourGraph.build([part], 35)
    assert np.diff(graph.weights.indptr).max() > 1000
    assert most_memory(lambda: diffusion.spread(graph.weights, 0.9)) < 60


def test_many_new_pictures_take_no_more_memory_than_some(parts):
    index = Diffusion.build(parts, K)
    many = [
        np.concatenate(new) for new in zip(*(parts_of(parts, row % N, noise=0.3) for row in range(2000)), strict=True)
    ]
    some = lambda rows: [vectors[rows] for vectors in many]  # noqa: E731
    index.rank(some(slice(2)), 5)
    assert most_memory(lambda: index.rank(many, 5)) < 2 * most_memory(lambda: index.rank(some(slice(200)), 5))
    assert np.array_equal(index.rank(many, 5)[1][1900:], index.rank(some(slice(1900, None)), 5)[1])
