"""Agreement of two systems, without labels."""

from __future__ import annotations

import numpy as np

from ..errors import QueryError


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the fraction of the first k neighbours that two systems share, of the longer list if one is shorter.

    Parameters
    ----------
    a, b : ndarray of shape (N, k), int
        Rows of neighbours, as `ExactIndex.all_neighbours` and `fuse_all` return them; -1 at the end of a list is no
        neighbour.

    Returns
    -------
    ndarray of shape (N,), float64
        From 0 to 1, for each query; 0 if both lists are empty.

    Raises
    ------
    QueryError
        If the two arrays are empty or differ in shape.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise QueryError("lists are rows (N, k) of integers, as ExactIndex.all_neighbours returns them, not tables")
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise QueryError(
            f"the lists have the shapes {a.shape} and {b.shape}: give two of the same shape (N, k), not empty"
        )
    shared = ((a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)).sum(axis=(1, 2))
    longer = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1))
    return shared / np.maximum(longer, 1)
