"""Diffusion: a system that ranks by what is reached from a picture over the graph of several networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import QueryError, as_number
from ..features import Features, combination
from ..index import ExactIndex, Persistent
from .graph import K, NeighbourGraph

KEPT, EDGES, STEPS = 200, 30, 15
"""How many pictures are reached from each, how many of its edges are followed, and for how many steps.

Without these limits the ranking is worse: what arrives in far places is noise."""
WIDE = 4096
"""The number of edges of one picture from which on fewer pictures are spread at once than 1,024, so that memory does
not grow with the greatest number."""


class Diffusion(Persistent):
    """Search by diffusion over a `NeighbourGraph`: two pictures are similar if the same pictures are reached from them.

    With S = D^-1/2 W D^-1/2 for the weights W of the graph and the degrees D, row i of the sum of (alpha S)^t over the
    steps t says how much of what starts at picture i arrives at each other. Of each picture the 30 strongest edges are
    followed, for 15 steps, and of each row the 200 greatest elements are kept, so that time and memory are proportional
    to N. The distance of two pictures is the angular distance of the square roots of their rows. A new picture enters
    by its neighbours in each network.

    Attributes
    ----------
    graph : NeighbourGraph
    alpha : float

    References
    ----------
    Zhou et al. 2004, Ranking on data manifolds.
    Donoser & Bischof 2013, Diffusion processes for retrieval revisited.
    Iscen et al. 2017, Efficient diffusion on region manifolds: recovering small objects with compact CNN
    representations.
    Yang et al. 2019, Efficient image retrieval via decoupling diffusion into online and offline processing.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), [f"{row}.png" for row in range(60)]
    >>> centres = np.repeat(rng.standard_normal((3, 8)), 20, axis=0)
    >>> parts = [am.Features(centres + 0.5 * rng.standard_normal((60, 8)), ids) for _ in range(2)]
    >>> system = am.Diffusion.build(parts, k=10)
    >>> system
    Diffusion(own vectors: 60 x 16)
    >>> sorted(int(id.split(".")[0]) // 20 for id in system.query("25.png", k=19)["id"]) == [1] * 19
    True
    """

    metric = "angular"
    ending = ".npy"
    settings = (*Persistent.settings, "alpha", "power", "widths")

    @classmethod
    def build(cls, parts: Sequence[Features], k: int = K, *, power: float = 2.0, alpha: float = 0.9) -> Diffusion:
        """Build a graph of several Features, and what is reached over it from each picture.

        Parameters
        ----------
        parts : sequence of P Features
            Of the same N pictures in the same order: several networks, or several layers.
        k : int, default 20
            How many neighbours each part lists, see `NeighbourGraph.build`.
        power : float, default 2
            See `NeighbourGraph.build`.
        alpha : float, default 0.9
            The part of what arrives at a picture that is passed on, at least 0 and below 1.
        """
        if not 0 <= as_number(alpha) < 1:
            raise QueryError(f"alpha must be at least 0 and below 1, not {alpha!r}")
        system = cls.__new__(cls)
        system.graph = NeighbourGraph.build(parts, k, power=power)
        system.pictures, system.fingerprint = system.parts[0].pictures, cls.fingerprint_of(parts)
        system.makers = tuple({id(maker): maker for part in parts for maker in part.makers}.values())
        system.digests = parts[0].digests
        system.alpha, system.power = float(alpha), float(power)
        system.widths = [part.width for part in system.parts]
        system.width = sum(system.widths)
        system._spread = spread(system.graph.weights, system.alpha)
        system._profiles = profiles(system._spread)
        return system

    @staticmethod
    def fingerprint_of(parts: Sequence[Features]) -> dict:
        """The fingerprint of what `build` makes of these Features; empty if one has none."""
        made_by = combination(parts)[0]
        return {**made_by, "layer": f"diffusion over {len(parts)} parts"} if made_by else {}

    @property
    def parts(self) -> tuple[ExactIndex, ...]:
        return self.graph.parts

    def scores(self, vectors, own=None, k=None) -> np.ndarray:
        if k is not None:
            return super().scores(vectors, own, k)
        near = self._filled((self._reached(vectors, own) @ self._columns).tocsr(), vectors)
        values = -np.sqrt(np.maximum(2 - 2 * near.astype(np.float64), 0))
        if own is not None:
            values[np.arange(len(own)), own] = -np.inf
        return values

    def _reached(self, vectors: Sequence[np.ndarray], own: np.ndarray | None):
        """The profiles (Q, N) of pictures of the collection, or of new ones, which enter by their links."""
        if own is not None:
            return self._profiles[own]
        return profiles(_greatest(self.graph.links(vectors) @ self._scale @ self._spread, KEPT))

    def _rank(self, vectors, k, own, options) -> tuple[np.ndarray, np.ndarray]:
        if options:
            raise QueryError(f"a diffusion has no query option {next(iter(options))!r}")
        count = len(vectors[0])
        similar = (self._reached(vectors, own) @ self._columns).tocsr()
        similar.sort_indices()
        rows, near = np.empty((count, k), dtype=np.int64), np.empty((count, k))
        for query in range(count):
            start, end = similar.indptr[query : query + 2]
            places, values = similar.indices[start:end], similar.data[start:end]
            if own is not None:
                values = np.where(places == own[query], -1, values)
            if len(places) < k + (own is not None):
                places = np.arange(len(self))
                values = self._filled(similar[[query]], [vector[[query]] for vector in vectors])[0]
                if own is not None:
                    values[own[query]] = -1
            first = np.argsort(-values, kind="stable")[:k]
            rows[query], near[query] = places[first], values[first]
        return rows, np.sqrt(np.maximum(2 - 2 * near, 0))

    @cached_property
    def _scale(self):
        """D^-1/2 of the graph, which new pictures are linked to."""
        return _diagonal(self.graph.weights)

    @cached_property
    def _columns(self):
        """The profiles, by column."""
        return self._profiles.T.tocsr()

    def _filled(self, similar, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """The similarities (Q, N) of sparse ones; below those that are reached, the cosine of the vectors decides."""
        filled = similar.toarray().astype(np.float32, copy=False)
        cosines = sum(part.cosines(vector) for part, vector in zip(self.parts, vectors, strict=True)).round(6)
        return np.where(filled > 0, filled, np.float32(1e-6) * (cosines / len(self.parts) - 1))

    def _write(self, path: Path) -> None:
        np.save(path, self.graph.rows)
        np.save(path.with_name("distances.npy"), self.graph.distances)
        for place, part in enumerate(self.parts):
            part._write(path.with_name(f"part-{place}.npy"))
        for name in ("data", "indices", "indptr"):
            np.save(path.with_name(f"{name}.npy"), getattr(self._spread, name))

    def _read(self, path: Path) -> tuple[int, int]:
        from scipy.sparse import csr_array

        load = lambda name: np.lib.format.open_memmap(path.with_name(f"{name}.npy"), mode="r")  # noqa: E731
        parts = []
        for place, made_by in enumerate(self.fingerprint.get("of", [{}] * len(self.widths))):
            part = ExactIndex.__new__(ExactIndex)
            part.metric, part.fingerprint, part.makers = "angular", made_by, self.makers
            part.pictures, part.digests = self.pictures, self.digests
            part._read(path.with_name(f"part-{place}.npy"))
            part.width = self.widths[place]
            parts.append(part)
        self.graph = NeighbourGraph(tuple(parts), load("index"), load("distances"), self.power)
        arrays = load("data"), load("indices"), load("indptr")
        self._spread = csr_array(arrays, shape=(len(self.pictures),) * 2)
        self._profiles = profiles(self._spread)
        return len(self.pictures), sum(part._vectors.shape[1] for part in parts)


def spread(weights, alpha: float):
    """The greatest elements of each row of the sum over the steps, a csr_array (N, N) float32 (Andersen, Chung & Lang
    2006, Local graph partitioning using PageRank vectors)."""
    from scipy.sparse import eye_array, vstack

    scale, count = _diagonal(weights), weights.shape[0]
    between = _greatest(scale @ weights @ scale, EDGES)
    between = (between.maximum(between.T) * alpha).astype(np.float32).tocsr()
    unit, parts = eye_array(count, format="csr", dtype=np.float32), []
    step = 1024 * WIDE // max(WIDE, np.diff(between.indptr).max(initial=0))
    for start in range(0, count, max(1, step)):
        own = rows = unit[start : start + max(1, step)]
        for _ in range(STEPS):
            rows = _greatest(own + rows @ between, KEPT)
        parts.append(rows)
    return vstack(parts, format="csr")


def profiles(reached):
    """The square roots of rows (Q, N) of what is reached, scaled to length 1: their cosine is the coefficient of
    Bhattacharyya 1943; for retrieval, Arandjelović & Zisserman 2012."""
    from scipy.sparse import diags_array

    root = reached.sqrt()
    lengths = np.sqrt(np.asarray(root.multiply(root).sum(axis=1)).ravel())
    return (diags_array(1 / np.maximum(lengths, 1e-12).astype(np.float32)) @ root).tocsr()


def _diagonal(weights):
    """D^-1/2 of a graph's weights W, as a diagonal matrix; 0 for pictures without edges."""
    from scipy.sparse import diags_array

    degrees = np.asarray(weights.sum(axis=1)).ravel()
    return diags_array(np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0))


