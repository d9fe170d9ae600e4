"""Synthetic collections of any size, for benchmarks of indexes."""

from __future__ import annotations

import numpy as np

import amulsearch as am
from amulsearch.features import l2_normalize, nearest
from amulsearch.store import starts


def enlarge(vectors: np.ndarray, count: int, *, seed: int = 0, out: np.ndarray | None = None) -> np.ndarray:
    """Make points that lie between a vector and one of its 100 nearest neighbours.

    The result is dense and sparse in the same regions as the original collection. With more than some ten thousand
    vectors, finding the neighbours takes long.

    Parameters
    ----------
    vectors : ndarray of shape (N, D)
        At least three vectors.
    count : int
        The number of points to make.
    seed : int, default 0
    out : ndarray of shape (count, D), float32, optional
        The array to fill; a memory map if the result is larger than memory.

    Returns
    -------
    ndarray of shape (count, D), float32

    Raises
    ------
    QueryError
        For fewer than three vectors.
    """
    if len(vectors) < 3:
        raise am.QueryError(f"{len(vectors)} vectors are too few to make points between them: give at least three")
    rng, vectors = np.random.default_rng(seed), l2_normalize(vectors, norm_dtype=np.float64)
    near = nearest(vectors, vectors, min(100, len(vectors) - 1), "angular", np.arange(len(vectors)))[0]
    made = np.empty((count, vectors.shape[1]), dtype=np.float32) if out is None else out
    steps = starts(count, vectors.shape[1])
    for start in steps:
        size = min(steps.step, count - start)
        one, part = rng.integers(0, len(vectors), size), rng.random((size, 1), dtype=np.float32)
        other = near[one, rng.integers(0, near.shape[1], size)]
        made[start : start + size] = (1 - part) * vectors[one] + part * vectors[other]
    return made
