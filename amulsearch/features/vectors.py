"""Checking, scaling and exact search of vectors in blocks of rows, without a second copy of all vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError
from ..store import Blocks, blocks


def check_vectors(vectors: np.ndarray, ids: Sequence[str], metric: str) -> None:
    """Reject vectors that the index libraries would silently accept; Annoy, for one, puts NaN at a distance of 1.414.

    Parameters
    ----------
    vectors : ndarray of shape (N, D)
    ids : sequence of N str
    metric : {"angular", "euclidean", "manhattan"}

    Raises
    ------
    QueryError
        If there are no vectors, some are NaN or infinite, or some are zero and the metric is angular.
    """
    if not len(vectors):
        raise QueryError("there are no vectors to index")
    parts = [(np.isfinite(block).all(axis=1), block.any(axis=1)) for _, block in blocks(vectors)]
    finite, filled = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not finite.all():
        id = ids[int(np.argmin(finite))]
        raise QueryError(
            f"{(~finite).sum()} vectors hold NaN or infinite values, the first is that of {id!r}: exclude them"
        )
    if metric == "angular" and not filled.all():
        id = ids[int(np.argmin(filled))]
        raise QueryError(
            f"{(~filled).sum()} vectors are zero and have no angle, the first is that of {id!r}: exclude them"
        )


def l2_normalize(vectors: np.ndarray, *, norm_dtype: type = np.float32) -> np.ndarray:
    """Scale vectors to length 1.

    Parameters
    ----------
    vectors : array of shape (N, D)
        A memory map is read in blocks.
    norm_dtype : type, default np.float32
        The type in which the lengths are computed. Exact search uses np.float64: the distances of nearly equal vectors
        differ only in the last digits.

    Returns
    -------
    ndarray of shape (N, D), float32
        Zero vectors stay zero.
    """
    vectors = np.asanyarray(vectors, dtype=np.float32)  # a memory map remains one
    scaled = np.empty_like(vectors, order="C", subok=False)
    for start, block in blocks(vectors):
        lengths = np.linalg.norm(block.astype(norm_dtype, copy=False), axis=1, keepdims=True)
        lengths = np.maximum(lengths, 1e-12).astype(np.float32)
        np.divide(block, lengths, out=scaled[start : start + len(block)])
    return scaled


def compared(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return vectors as a metric compares them: scaled to length 1 if it is angular.

    Parameters
    ----------
    vectors : ndarray of shape (N, D)
    metric : {"angular", "euclidean", "manhattan"}

    Returns
    -------
    ndarray of shape (N, D), float32
    """
    return (
        l2_normalize(vectors, norm_dtype=np.float64)
        if metric == "angular"
        else np.ascontiguousarray(vectors, dtype=np.float32)
    )


def nearest(
    among: Blocks, queries: np.ndarray, k: int, metric: str, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest neighbours of each query by exact search.

    Parameters
    ----------
    among : iterable of (int, ndarray of shape (B, D))
        The vectors to search, in blocks, see `store.blocks`.
    queries : ndarray of shape (Q, D)
    k : int
    metric : {"angular", "euclidean", "manhattan"}
    own : ndarray of shape (Q,), int, optional
        The row of each query itself, which is not its neighbour.

    Returns
    -------
    rows : ndarray of shape (Q, k), int64
        Nearest first; fewer than k columns if there are fewer vectors.
    distances : ndarray of shape (Q, k), float64
    """
    queries = compared(queries, metric).astype(np.float64)
    rows, distances = np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0))
    for start, block in among:
        far = _far(queries, compared(block, metric), metric)  # (Q, B)
        if own is not None:
            inside = np.flatnonzero((own >= start) & (own < start + len(block)))
            far[inside, own[inside] - start] = np.inf
        place = np.broadcast_to(np.arange(start, start + len(block)), far.shape)
        far, place = np.concatenate([distances, far], axis=1), np.concatenate([rows, place], axis=1)
        keep = np.argpartition(far, min(k, far.shape[1]) - 1, axis=1)[:, :k]
        distances, rows = np.take_along_axis(far, keep, axis=1), np.take_along_axis(place, keep, axis=1)
    order = np.lexsort((rows, distances))
    rows, distances = np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)
    return rows, distances if metric == "manhattan" else np.sqrt(distances)


def as_near(distances: np.ndarray, limit: float) -> np.ndarray:
    """Compare distances with that of the k-th true neighbour, up to rounding; ties count as near.

    Parameters
    ----------
    distances : ndarray of any shape
    limit : float
        The distance of the k-th true neighbour.

    Returns
    -------
    ndarray of bool, of the same shape
    """
    return distances <= limit * (1 + 1e-5) + 1e-6


def _far(queries: np.ndarray, block: np.ndarray, metric: str) -> np.ndarray:
    """Compute the distances (Q, B), float64, of queries and a block, squared unless the metric is manhattan."""
    if metric == "manhattan":
        return np.array([np.abs(block - query).sum(axis=1) for query in queries])
    block = block.astype(np.float64)
    squares = np.einsum("qd,qd->q", queries, queries)[:, None] + np.einsum("bd,bd->b", block, block)
    return np.maximum(squares - 2 * (queries @ block.T), 0)
