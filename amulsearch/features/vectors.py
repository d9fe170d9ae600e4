"""Vectors a block of rows at a time: checked, scaled and compared exactly, without a second copy of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError
from ..store import Blocks, blocks


def check_vectors(vectors: np.ndarray, ids: Sequence[str], metric: str) -> None:
    """Refuse what the libraries take without a word: Annoy puts NaN at a distance of 1.414."""
    if not len(vectors):
        raise QueryError("there are no vectors to index")
    parts = [(np.isfinite(block).all(axis=1), block.any(axis=1)) for _, block in blocks(vectors)]
    finite, filled = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not finite.all():
        id = ids[int(np.argmin(finite))]
        raise QueryError(
            f"{(~finite).sum()} vectors hold NaN or infinite values, the first is of {id!r}: leave them out"
        )
    if metric == "angular" and not filled.all():
        id = ids[int(np.argmin(filled))]
        raise QueryError(
            f"{(~filled).sum()} vectors are zero and have no angle, the first is of {id!r}: leave them out"
        )


def l2_normalize(vectors: np.ndarray, *, norm_dtype: type = np.float32) -> np.ndarray:
    """The vectors at length 1, (N, D) float32; a zero vector stays zero.

    norm_dtype: what the lengths are computed in. np.float64 is for exact search, where the distances of vectors that
        are nearly the same are told apart by the last digits.
    """
    vectors = np.asanyarray(vectors, dtype=np.float32)  # a memory map stays one
    scaled = np.empty_like(vectors, order="C", subok=False)
    for start, block in blocks(vectors):
        lengths = np.linalg.norm(block.astype(norm_dtype, copy=False), axis=1, keepdims=True)
        lengths = np.maximum(lengths, 1e-12).astype(np.float32)
        np.divide(block, lengths, out=scaled[start : start + len(block)])
    return scaled


def compared(vectors: np.ndarray, metric: str) -> np.ndarray:
    """The vectors (N, D) float32 as the metric compares them: at length 1 where it is angular."""
    return (
        l2_normalize(vectors, norm_dtype=np.float64)
        if metric == "angular"
        else np.ascontiguousarray(vectors, dtype=np.float32)
    )


def nearest(
    among: Blocks, queries: np.ndarray, k: int, metric: str, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of all blocks to each query (Q, D): rows (Q, k) int64 and distances (Q, k) float64, nearest first.

    own: for each query the row (Q,) that is not its neighbour.
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
    """Which distances are no greater than that of the k-th true neighbour, up to rounding; ties count."""
    return distances <= limit * (1 + 1e-5) + 1e-6


def _far(queries: np.ndarray, block: np.ndarray, metric: str) -> np.ndarray:
    """Distances (Q, B) float64 of queries and a block; squared where the metric is not manhattan."""
    if metric == "manhattan":
        return np.array([np.abs(block - query).sum(axis=1) for query in queries])
    block = block.astype(np.float64)
    squares = np.einsum("qd,qd->q", queries, queries)[:, None] + np.einsum("bd,bd->b", block, block)
    return np.maximum(squares - 2 * (queries @ block.T), 0)
