"""Made-up collections of any size, for benchmarks of indexes."""

from __future__ import annotations

import numpy as np

import amulsearch as am
from amulsearch.features import l2_normalize, nearest
from amulsearch.store import starts


def enlarge(vectors: np.ndarray, count: int, *, seed: int = 0, out: np.ndarray | None = None) -> np.ndarray:
    """(count, D) float32: points between two of the vectors (N, D), one of which is among the 100 nearest of the other.

    A collection of any size that is as crowded and as empty, in the same places, as the real one. With more than some
    ten thousand vectors finding the neighbours takes long.
    out: the array to fill, as a memory map for what is larger than memory.

    Raises QueryError for fewer than three vectors.
    """
    if len(vectors) < 3:
        raise am.QueryError(f"{len(vectors)} vectors are too few to make others between them")
    rng, vectors = np.random.default_rng(seed), l2_normalize(vectors, norm_dtype=np.float64)
    near = nearest([(0, vectors)], vectors, min(100, len(vectors) - 1), "angular", own=np.arange(len(vectors)))[0]
    made = np.empty((count, vectors.shape[1]), dtype=np.float32) if out is None else out
    steps = starts(count, vectors.shape[1])
    for start in steps:
        size = min(steps.step, count - start)
        one, part = rng.integers(0, len(vectors), size), rng.random((size, 1), dtype=np.float32)
        other = near[one, rng.integers(0, near.shape[1], size)]
        made[start : start + size] = (1 - part) * vectors[one] + part * vectors[other]
    return made
