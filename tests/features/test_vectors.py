"""Computation block by block gives the same as all at once."""

import numpy as np
import pytest

from amulsearch import Features
from amulsearch.features import vectors
from amulsearch.store import blockwise


@pytest.fixture
def few_rows(monkeypatch):
    """Blocks of seven rows of width 5."""
    monkeypatch.setattr(blockwise, "BLOCK_BYTES", 7 * 5 * 4)


@pytest.fixture
def made():
    return np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)


@pytest.mark.parametrize("metric", ["angular", "euclidean", "manhattan"])
def test_nearest_is_what_sorting_finds(metric, few_rows, made):
    made[60] = made[3]
    queries = made[[3, 50, 99]]
    a, b = (queries.astype(float), made.astype(float))
    if metric == "angular":
        a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    apart = a[:, None] - b[None]
    far = np.abs(apart).sum(2) if metric == "manhattan" else np.linalg.norm(apart, axis=2)
    rows, distances = vectors.nearest(blockwise.blocks(made), queries, 10, metric)
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :10], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(far, rows, axis=1), distances, atol=1e-6)
    others, further = vectors.nearest(blockwise.blocks(made), queries, 10, metric, own=np.array([3, 50, 99]))
    assert others[0, 0] == 60 and further[0, 0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(others[1:, :9], rows[1:, 1:])
    assert vectors.nearest(blockwise.blocks(made), queries, 100, metric)[0].shape == (3, 100)


def test_blocks_are_all_rows_in_order(few_rows, made, tmp_path):
    np.save(tmp_path / "made.npy", made)
    for source in (made, np.load(tmp_path / "made.npy", mmap_mode="r"), np.asfortranarray(made), made[::2]):
        starts, parts = zip(*((start, np.array(part)) for start, part in blockwise.blocks(source)), strict=True)
        assert [len(part) for part in parts[:-1]] == [7] * (len(parts) - 1)
        assert list(starts) == list(range(0, len(source), 7))
        np.testing.assert_array_equal(np.concatenate(parts), source)


def test_l2_normalize(few_rows, made):
    made = 1e4 * made
    np.testing.assert_allclose(
        vectors.l2_normalize(made), made / np.linalg.norm(made, axis=1, keepdims=True), rtol=1e-6
    )
    np.testing.assert_array_equal(vectors.l2_normalize(np.asfortranarray(made)), vectors.l2_normalize(made))
    for dtype in (np.float32, np.float64):
        scaled = vectors.l2_normalize([[3, 4], [0, 0]], norm_dtype=dtype)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_the_digest_does_not_depend_on_how_vectors_lie(few_rows, made, tmp_path):
    np.save(tmp_path / "made.npy", made)
    ids = [str(row) for row in range(100)]
    mapped = np.load(tmp_path / "made.npy", mmap_mode="r")
    assert len({Features(source, ids).content for source in (made, mapped, np.asfortranarray(made))}) == 1
    assert Features(made[::-1], ids).content != Features(made, ids).content