def _greatest(matrix, keep: int):
    """Keep the greatest elements of each row of a sparse matrix, of equal ones those in the first columns."""
    from scipy.sparse import csr_array

    matrix = csr_array(matrix)
    counts = np.diff(matrix.indptr)
    long = np.flatnonzero(counts > keep)
    if not len(long):
        matrix.sort_indices()
        return matrix
    limits = np.full(len(counts), -np.inf, dtype=matrix.data.dtype)
    for length in np.unique(lengths := np.frexp(counts[long])[1]):  # rows of about one length
        some = long[lengths == length]
        inside = np.arange(counts[some].max()) < counts[some, None]
        rows = np.full(inside.shape, -np.inf, dtype=matrix.data.dtype)
        rows[inside] = matrix.data[np.repeat(np.isin(np.arange(len(counts)), some), counts)]
        limits[some] = np.partition(rows, -keep, axis=1)[:, -keep]
    kept = matrix.data >= np.repeat(limits, counts)
    indptr = np.concatenate([[0], kept.cumsum()])[matrix.indptr]
    for row in np.flatnonzero(np.diff(indptr) > np.minimum(counts, keep)):  # several elements equal the limit
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        equal = np.flatnonzero(kept[own] & (matrix.data[own] == limits[row])) + own.start
        surplus = indptr[row + 1] - indptr[row] - keep
        kept[equal[np.argsort(-matrix.indices[equal])[:surplus]]] = False
    indptr = np.concatenate([[0], kept.cumsum()])[matrix.indptr]
    found = csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
    found.sort_indices()
    return found
