"""Exact search, in blocks of rows: the one that everything uses which compares all pairs of pictures."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from .vectors import metric_vectors

SPARE = 16
"""How many candidates beyond k `nearest` compares in float64."""
FEW = 64
"""Up to this many queries at once, `nearest` compares equal vectors one by one; from more on, each only once."""
BLOCK_BYTES, TILE = 2**26, 2**21
"""The bytes of the vectors that are searched at once, and the number of distances that are computed at once."""

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The query (P,), the row (P,) and the distance (P,) of pairs; by query, the nearest first, equal distances by row."""


def nearest(
    base: np.ndarray,
    queries: np.ndarray,
    k: int,
    metric: str,
    own: np.ndarray | None = None,
    *,
    squares: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest neighbours of each query by exact search.

    k + 16 candidates are found in float32. Their distances are then computed in float64; where rounding in float32
    could have hidden a neighbour, all vectors within the distance of the last one are compared, equal ones only once if
    many queries need it.

    base: the vectors (N, D) to search, an array, a memory map, or what has a `shape` and gives rows as an array does;
    it is read in blocks, and so are the queries (Q, D). own: the row (Q,) of each query itself, which is not its
    neighbour. squares: the squared lengths (N,), if they are known and the metric is not angular; it saves reading the
    vectors twice. Returns rows (Q, k), nearest first, equal distances by row, and distances (Q, k), float64.
    """
    if own is not None:
        return others(*nearest(base, queries, k + 1, metric, squares=squares), own)
    rows, distances = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
    step = max(1, min(BLOCK_BYTES // (4 * base.shape[1]), 8 * TILE // (k + SPARE)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        rows[part], distances[part] = _nearest(base, metric_vectors(queries[part], metric), k, metric, squares)
    return rows, distances


def others(rows: np.ndarray, distances: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (Q, k + 1) without those that are the row (Q,) of their query, or else without the last: (Q, k)."""
    first = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(rows, first, axis=1), np.take_along_axis(distances, first, axis=1)


def within(
    base: np.ndarray, queries: np.ndarray, limits: np.ndarray, metric: str, *, squares: np.ndarray | None = None
) -> Iterator[Pairs]:
    """Find all vectors within a distance (Q,) of each query by exact search, a block of queries at a time."""
    step = max(64, 8 * TILE // base.shape[0])
    for start in range(0, len(queries), step):
        block, most = metric_vectors(queries[start : start + step], metric), limits[start : start + step]
        pairs = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))]
        for row, part, lengths in _parts(base, metric, squares):
            reach = _reach(block, most, lengths.max())
            for some, first, scores in _tiles(block, part, lengths):
                asking, rows = np.divmod(np.flatnonzero(scores <= reach[some, None]), scores.shape[1])
                asking, rows = some.start + asking, row + first + rows
                far = _apart(base, block, asking, rows, metric)
                near = far <= most[asking]
                pairs.append((asking[near], rows[near], far[near]))
        asking, rows, far = (np.concatenate(part) for part in zip(*pairs, strict=True))
        order = np.lexsort((rows, far, asking))
        yield start + asking[order], rows[order], far[order]


