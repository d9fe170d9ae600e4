"""Checking and scaling of vectors in blocks of rows, without a second copy of all vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError
from ..store import blocks

UNMEASURABLE = "NaN or infinite values, or numbers too large to be squared in float32"


def measurable(vectors: np.ndarray) -> np.ndarray:
    """Say which vectors are finite, the squares of the distances between such vectors too.

    Parameters
    ----------
    vectors : ndarray of shape (N, D)

    Returns
    -------
    ndarray of shape (N,), bool
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(4 * np.einsum("nd,nd->n", vectors, vectors))


def as_vectors(vectors: object, width: int | None = None) -> np.ndarray:
    """Return vectors as an array of float32.

    Parameters
    ----------
    vectors : array of shape (N, D)
    width : int, optional
        The D that is wanted; by default any.

    Returns
    -------
    ndarray of shape (N, D), float32

    Raises
    ------
    QueryError
        For anything else, for another width, and for vectors that are not `measurable`.
    """
    made = np.asanyarray(vectors)
    if made.dtype.kind not in "fiu" or made.ndim != 2 or made.shape[1] != (width or made.shape[1]) or not made.shape[1]:
        given = f"{made.dtype} {made.shape}"
        raise QueryError(f"vectors must be an array of numbers of shape (N, {width or 'D'}), not {given}")
    made = made.astype(np.float32, copy=False)
    if not measurable(made).all():
        raise QueryError(f"the vectors hold {UNMEASURABLE}: exclude those pictures")
    return made


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
        If there are no vectors, some are not `measurable`, or some are zero and the metric is angular.
    """
    if 0 in vectors.shape:
        raise QueryError("there are no vectors to index")
    parts = [(measurable(block), block.any(axis=1)) for _, block in blocks(vectors)]
    finite, filled = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not finite.all():
        id = ids[int(np.argmin(finite))]
        raise QueryError(f"{(~finite).sum()} vectors hold {UNMEASURABLE}, the first is that of {id!r}: exclude them")
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
