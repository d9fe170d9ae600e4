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
    vectors : ndarray of shape (N, D)
        An array or a memory map.

    Yields
    ------
    start : int
        The first row of the block.
    block : ndarray of shape (B, D)
        A view of the rows.
    """
    file = vectors.base if isinstance(vectors, np.memmap) and vectors.mode == "r" else None
    vectors = np.asarray(vectors)  # slicing an np.memmap is slow
    steps = starts(*vectors.shape)
    for start in steps:
        yield start, vectors[start : start + steps.step]
        if isinstance(file, mmap.mmap):
            file.madvise(mmap.MADV_DONTNEED)
