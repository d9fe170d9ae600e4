"""A sparse graph of the pictures of a collection, on which several networks agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ..errors import MissingKeyError, QueryError, as_number, check_integer, check_k
from ..features import Features, metric_vectors
from ..index import Index, as_systems

K = 20
"""How many neighbours each part of a graph lists, by default."""


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """The pictures of a collection, each linked to its nearest neighbours in several networks.

    The neighbour of rank r, from 1, weighs 1 / sqrt(r): ranks carry over between networks, whereas distances are
    spread differently in each. The weights are summed over the networks and over both directions, divided by the
    greatest possible sum, and raised to a power: edges on which networks agree count more than in proportion.

    Attributes
    ----------
    parts : tuple of P Index
        Each finds the neighbours in one network, layer or other set of vectors.
    rows : ndarray of shape (P, N, k), int32
        The neighbours of each picture in each part, nearest first.
    distances : ndarray of shape (P, N, k), float64
        Their distances.
    power : float

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), [f"{row}.png" for row in range(9)]
    >>> parts = [am.Features(rng.standard_normal((9, 4)), ids) for _ in range(2)]
    >>> graph = am.systems.NeighbourGraph.build(parts, k=3)
    >>> graph
    NeighbourGraph(9 pictures, 2 parts, 28 edges)
    >>> graph.weights.shape
    (9, 9)
    """

    parts: tuple[Index, ...]
    rows: np.ndarray
    distances: np.ndarray
    power: float = 2.0

    @classmethod
    def build(cls, parts: Sequence[Features | Index], k: int = K, *, power: float = 2.0) -> NeighbourGraph:
        """Build a graph, in time and memory proportional to N k, besides the search for the neighbours.

        Parameters
        ----------
        parts : sequence of P Features or Index
            Of the same pictures in the same order. The neighbours in Features are found by exact search; for a large
            collection, give an approximate index.
        k : int, default 20
            How many neighbours each part lists; in a small collection, all others.
        power : float, default 2
            The exponent of the sums of weights; 1 treats an edge of two networks like two edges.
        """
        indexes = as_systems(parts, Index)
        count = len(indexes[0])
        k = check_k(min(check_integer("k", k), max(count - 1, 1)), count - 1, "other pictures")
        if not 0 < as_number(power) < float("inf"):
            raise QueryError(f"power must be above 0, not {power!r}")
        found = [index.all_neighbours(k) for index in indexes]
        rows = np.stack([rows.astype(np.int32) for rows, _ in found])
        return cls(indexes, rows, np.stack([far for _, far in found]), power)

    @property
    def names(self) -> list[str]:
        """The model and layer of each part, as str; a number for vectors of your own."""
        titles = [part.title for part in self.parts]
        return [" ".join(title) if title[0] else str(place) for place, title in enumerate(titles, 1)]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __repr__(self) -> str:
        return f"NeighbourGraph({len(self):,} pictures, {len(self.parts)} parts, {self.weights.nnz // 2:,} edges)"

    @cached_property
    def weights(self):
        """The weights of the edges, a symmetric scipy.sparse.csr_array of shape (N, N), float64, each from 0 to 1."""
        one_way = sum(_ranked(rows, len(self)) for rows in self.rows)
        return self._agreed(one_way + one_way.T)

    def edges(self, id: str) -> pd.DataFrame:
        """List the edges of a picture, the heaviest first, and the ranks that say which networks agree on them.

        A DataFrame with the columns rank, id, score (the weight of the edge), label, and one for each part, Int64: the
        rank of the neighbour in its list, or NA. An edge without ranks comes from the lists of the other picture.
        """
        own = self.parts[0].row(id)
        if own is None:
            raise MissingKeyError(f"there is no picture {id!r} in the graph")
        start, end = self.weights.indptr[own : own + 2]
        order = np.argsort(-self.weights.data[start:end], kind="stable")
        rows, weights = self.weights.indices[start:end][order], self.weights.data[start:end][order]
        ids, labels = self.parts[0].pictures.at(rows.tolist())
        table = pd.DataFrame({"rank": np.arange(1, len(ids) + 1), "id": pd.Series(ids, dtype=object)})
        table = table.assign(score=weights, label=pd.Series(labels, dtype=object))
        for name, listed in zip(self.names, self.rows[:, own], strict=True):
            rank = {row: place for place, row in enumerate(listed.tolist(), 1)}
            table[name] = pd.array([rank.get(row) for row in rows.tolist()], dtype="Int64")
        return table

    def links(self, queries: Sequence[np.ndarray]):
        """Link new pictures, by their vectors (Q, D) in each part: the weights, a csr_array (Q, N) float64, that their
        edges would have in the graph.

        A weight counts in both directions: a new picture takes a rank among the neighbours of those that it lists.
        """
        from scipy.sparse import csr_array

        k = self.rows.shape[2]
        found = [part.search(of, k)[0] for part, of in zip(self.parts, queries, strict=True)]
        one_way = sum(_ranked(rows, len(self)) for rows in found)
        asked, row = one_way.nonzero()
        back = np.zeros(len(row))
        for part, of, listed in zip(self.parts, queries, self.distances, strict=True):
            apart = metric_vectors(of, part.metric)[asked] - metric_vectors(part.take(row), part.metric)
            rank = 1 + (listed[row] < np.linalg.norm(apart, axis=1)[:, None]).sum(axis=1)
            back += np.where(rank <= k, 1 / np.sqrt(rank), 0)
        return self._agreed(one_way + csr_array((back, (asked, row)), shape=one_way.shape))

    def _agreed(self, both):
        """Sums of weights in both directions, as the weights of edges."""
        both = both.tocsr()
        both.data = (both.data / (2 * len(self.parts))) ** self.power
        both.sort_indices()
        return both


def _ranked(rows: np.ndarray, count: int):
    """Lists of neighbours (Q, k) as a csr_array (Q, N): 1 / sqrt(rank)."""
    from scipy.sparse import csr_array

    queries, k = rows.shape
    weights = np.tile(1 / np.sqrt(np.arange(1, k + 1)), queries)
    return csr_array((weights, rows.ravel(), np.arange(0, queries * k + 1, k)), shape=(queries, count))