def distances_to(base: np.ndarray, queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """The distances (Q, k), float64, of each query to some rows (Q, k), as `nearest` returns them."""
    asking = np.repeat(np.arange(len(rows)), rows.shape[1])
    return _apart(base, metric_vectors(queries, metric), asking, rows.ravel(), metric).reshape(rows.shape)


def _nearest(base, queries: np.ndarray, k: int, metric: str, squares) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` of a block of queries (Q, D), float32, as the metric compares them."""
    count = min(k + SPARE, base.shape[0])
    rows, scores, longest = _candidates(base, queries, count, metric, squares)
    worst = np.partition(scores, k - 1, axis=1)[:, k - 1]
    possible = scores <= (worst + 2 * _rounding(queries, longest))[:, None]
    distances = np.full(rows.shape, np.inf)
    distances[possible] = _apart(base, queries, np.nonzero(possible)[0], rows[possible], metric)
    order = np.lexsort((rows, distances))[:, :k]
    rows, distances = np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)
    if count == base.shape[0]:
        return rows, distances
    unsure = np.flatnonzero(scores.max(axis=1) <= _reach(queries, distances[:, -1], longest))
    pairs = None
    if len(unsure) > FEW and not isinstance(base, _Distinct):
        pairs = _Distinct(base, metric).nearest(queries[unsure], k, metric)
    pairs = pairs or within(base, queries[unsure], distances[unsure, -1], metric, squares=squares)
    for asking, near, far in pairs:
        rank = _rank(asking)
        first = rank < k
        rows[unsure[asking[first]], rank[first]] = near[first]
        distances[unsure[asking[first]], rank[first]] = far[first]
    return rows, distances


class _Distinct:
    """The vectors that differ among (N, D), from which rows are taken as from an array, and the rows that hold each."""

    def __init__(self, base, metric: str):
        known: dict[bytes, int] = {}
        parts = (part for _, part, _ in _parts(base, metric, None))
        group = [known.setdefault(blake2b(row, digest_size=16).digest(), len(known)) for part in parts for row in part]
        self.base, self.size, self.members = base, np.bincount(group), np.argsort(group, kind="stable")
        self.starts = np.cumsum(self.size) - self.size
        self.shape = len(self.size), base.shape[1]

    def __getitem__(self, some: slice | np.ndarray) -> np.ndarray:
        return self.base[self.members[self.starts[some]]]

    def nearest(self, queries: np.ndarray, k: int, metric: str) -> Iterator[Pairs] | None:
        """At least the k nearest rows of each query; None if all vectors differ."""
        if len(self.size) == len(self.members):
            return None
        near, far = nearest(self, queries, min(k, len(self.size)), metric)
        size = self.size[near]
        last = np.argmax(np.cumsum(size, axis=1) >= k, axis=1)
        size = np.where(far <= np.take_along_axis(far, last[:, None], axis=1), np.minimum(size, k), 0).ravel()
        asking = np.repeat(np.arange(len(queries)), size.reshape(near.shape).sum(axis=1))
        member = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        rows, far = self.members[np.repeat(self.starts[near.ravel()], size) + member], np.repeat(far.ravel(), size)
        order = np.lexsort((rows, far, asking))
        return iter([(asking, rows[order], far[order])])


def _candidates(base, queries, count: int, metric: str, squares) -> tuple[np.ndarray, np.ndarray, float]:
    """The rows (Q, count) with the least scores, these scores, and the greatest squared length of all vectors."""
    rows, scores = np.zeros((len(queries), count), dtype=np.int64), np.full((len(queries), count), np.inf)
    longest = 0.0
    for start, part, lengths in _parts(base, metric, squares):
        longest = max(longest, lengths.max())
        for some, first, tile in _tiles(queries, part, lengths):
            near, places = _least(tile, scores[some].max(axis=1), count)
            all_rows = np.concatenate([rows[some], start + first + places], axis=1)
            all_scores = np.concatenate([scores[some], near], axis=1)
            keep = np.argpartition(all_scores, count - 1, axis=1)[:, :count]
            rows[some] = np.take_along_axis(all_rows, keep, axis=1)
            scores[some] = np.take_along_axis(all_scores, keep, axis=1)
    return rows, scores, longest


def _least(scores: np.ndarray, worst: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores (Q, M) below those of the worst candidates so far (Q,), and their places; filled up with infinity.

    M is the greatest number of one query. Without candidates, the worst of the `count` best in a sample is the limit.
    """
    some = scores[:, :: max(1, scores.shape[1] // 1024)]
    if np.isinf(worst).any() and some.shape[1] > count:
        worst = np.nextafter(np.partition(some, count - 1, axis=1)[:, count - 1], np.inf)
    asking, places = np.divmod(np.flatnonzero(scores < worst[:, None]), scores.shape[1])
    rank = _rank(asking)
    shape = len(scores), rank.max(initial=-1) + 1
    least, where = np.full(shape, np.inf, dtype=scores.dtype), np.zeros(shape, dtype=np.int64)
    least[asking, rank], where[asking, rank] = scores[asking, places], places
    return least, where


def _rank(asking: np.ndarray) -> np.ndarray:
    """The rank (P,), from 0, of each pair among those of the same query, which are in rising order."""
    return np.arange(len(asking)) - np.searchsorted(asking, asking)


def _parts(base, metric: str, squares) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Blocks of vectors: the first row, the vectors (B, D) as the metric compares them, their squared lengths (B,)."""
    step = max(1, BLOCK_BYTES // (4 * base.shape[1]))
    for start in range(0, base.shape[0], step):
        part = metric_vectors(base[start : start + step], metric)
        yield start, part, np.einsum("nd,nd->n", part, part) if squares is None else squares[start : start + step]


def _tiles(queries, part, lengths) -> Iterator[tuple[slice, int, np.ndarray]]:
    """The scores of all queries and a block of vectors, in tiles: the queries, the first place, and the scores, the
    squared distances without the squared length of the query."""
    height = min(256, len(queries))
    width = max(1, TILE // max(height, 1))
    for start in range(0, len(queries), 256):
        some = slice(start, start + height)
        for first in range(0, len(part), width):
            few = slice(first, first + width)
            scores = (-2 * queries[some]) @ part[few].T
            scores += lengths[few]
            yield some, first, scores


def _reach(queries: np.ndarray, limits: np.ndarray, longest: float) -> np.ndarray:
    """The greatest score (Q,) that a vector within the limits (Q,) can have."""
    scores = limits**2 - np.einsum("qd,qd->q", queries, queries, dtype=np.float64)
    return scores + _rounding(queries, longest)


def _rounding(queries: np.ndarray, longest: float) -> np.ndarray:
    """The greatest error (Q,) of scores, if a sum over the width is rounded at each term."""
    width = queries.shape[1] + 4
    return width * 2**-24 * (np.linalg.norm(queries, axis=1).astype(np.float64) + longest**0.5) ** 2


def _apart(base, queries: np.ndarray, asking: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """The distances (P,), float64, of pairs: the queries `asking` (P,), as the metric compares them, and rows (P,)."""
    distances, step = np.empty(len(rows)), max(1, 2**18 // queries.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        apart = metric_vectors(base[rows[part]], metric) - queries[asking[part]].astype(np.float64)
        distances[part] = np.sqrt(np.einsum("pd,pd->p", apart, apart))
    return distances
