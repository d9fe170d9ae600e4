"""A collection in two dimensions: every picture has a cell of its own, near the pictures similar to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import QueryError, check_k
from ..features import Features, l2_normalize, nearest

SPARE, ASPECT = 1.3, 4 / 3
"""Cells of the grid per picture (the empty cells keep groups apart), and its width divided by its height."""
SAMPLE = 20_000
"""Up to this many pictures are laid out, which takes minutes."""
EXACT = 2500
"""Up to this many cells, the assignment is optimal; a larger grid is first halved."""


@dataclass(frozen=True, eq=False)
class Map:
    """A layout of a collection in two dimensions. Make one with `Map.fit`.

    Attributes
    ----------
    ids : list of str
        The N pictures.
    labels : list of str or None
        Their labels.
    positions : ndarray of shape (N, 2), float32
        Positions from t-SNE: x to the right and y downwards, both from 0 to 1.
    cells : ndarray of shape (N, 2), int64
        The column and the row of each picture in a grid; no two pictures share a cell.
    columns, rows : int
        The size of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> vectors = np.random.default_rng(0).normal(size=(30, 8))
    >>> features = am.Features(vectors, [f"{row}.png" for row in range(30)])
    >>> map = am.views.Map.fit(features)
    >>> map
    Map(30 pictures in a grid of 7 x 6)
    >>> map.neighbours(3).shape
    (30, 3)
    """

    ids: list[str]
    labels: list[str | None]
    positions: np.ndarray
    cells: np.ndarray
    columns: int
    rows: int

    @classmethod
    def fit(cls, features: Features) -> Map:
        """Lay out a collection.

        The L2-normalised vectors are reduced to 50 principal components and laid out by t-SNE (perplexity 30, lower
        for fewer than 91 pictures). Then each picture is assigned to a cell of a grid so that the sum of the squared
        distances between positions and cells is minimal; a grid of more than 2,500 cells is first halved repeatedly,
        and the pictures are divided in the same proportion. The same vectors give the same map on the same type of
        processor.

        Parameters
        ----------
        features : Features
            Vectors (N, D) of at least two pictures. Of more than 20,000, a random sample is laid out.

        References
        ----------
        van der Maaten & Hinton 2008, Visualizing data using t-SNE.
        """
        if len(features) < 2:
            raise QueryError("a map needs at least two pictures")
        part = sampled(features, SAMPLE)
        positions = _positions(l2_normalize(part.vectors))
        columns = max(1, round((len(part) * SPARE * ASPECT) ** 0.5))
        rows = -(-int(np.ceil(len(part) * SPARE)) // columns)
        cells = np.empty((len(part), 2), dtype=np.int64)
        _assign(positions * (columns, rows), np.arange(len(part)), (0, 0, columns, rows), cells)
        return cls(part.ids, part.labels, positions, cells, columns, rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Map({len(self):,} pictures in a grid of {self.columns} x {self.rows})"

    def neighbours(self, k: int | None = None) -> np.ndarray:
        """Return the rows (N, k) int64 of the nearest pictures of each picture, by Euclidean distance of `positions`,
        nearest first; k is by default 10, or N - 1 if that is less."""
        k = check_k(k, len(self) - 1)
        return nearest(self.positions, self.positions, k, "euclidean", np.arange(len(self)))[0]


def sampled(features: Features, most: int) -> Features:
    """A random sample of at most `most` pictures, in their order."""
    if len(features) <= most:
        return features
    rows = np.sort(np.random.default_rng(0).permutation(len(features))[:most])
    names = {name: [getattr(features, name)[row] for row in rows] for name in ("ids", "labels")}
    digests = [features.digests[row] for row in rows] if features.digests else []
    return replace(features, vectors=features.vectors[rows], **names, digests=digests)


def _positions(vectors: np.ndarray) -> np.ndarray:
    """t-SNE of unit vectors (N, D), scaled to 0..1 in both directions: (N, 2) float32."""
    from sklearn.decomposition import PCA  # imported only when a map is made
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count = len(vectors)
    width = min(50, count - 1, vectors.shape[1])
    with threadpool_limits(1):  # with several, the order of their sums would change the map
        with np.errstate(invalid="ignore"):  # the share of a variance of 0, if all pictures are the same
            reduced = PCA(width, random_state=0).fit_transform(vectors)
        if count < 5 or width < 2 or not np.ptp(reduced, axis=0)[1] > 1e-6:  # too few pictures, or no variance
            places = np.zeros((count, 2), dtype=np.float32)
            places[:, : min(2, width)] = reduced[:, :2]
        else:
            tsne = TSNE(2, perplexity=min(30.0, (count - 1) / 3), init="pca", random_state=0)
            places = tsne.fit_transform(reduced)
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.maximum(high - low, 1e-12)).astype(np.float32)


def _assign(points: np.ndarray, which: np.ndarray, box: tuple[int, int, int, int], cells: np.ndarray) -> None:
    """Assign the points `which`, in units of cells, to cells of a box (left, top, columns, rows), one each."""
    left, top, columns, rows = box
    if columns * rows <= EXACT:
        from scipy.optimize import linear_sum_assignment

        y, x = np.divmod(np.arange(columns * rows), columns)
        middles = np.stack([left + x + 0.5, top + y + 0.5], axis=1)
        way = ((points[which, None] - middles) ** 2).sum(axis=2)  # (N, cells)
        cells[which] = (middles[linear_sum_assignment(way)[1]] - 0.5).astype(np.int64)
        return
    axis = 0 if columns >= rows else 1
    size = columns if axis == 0 else rows
    order = which[np.argsort(points[which, axis], kind="stable")]
    cut = round(len(which) * (size // 2) / size)
    halves = ((0, size // 2, order[:cut]), (size // 2, size - size // 2, order[cut:]))
    for start, length, part in halves:
        inner = (left + start, top, length, rows) if axis == 0 else (left, top + start, columns, length)
        _assign(points, part, inner, cells)
