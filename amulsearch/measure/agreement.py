"""How alike two systems answer, without labels: the lists they give, and the vectors they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import Features

Rows = np.ndarray


def overlap(a: Rows, b: Rows) -> np.ndarray:
    """The part of the first k neighbours that two systems share, for each of N queries: (N,) from 0 to 1.

    a, b: rows (N, k), as `ExactIndex.all_neighbours` and `fuse_all` give them.
    """
    a, b = _checked(a, b)
    return _shared(a, b)[:, -1] / a.shape[1]


def rank_biased_overlap(a: Rows, b: Rows, *, p: float = 0.9) -> np.ndarray:
    """Overlap in which the first places count most, for each of N queries: (N,) from 0 to 1.

    p: how far a reader looks: the next place with this probability; with .9 the first ten places have 86% of the
    weight. The lists (N, k) are taken to go on as they have been (RBO_ext: Webber, Moffat & Zobel 2010, "A similarity
    measure for indefinite rankings").
    """
    a, b = _checked(a, b)
    if not 0 < p < 1:
        raise QueryError(f"p is between 0 and 1, not {p!r}")
    depth = np.arange(1, a.shape[1] + 1)
    agreement = _shared(a, b) / depth
    return agreement[:, -1] * p ** depth[-1] + (1 - p) / p * (agreement * p**depth).sum(axis=1)


def cka(a: Features, b: Features) -> float:
    """How alike the vectors of the same pictures lie in two spaces, from 0 to 1 (1: equal but for turning and scale).

    Linear centred kernel alignment: Kornblith, Norouzi, Lee & Hinton 2019, "Similarity of neural network
    representations revisited".
    """
    if a.ids != b.ids:
        raise QueryError("the features are not of the same pictures in the same order")
    x, y = (made.vectors.astype(np.float64) - made.vectors.mean(axis=0, dtype=np.float64) for made in (a, b))
    if len(x) < max(x.shape[1], y.shape[1]):
        x, y = x @ x.T, y @ y.T
        between, within = (x * y).sum(), np.linalg.norm(x) * np.linalg.norm(y)
    else:
        between, within = np.linalg.norm(x.T @ y) ** 2, np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if within == 0:
        raise QueryError("all vectors of one of the two are the same")
    return float(between / within)


def disagreement(ids: Sequence[str], lists: Mapping[str, Rows]) -> pd.DataFrame:
    """The queries on which systems differ most, first: id, overlap (the mean over all pairs of systems).

    lists: rows (N, k) of each system; ids: the N pictures.
    """
    if len(lists) < 2:
        raise QueryError("give the lists of at least two systems")
    pairs = [overlap(a, b) for a, b in combinations(lists.values(), 2)]
    if len(pairs[0]) != len(ids):
        raise QueryError(f"{len(ids)} ids and the lists of {len(pairs[0])} queries do not match")
    table = pd.DataFrame({"id": pd.Series(list(ids), dtype=object), "overlap": np.mean(pairs, axis=0)})
    return table.sort_values("overlap", kind="stable", ignore_index=True)


def _checked(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise QueryError(f"lists of the shapes {a.shape} and {b.shape} are not of the same queries and length")
    return a, b


def _shared(a: Rows, b: Rows) -> np.ndarray:
    """How many of the first d of both lists are the same, for d = 1 to k: (N, k)."""
    same = a[:, :, None] == b[:, None, :]
    place = np.arange(a.shape[1])
    later = np.maximum(place[:, None], place[None, :])  # a pair counts from the depth at which both have been seen
    first = np.stack([(same & (later == depth)).sum(axis=(1, 2)) for depth in place], axis=1)
    return first.cumsum(axis=1)
