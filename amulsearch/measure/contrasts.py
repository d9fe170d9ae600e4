"""What one system sees and another does not: groups of pictures that the first keeps together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer
from ..features import Features
from ..index import ExactIndex, System, check_same
from ..intake import Collection

LEAST, MOST, SHARED = 4, 40, 3
"""How many pictures a candidate for a group has, and how many paths of two links to its centre each of them."""
ALPHA, DRAWS, HALVES = 0.05, 999, 10
"""The level of the test, and how many permutations and halves of the pictures are drawn."""
CORE, ROUNDS = 0.9, 3
"""A picture belongs to a group if it has a third as many more links into it by the first system as this quantile of its
pictures, and more than the standard error of their number; and how often the group is put together anew."""
NAMED = 0.5
"""Which part of a group must have the word that names it."""
COLUMNS = ["name", "size", "kept", "lost", "p", "stability", "ids"]


def contrast(
    a: Features | System, b: Features | System, collection: Collection | None = None, *, k: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Find groups of pictures that a system keeps together and another does not.

    Parameters
    ----------
    a, b : Features or System
        Of the same N pictures; Features are searched exactly.
    collection : Collection, optional
        Its pictures; groups are named by their labels, and by their keywords if its table has any.
    k : int, default 10
        How many neighbours of each picture are compared.
    seed : int, default 0

    Returns
    -------
    DataFrame
        One row per group, the surest first: name (the word that most of its pictures have and few others, or ""), size,
        kept and lost (how many of the k neighbours by `a` and by `b` of its pictures are in the group, on average), p,
        stability (0 to 1), and ids. None if nothing is sure at the level of 5%.

    Raises
    ------
    QueryError
        If the systems are not of the same pictures, or there are fewer than two neighbours.

    Notes
    -----
    Candidates are the surroundings of each picture in the graph of the links that only one of the two systems has,
    whichever it is. The statistic of a candidate is how many more of these links within it are of `a`. Under the null
    hypothesis, the two lists of any picture may change places, which does not change the candidates; so p, the fraction
    of permutations in which some candidate is at least as extreme, holds for all groups together (Westfall & Young
    1993, Resampling-based multiple testing). Significant candidates that overlap are joined.
    Stability is the mean, over random halves of the pictures, of the greatest Jaccard index of a group with one that is
    found in the half.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> ids, labels = [f"{row}" for row in range(400)], ["left"] * 40 + ["right"] * 360
    >>> noise = np.random.default_rng(0).standard_normal((400, 8))
    >>> sees = noise + 3 * (np.arange(400) < 40)[:, None]
    >>> table = am.measure.contrast(am.Features(sees, ids, labels), am.Features(noise, ids, labels))
    >>> table["name"].tolist(), len({*ids[:40]} & {*table["ids"][0]}) > 30
    (['left'], True)
    """
    a, b = (ExactIndex.build(one) if isinstance(one, Features) else one for one in (a, b))
    check_same([a, b])
    k = min(check_integer("k", k, least=2), len(a) - 1)
    if k < 2:
        raise QueryError("two systems are compared on three pictures or more")
    links = _links(a.all_neighbours(k)[0]), _links(b.all_neighbours(k)[0])
    groups, level = _groups(*links, seed)
    if not groups:
        return pd.DataFrame(columns=COLUMNS)
    stability, words = _stability(*links, groups, level, seed), _words(a, collection)
    rows = []
    for (members, p), stable in zip(groups, stability, strict=True):
        kept, lost = (one[members][:, members].sum() / len(members) for one in links)
        ids = [a.ids[row] for row in members]
        rows.append([_name(members, words), len(ids), kept, lost, p, stable, ids])
    return pd.DataFrame(rows, columns=COLUMNS)


def _links(rows: np.ndarray):
    """The lists (N, k) as a sparse matrix (N, N) of 0 and 1."""
    from scipy import sparse  # slow to import

    there = rows >= 0
    places = np.nonzero(there)[0], rows[there]
    return sparse.csr_matrix((np.ones(there.sum(), np.float32), places), shape=(len(rows), len(rows)))


