"""Made-up collections of any size, to measure how an index would do on a larger one."""

from __future__ import annotations

import numpy as np

from ..errors import QueryError, check_integer
from ..features import Features, as_vectors, l2_normalize, nearest
from ..store import starts


def enlarge(
    features: Features | np.ndarray, count: int, *, seed: int = 0, out: np.ndarray | None = None
) -> Features | np.ndarray:
    """Make points that lie between a vector and one of its 100 nearest neighbours.

    The result is dense and sparse in the same regions as the original collection, so an index can be measured on more
    vectors than there are. With more than some ten thousand vectors, finding the neighbours takes long.

    Parameters
    ----------
    features : Features or ndarray of shape (N, D)
        At least three vectors.
    count : int
        The number of points to make.
    seed : int, default 0
        Another seed makes other points, such as queries that are in no index.
    out : ndarray of shape (count, D), float32, optional
        The array to fill; a memory map if the result is larger than memory.

    Returns
    -------
    Features or ndarray of shape (count, D), float32
        Of the same type as the argument. The ids of Features are "point 1", "point 2" and so on.

    Raises
    ------
    QueryError
        For fewer than three vectors.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> features = am.Features(np.eye(3), ["a", "b", "c"])
    >>> am.indexes.enlarge(features, 1000)
    Features(own vectors: 1,000 x 3 float32)
    """
    if len(features) < 3:
        raise QueryError(f"{len(features)} vectors are too few to make points between them: give at least three")
    vectors = as_vectors(features.vectors if isinstance(features, Features) else features)
    count, seed = check_integer("count", count, least=0), check_integer("seed", seed, least=0)
    rng, vectors = np.random.default_rng(seed), l2_normalize(vectors, norm_dtype=np.float64)
    near = nearest(vectors, vectors, min(100, len(vectors) - 1), "angular", np.arange(len(vectors)))[0]
    made = np.empty((count, vectors.shape[1]), dtype=np.float32) if out is None else out
    steps = starts(count, vectors.shape[1])
    for start in steps:
        size = min(steps.step, count - start)
        one, part = rng.integers(0, len(vectors), size), rng.random((size, 1), dtype=np.float32)
        other = near[one, rng.integers(0, near.shape[1], size)]
        made[start : start + size] = (1 - part) * vectors[one] + part * vectors[other]
    return Features(made, [f"point {row}" for row in range(1, count + 1)]) if isinstance(features, Features) else made
