"""Vectors a block of rows at a time, so that no second copy of all of them is made."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

import numpy as np

BLOCK_BYTES, BLOCK_ROWS = 2**22, 8192
"""How much of the vectors is in hand at a time; larger blocks leave the processor's caches and are no quicker."""

Blocks = Iterable[tuple[int, np.ndarray]]


def starts(count: int, width: int) -> range:
    """The first row of each block of `count` vectors of this width."""
    return range(0, count, max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * max(width, 1)))))


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The row at which a block starts, and the block (B, D), for all of (N, D).

    Of a memory map that is only read, what has been read does not stay in memory.
    """
    file = vectors.base if isinstance(vectors, np.memmap) and vectors.mode == "r" else None
    vectors = np.asarray(vectors)  # slices of a np.memmap are slow to make
    steps = starts(*vectors.shape)
    for start in steps:
        yield start, vectors[start : start + steps.step]
        if isinstance(file, mmap.mmap):
            file.madvise(mmap.MADV_DONTNEED)