def _groups(a, b, seed: int, level: float | None = None) -> tuple[list[tuple[np.ndarray, float]], float]:
    """The rows and p of each group that is significant, or above a level; and the level."""
    change = (a - b).tocsr()
    change.eliminate_zeros()
    candidates = _candidates(abs(change))
    gains = candidates.multiply(
        candidates @ change.T
    ).tocsr()  # (N, N): of each candidate, by the picture with the links
    spread = np.sqrt(_total(gains.multiply(gains)))
    others = candidates.multiply(candidates @ change)  # by the picture that is linked
    both = spread**2 + _total(others.multiply(others)) - _total(candidates.multiply(candidates @ abs(change)))
    scores = _total(gains) / np.sqrt(np.maximum(both, np.maximum(spread**2, 1)))
    greatest = np.empty(0)
    if level is None:
        rng = np.random.default_rng(seed)
        signs = rng.integers(0, 2, (a.shape[0], DRAWS), dtype=np.int8).astype(np.float32) * 2 - 1
        greatest = np.sort((gains @ signs / np.maximum(spread, 1)[:, None]).max(axis=0))
        level = float(greatest[int(np.ceil((1 - ALPHA) * (DRAWS + 1))) - 1])
    sure, groups = np.flatnonzero(scores > level), []
    for members in _joined(candidates, sure[np.argsort(-scores[sure], kind="stable")]):
        kept = _grown(members, a, b)
        apart = all(np.isin(kept, other).sum() < len(kept) / 2 for other, _ in groups)
        if len(kept) >= LEAST and apart:
            best = scores[np.intersect1d(members, sure)].max(initial=level)
            groups.append((kept, (1 + len(greatest) - np.searchsorted(greatest, best)) / (1 + len(greatest))))
    return groups, level


def _grown(members: np.ndarray, a, b) -> np.ndarray:
    """The pictures that have clearly more links into a group by the first system, in `ROUNDS` rounds."""
    for _ in range(ROUNDS):
        near = np.isin(np.arange(a.shape[0]), members).astype(np.float32)
        by_a, by_b = a @ near, b @ near
        most = np.quantile((by_a - by_b)[members], CORE)
        members = np.flatnonzero((by_a > by_b) & (by_a - by_b >= np.maximum(np.sqrt(by_a + by_b), most / 3)))
        if not len(members):
            break
    return members


def _total(matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel()


def _candidates(links):
    """A sparse matrix (N, N): row by row the surroundings of each picture, of `LEAST` to `MOST` pictures."""
    links = ((links + links.T) > 0).astype(np.float32)
    paths = (links @ links).tocoo()
    some = paths.data >= SHARED
    row, column, count = paths.row[some], paths.col[some], paths.data[some]
    order = np.lexsort((column, -count, row))
    row, column = row[order], column[order]
    starts = np.searchsorted(row, np.arange(links.shape[0] + 1))
    place, sizes = np.arange(len(row)) - starts[row], np.diff(starts)
    kept = (place < MOST) & (sizes[row] >= LEAST)
    return _sparse(row[kept], column[kept], links.shape)


def _sparse(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]):
    from scipy import sparse

    return sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)


def _joined(candidates, order: np.ndarray) -> list[np.ndarray]:
    """The unions of the candidates, in this order, that share half of the smaller one with a group before."""
    groups: list[set[int]] = []
    for one in order:
        members = set(candidates[one].indices.tolist())
        for group in groups:
            if len(members & group) >= len(members) / 2:
                group |= members
                break
        else:
            groups.append(members)
    return [np.array(sorted(group)) for group in groups]


def _stability(a, b, groups: list, level: float, seed: int) -> list[float]:
    rng, found = np.random.default_rng(seed), np.zeros(len(groups))
    for _ in range(HALVES):
        half = np.sort(rng.permutation(a.shape[0])[: a.shape[0] // 2])
        others = [
            set(half[rows].tolist()) for rows, _ in _groups(a[half][:, half], b[half][:, half], seed, level / 2)[0]
        ]
        for place, (members, _) in enumerate(groups):
            own = set(members.tolist()) & set(half.tolist())
            found[place] += max((len(own & other) / len(own | other) for other in others), default=0)
    return (found / HALVES).tolist()


def _words(system: System, collection: Collection | None) -> list[set[str]]:
    """What may name each picture: its label, and its keywords."""
    words = [{label} - {None} for label in system.labels]
    if collection is not None and "keywords" in collection.table:
        keywords = dict(zip(collection.ids, collection.table["keywords"], strict=True))
        for own, id in zip(words, system.ids, strict=True):
            own |= {*str(keywords.get(id) or "").split(";")} - {"", "nan"}
    return words


def _name(members: np.ndarray, words: list[set[str]]) -> str:
    """The word of at least half of a group that is rarest elsewhere, or ""."""
    everywhere, here = Counter(word for own in words for word in own), Counter()
    for row in members:
        here.update(words[row])
    often = {word: count for word, count in here.items() if count >= NAMED * len(members)}
    return max(sorted(often), key=lambda word: often[word] ** 2 / everywhere[word], default="")
