"""Checking and scaling of vectors in blocks of rows, without a second copy of all vectors."""

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError
from ..store import blocks

UNMEASURABLE = "NaN or infinite values, or numbers too large to be squared in float32"


def measurable(vectors: np.ndarray) -> np.ndarray:
    """Which vectors (N,) are finite, the squares of the distances between such vectors too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(4 * np.einsum("nd,nd->n", vectors, vectors))


def as_vectors(values: object, width: int = 0) -> np.ndarray:
    """`values` as an (N, width) array of float32, of any width if that is 0; QueryError if some are unmeasurable."""
    vectors = np.asanyarray(values)
    if vectors.dtype.kind not in "fiu" or vectors.ndim != 2 or not 0 < vectors.shape[1] == (width or vectors.shape[1]):
        given = f"{vectors.dtype} {vectors.shape}"
        raise QueryError(f"vectors must be an array of numbers of shape (N, {width or 'D'}), not {given}")
    vectors = vectors.astype(np.float32, copy=False)
    if not measurable(vectors).all():
        raise QueryError(f"the vectors hold {UNMEASURABLE}: leave them out")
    return vectors


def check_vectors(vectors: np.ndarray, ids: Sequence[str], metric: str) -> None:
    """Refuse vectors that index libraries would silently accept; Annoy, for one, puts NaN at a distance of 1.414."""
    if 0 in vectors.shape:
        raise QueryError("there are no vectors to index")
    parts = [(measurable(block), block.any(axis=1)) for _, block in blocks(vectors)]
    finite, filled = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not finite.all():
        id = ids[int(np.argmin(finite))]
        raise QueryError(f"{(~finite).sum()} vectors hold {UNMEASURABLE}, the first is that of {id!r}: exclude them")
    if metric == "angular" and not filled.all():
        id = ids[int(np.argmin(filled))]
        count = (~filled).sum()
        raise QueryError(f"{count} vectors are zero and have no angle, the first is that of {id!r}: exclude them")


def l2_normalize(vectors: np.ndarray, *, norm_dtype: type = np.float32) -> np.ndarray:
    """Scale vectors to length 1.

    Zero vectors stay zero, and vectors of length 1 up to rounding as they are: to scale twice changes nothing.

    Parameters
    ----------
    vectors : array of shape (N, D)
        A memory map is read in blocks.
    norm_dtype : type, default np.float32
        The type in which the lengths are computed. Exact search uses np.float64: the distances of nearly equal vectors
        differ only in the last digits.
    """
    vectors = np.asanyarray(vectors, dtype=np.float32)  # a memory map remains one
    scaled = np.empty_like(vectors, order="C", subok=False)
    for start, block in blocks(vectors):
        lengths = np.linalg.norm(block.astype(norm_dtype, copy=False), axis=1, keepdims=True)
        lengths = np.maximum(np.where(np.abs(lengths - 1) < 2**-22, 1, lengths), 1e-12).astype(np.float32)
        np.divide(block, lengths, out=scaled[start : start + len(block)])
    return scaled


def metric_vectors(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Vectors as a metric compares them: float32, scaled to length 1 if it is angular."""
    if metric == "angular":
        return l2_normalize(vectors, norm_dtype=np.float64)
    return np.ascontiguousarray(vectors, dtype=np.float32)
