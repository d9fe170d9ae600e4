"""Checking and scaling of vectors in blocks of rows, without a second copy of all vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError
from ..store import blocks


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
        Zero vectors stay zero, and vectors of length 1 up to rounding as they are: to scale twice changes nothing.
    """
    vectors = np.asanyarray(vectors, dtype=np.float32)  # a memory map remains one
    scaled = np.empty_like(vectors, order="C", subok=False)
    for start, block in blocks(vectors):
        lengths = np.linalg.norm(block.astype(norm_dtype, copy=False), axis=1, keepdims=True)
        lengths = np.maximum(np.where(np.abs(lengths - 1) < 2**-22, 1, lengths), 1e-12).astype(np.float32)
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
