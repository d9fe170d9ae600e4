"""Read vectors in blocks of rows, without a second copy of all of them."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

import numpy as np

BLOCK_BYTES, BLOCK_ROWS = 2**22, 8192
"""The size limits of a block; larger blocks exceed the processor's caches and are not faster."""

Blocks = Iterable[tuple[int, np.ndarray]]
"""Pairs of the first row of a block and the block, of shape (B, D)."""


def starts(count: int, width: int) -> range:
    """Return the first row of each block.

    Parameters
    ----------
    count : int
        The number of vectors.
    width : int
        The number of values per vector; each is taken to have 4 bytes.

    Returns
    -------
    range
        Its step is the number of rows of a block.
    """
    return range(0, count, max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * max(width, 1)))))


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over vectors in blocks of rows.

    Blocks of a read-only memory map are released from memory after use.

    Parameters
    ----------
    vectors : ndarray or Gathered of shape (N, D)
        An array or a memory map.

    Yields
    ------
    start : int
        The first row of the block.
    block : ndarray of shape (B, D)
        A view of the rows.
    """
    file = vectors.base if isinstance(vectors, np.memmap) and vectors.mode == "r" else None
    if not isinstance(vectors, Gathered):
        vectors = np.asarray(vectors)  # slicing an np.memmap is slow
    steps = starts(*vectors.shape)
    for start in steps:
        yield start, vectors[start : start + steps.step]
        if isinstance(file, mmap.mmap) and hasattr(file, "madvise"):  # Windows has none, and releases them by itself
            file.madvise(mmap.MADV_DONTNEED)


class Gathered(np.lib.mixins.NDArrayOperatorsMixin):
    """Rows of a memory map in another order, without a copy of all of them.

    Indexing and slicing read the rows that are asked for. Everything else that numpy does with an array reads all.

    Parameters
    ----------
    file : memmap of shape (M, D)
    places : ndarray of shape (N,), int64
        The place in the file of each row.

    Attributes
    ----------
    shape : tuple of 2 int
        (N, D).
    dtype : numpy.dtype
    ndim : int
        2.
    """

    ndim = 2

    def __init__(self, file: np.memmap, places: np.ndarray):
        self._file, self._places = np.asarray(file), places
        self.shape, self.dtype = (len(places), file.shape[1]), file.dtype

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key):
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        found = self._file[self._places[rows]]
        return found[(..., *rest)] if rest else found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __array_ufunc__(self, function, method, *inputs, **options):
        inputs = [np.asarray(one) if isinstance(one, Gathered) else one for one in inputs]
        return getattr(function, method)(*inputs, **options)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self[:], name)
