"""Fusion: the ranked lists of several systems become one."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer
from ..features import Features
from ..index import System, as_systems

METHODS = ("vote", "borda", "rrf", "combsum", "combmnz")
"""The methods of `Fusion`."""
DEPTH, DEPTHS = 100, {"vote": 10, "combmnz": 100}
"""How many neighbours of each list count if a system is approximate, and how many always do: "vote" and "combmnz" count
the lists that have a picture."""
RRF_K = 60
"""The constant of reciprocal rank fusion, as in its paper."""
BLOCK = 2**21
"""How many pairs of a query and a picture are fused at once."""


class Fusion(System):
    """Answers with the fused lists of several systems.

    Equal scores are ordered by the sum of ranks, the best rank, then the order of the collection.

    Parameters
    ----------
    systems : sequence of System or Features
        Of the same pictures in the same order; Features are searched exactly. A fusion can be fused again.
    method : str, default "vote"
        "vote": the number of lists that have the picture among their first `depth`.
        "borda": the sum over the lists of depth - rank + 1; a picture that a list lacks receives the mean of its
        remaining points (Aslam & Montague 2001).
        "rrf": reciprocal rank fusion, the sum of 1 / (60 + rank) (Cormack, Clarke & Büttcher 2009).
        "combsum": the sum of similarities, scaled within each list from 0 (least) to 1 (greatest) (Fox & Shaw 1994).
        "combmnz": as "combsum", times the number of lists that have the picture (Fox & Shaw 1994).
    depth : int, optional
        How many neighbours of each list count: by default 10 for "vote" and 100 for "combmnz"; for the other methods
        the whole ranking, or 100 if a system is approximate.

    References
    ----------
    Aslam & Montague 2001, Models for metasearch.
    Cormack, Clarke & Büttcher 2009, Reciprocal rank fusion outperforms Condorcet and individual rank learning methods.
    Fox & Shaw 1994, Combination of multiple searches.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), ["a", "b", "c", "d"]
    >>> indexes = [am.ExactIndex.build(rng.standard_normal((4, 3)), ids) for _ in range(2)]
    >>> [index.query("a", k=2)["id"].tolist() for index in indexes]
    [['b', 'd'], ['b', 'c']]
    >>> am.Fusion(indexes, "rrf", depth=2).query("a")[["rank", "id", "score", "votes"]].round(4)
       rank id   score  votes
    0     1  b  0.0328      2
    1     2  c  0.0161      1
    2     3  d  0.0161      1
    """

    quantity = "score"

    def __init__(self, systems: Sequence[System | Features], method: str = "vote", *, depth: int | None = None):
        if method not in METHODS:
            raise QueryError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
        self.method, self.systems = method, as_systems(systems)
        self.pictures = self.systems[0].pictures
        self.parts = tuple(part for system in self.systems for part in system.parts)
        self.together = max(1, BLOCK // len(self))
        self.approximate = any(system.approximate for system in self.systems)
        usual = DEPTHS.get(method, DEPTH if self.approximate else len(self))
        self.depth = check_integer("depth", usual if depth is None else depth)

    def __repr__(self) -> str:
        return f"Fusion({self.method} of {len(self.systems)} systems: {len(self):,} pictures)"

    @property
    def title(self) -> tuple[list, list]:
        models, layers = zip(*(system.title for system in self.systems), strict=True)
        return _each_once(models), _each_once(layers)

    def answer(self, vectors, k=None, row=None, **options) -> pd.DataFrame:
        own = None if row is None else np.array([row])
        (rows,), (scores,), (votes,) = self._first(vectors, self._checked_k(k, own), own, options)
        return self.table(rows, scores, votes=votes)

    def _rank(self, vectors, k, own, options) -> tuple[np.ndarray, np.ndarray]:
        return self._first(vectors, k, own, options)[:2]

    def scores(self, vectors, own=None, k=None) -> np.ndarray:
        total, votes, ranks, _ = self._fused(vectors, own, {})
        if self.method == "vote":  # where most scores are equal, the ranks decide
            total = total - ranks / (2 * len(self.systems) * (self.depth + 1))
        answered = votes > 0
        if k is not None:
            rows = self._first(vectors, k, own, {})[0]
            answered = np.zeros_like(answered)
            np.put_along_axis(answered, np.where(rows < 0, rows[:, :1], rows), True, axis=1)
        return np.where(answered, total, -np.inf)

    def _fused(self, vectors, own, options: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The sum of points, the number of lists that have the picture, the sum of its ranks, and the best: (Q, N)."""
        shape = len(vectors[0]), len(self) + 1  # the last column is for no picture
        total, votes, ranks = np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        best, start = np.full(shape, self.depth + 1), 0
        for system in self.systems:
            mine = vectors[start : start + len(system.parts)]
            start += len(system.parts)
            rows, similarity = self._list(system, mine, own, options)
            order = np.where(rows < 0, len(self), rows)
            rank = np.full(shape, self.depth + 1)
            np.put_along_axis(rank, order, np.arange(1, rows.shape[1] + 1)[None], axis=1)
            points = np.full(shape, self._missing((rows >= 0).sum(axis=1)))
            np.put_along_axis(points, order, self._points(similarity), axis=1)
            total, ranks, best = total + points, ranks + rank, np.minimum(best, rank)
            votes += rank <= self.depth
        if self.method == "combmnz":
            total *= votes
        return total[:, :-1], votes[:, :-1], ranks[:, :-1], best[:, :-1]

    def _list(self, system: System, vectors, own, options: Mapping) -> tuple[np.ndarray, np.ndarray]:
        """The rows (Q, d) of the first pictures of a system, best first, -1 for none, and their similarities."""
        most = len(self) - (own is not None)
        if not system.approximate and self.depth >= most > DEPTH:
            similarity = system.scores(vectors, own)
            rows = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
            similarity = np.take_along_axis(similarity, rows, axis=1)
            return np.where(np.isfinite(similarity), rows, -1), similarity
        rows, values = system.rank(vectors, min(self.depth, most), own, **(options if system.approximate else {}))
        return rows, np.where(rows < 0, -np.inf, values if system.quantity == "score" else -values)

    def _points(self, similarity: np.ndarray) -> np.ndarray:
        """The points (Q, d) that a list gives to its pictures, from their similarities (Q, d), best first."""
        rank = np.arange(1, similarity.shape[1] + 1, dtype=np.float64)
        if self.method in ("combsum", "combmnz"):
            return _scaled(similarity)
        points = {"vote": np.ones(len(rank)), "borda": self.depth - rank + 1, "rrf": 1 / (RRF_K + rank)}
        return np.broadcast_to(points[self.method], similarity.shape)

    def _missing(self, counts: np.ndarray) -> np.ndarray:
        """The points (Q, 1) of a picture that a list of so many pictures (Q,) lacks."""
        shared = (self.method == "borda") & (counts < self.depth)
        return np.where(shared, (self.depth - counts + 1) / 2, 0.0)[:, None]

    def _first(self, vectors, k: int, own, options: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first k rows, their scores and votes, each (Q, k); -1 and NaN where fewer are in the lists."""
        if options and not self.approximate:
            raise QueryError(f"this fusion has no query option {next(iter(options))!r}: its systems are exact")
        total, votes, ranks, best = self._fused(vectors, own, options)
        rows, scores = np.full((len(total), k), -1), np.full((len(total), k), np.nan)
        counts = np.zeros((len(total), k), dtype=np.int64)
        total = np.where(votes > 0, total, -np.inf)
        least = np.partition(total, -k, axis=1)[:, -k]
        for query, limit in enumerate(least):
            some = np.flatnonzero((total[query] >= limit - 1e-9) & (votes[query] > 0))
            order = np.lexsort((best[query, some], ranks[query, some], -total[query, some].round(12)))
            some = some[order][:k]
            rows[query, : len(some)] = some
            scores[query, : len(some)], counts[query, : len(some)] = total[query, some], votes[query, some]
        return rows, scores, counts


def _scaled(similarity: np.ndarray) -> np.ndarray:
    """Similarities scaled from 0 (the least of the list) to 1 (the greatest); 1 for all if they are equal."""
    listed = np.where(np.isfinite(similarity), similarity, np.nan)
    low = np.nanmin(listed, axis=1, keepdims=True, initial=np.inf)
    high = np.nanmax(listed, axis=1, keepdims=True, initial=-np.inf)
    return np.where(high > low, (similarity - low) / np.where(high > low, high - low, 1), 1.0)


def _each_once(names: Sequence) -> list:
    """Names, and the names in lists of names, each once."""
    return list(dict.fromkeys(name for part in names for name in (part if isinstance(part, list) else [part])))
