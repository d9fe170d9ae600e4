"""Computation block by block gives the same as all at once."""

import tracemalloc

import numpy as np
import pytest

from amulsearch.features import exact_search, vectors
from amulsearch.store import vector_file

METRICS = ["angular", "euclidean"]


@pytest.fixture
def few_rows(monkeypatch):
    """Blocks of seven rows of width 5."""
    monkeypatch.setattr(vector_file, "BLOCK_BYTES", 7 * 5 * 4)


@pytest.fixture
def made():
    return np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)


def collection(name):
    """2,000 vectors of width 24: random, identical in groups of a hundred or more, nearly identical, and others."""
    rng = np.random.default_rng(3)
    made = rng.standard_normal((2000, 24))
    if name != "random":
        made = np.repeat(made[:20], 100, axis=0)[rng.permutation(2000)]
    if name == "nearly the same":
        made += 1e-5 * rng.standard_normal(made.shape)
    if name == "the same":  # 16 different ones, each with four others at the same distance
        made[:, 4:], made[:, :4] = 1, rng.integers(0, 2, (2000, 4))
    if name == "far from the origin":
        made = 100 + rng.standard_normal(made.shape)
    return made.astype(np.float32)


def all_distances(base, queries, metric):
    """Distances (Q, N) in float64, of vectors as they are compared."""
    a, b = (vectors.metric_vectors(v, metric).astype(np.float64) for v in (queries, base))
    apart = (a[:, None] - b).reshape(-1, base.shape[1])
    far = np.sqrt(np.einsum("pd,pd->p", apart, apart))
    return far.reshape(len(a), len(b))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["random", "the same", "nearly the same", "far from the origin"])
def test_nearest_is_what_sorting_in_float64_finds(name, metric, small, monkeypatch):
    if small:
        monkeypatch.setattr(exact_search, "TILE", 2**12)
        monkeypatch.setattr(exact_search, "BLOCK_BYTES", 700 * 24 * 4)
    base, own = collection(name), np.arange(1900, 2000)
    every = all_distances(base, base[own], metric)
    others = every.copy()
    others[np.arange(100), own] = np.inf
    for k in (1, 10, 130):
        for itself, far in ((None, every), (own, others)):
            order = np.argsort(far, axis=1, kind="stable")[:, :k]  # ties by row
            rows, distances = exact_search.nearest(base, base[own], k, metric, itself)
            np.testing.assert_array_equal(rows, order)
            np.testing.assert_allclose(distances, np.take_along_axis(far, order, axis=1), rtol=1e-12)
            np.testing.assert_array_equal(exact_search.distances_to(base, base[own], rows, metric), distances)
    assert exact_search.nearest(base[:5], base[own], 5, metric)[0].shape == (100, 5)
    assert exact_search.nearest(base, base[:0], 5, metric)[0].shape == (0, 5)


class Counted:
    """Vectors that count how many of them are taken."""

    def __init__(self, vectors: np.ndarray):
        self.vectors, self.shape, self.taken = vectors, vectors.shape, 0

    def __getitem__(self, rows):
        self.taken += len(self.vectors[rows])
        return self.vectors[rows]


def test_of_identical_pictures_few_vectors_are_compared():
    base = np.random.default_rng(0).standard_normal((2000, 24)).astype(np.float32)
    base[:1000] = base[0]
    counted = Counted(base)
    rows, distances = exact_search.nearest(counted, base, 10, "angular", np.arange(2000))
    assert rows[0].tolist() == list(range(1, 11)) and rows[999].tolist() == list(range(10))
    assert distances[:1000].max() == 0 and distances[1000:].min() > 0.1
    assert counted.taken < 100 * len(base)  # all pairs of identical ones would be 500 times


@pytest.mark.parametrize("metric", METRICS)
def test_within_is_all_up_to_the_limit(metric, monkeypatch):
    base = collection("nearly the same")
    far = all_distances(base, base[:300], metric)
    limits = np.sort(far, axis=1)[np.arange(300), np.arange(300) % 150]  # 1 to 150 vectors
    for tile in (exact_search.TILE, 2**15):
        monkeypatch.setattr(exact_search, "TILE", tile)
        parts = list(exact_search.within(base, base[:300], limits, metric))
        asking, rows, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        near = np.zeros_like(far, dtype=bool)
        near[asking, rows] = True
        np.testing.assert_array_equal(near, far <= limits[:, None])
        np.testing.assert_allclose(distances, far[asking, rows], rtol=1e-12)
        assert len(parts) == (1 if tile > 2**15 else 3)
        np.testing.assert_array_equal(np.lexsort((rows, distances, asking)), np.arange(len(asking)))


def test_of_a_memory_map_only_blocks_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_search, "BLOCK_BYTES", 2**20)
    made = np.random.default_rng(0).standard_normal((40_000, 256), dtype=np.float32)
    np.save(tmp_path / "made.npy", made)
    mapped = np.load(tmp_path / "made.npy", mmap_mode="r")
    tracemalloc.start()
    rows, _ = exact_search.nearest(mapped, mapped[:20], 5, "angular")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[:, 0].tolist() == list(range(20))
    assert peak < 2**23 < made.nbytes / 4


def test_l2_normalize(few_rows, made):
    made = 1e4 * made
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors.l2_normalize(made), unit, rtol=1e-6)
    np.testing.assert_array_equal(vectors.l2_normalize(np.asfortranarray(made)), vectors.l2_normalize(made))
    for dtype in (np.float32, np.float64):
        scaled = vectors.l2_normalize([[3, 4], [0, 0]], norm_dtype=dtype)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    once = vectors.metric_vectors(np.random.default_rng(0).standard_normal((5000, 300)), "angular")
    np.testing.assert_array_equal(vectors.metric_vectors(once, "angular"), once)
