"""Agreement of two systems, without labels: of the lists they return, and of their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import Features

Rows = np.ndarray


def overlap(a: Rows, b: Rows) -> np.ndarray:
    """Compute the fraction of the first k neighbours that two systems share, of the longer list if one is shorter.

    Parameters
    ----------
    a, b : ndarray of shape (N, k), int
        Rows of neighbours, as `ExactIndex.all_neighbours` and `fuse_all` return them; -1 at the end of a list is no
        neighbour.

    Returns
    -------
    ndarray of shape (N,), float64
        From 0 to 1, for each query; 0 if both lists are empty.

    Raises
    ------
    QueryError
        If the two arrays are empty or differ in shape.
    """
    a, b = _checked(a, b)
    return _shared(a, b)[:, -1] / _lengths(a, b)[1][:, 0]


def rank_biased_overlap(a: Rows, b: Rows, *, p: float = 0.9) -> np.ndarray:
    """Compute the rank-biased overlap of two systems, in which the first ranks count most.

    The lists are extrapolated beyond their last ranks (RBO_ext, for lists of different lengths too).

    Parameters
    ----------
    a, b : ndarray of shape (N, k), int
        As for `overlap`.
    p : float, default 0.9
        The probability that a reader continues to the next rank. With 0.9, the first ten ranks have 86% of the weight.

    Returns
    -------
    ndarray of shape (N,), float64
        From 0 to 1, for each query.

    Raises
    ------
    QueryError
        If the two arrays are empty or differ in shape, or p is not between 0 and 1.

    References
    ----------
    Webber, Moffat & Zobel 2010, A similarity measure for indefinite rankings.
    """
    a, b = _checked(a, b)
    if not 0 < p < 1:
        raise QueryError(f"p must be between 0 and 1, not {p!r}")
    depth, shared, (short, long) = np.arange(1, a.shape[1] + 1), _shared(a, b), _lengths(a, b)
    at_short, at_long = (np.take_along_axis(shared, length - 1, axis=1) for length in (short, long))
    agreement = (shared / depth + at_short * np.maximum(depth - short, 0) / (short * depth)) * (depth <= long)
    beyond = (at_long - at_short) / long + at_short / short
    return (beyond * p**long)[:, 0] + (1 - p) / p * (agreement * p**depth).sum(axis=1)


def cka(a: Features, b: Features) -> float:
    """Compute the linear centred kernel alignment (CKA) of two sets of vectors of the same pictures.

    Parameters
    ----------
    a, b : Features
        Of the same N pictures in the same order; the widths may differ.

    Returns
    -------
    float
        From 0 to 1; 1 if the vectors are equal up to rotation and scale.

    Raises
    ------
    QueryError
        If the pictures differ, or all vectors of one of the two are equal.

    References
    ----------
    Kornblith, Norouzi, Lee & Hinton 2019, Similarity of neural network representations revisited.
    """
    if a.ids != b.ids:
        raise QueryError(
            "the two Features do not hold the same pictures in the same order: extract both from one collection"
        )
    x, y = (made.vectors.astype(np.float64) - made.vectors.mean(axis=0, dtype=np.float64) for made in (a, b))
    if len(x) < max(x.shape[1], y.shape[1]):
        x, y = x @ x.T, y @ y.T
        between, within = (x * y).sum(), np.linalg.norm(x) * np.linalg.norm(y)
    else:
        between, within = np.linalg.norm(x.T @ y) ** 2, np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if within == 0:
        raise QueryError("all vectors of one of the two Features are equal: CKA is not defined")
    return float(between / within)


def disagreement(ids: Sequence[str], lists: Mapping[str, Rows]) -> pd.DataFrame:
    """Rank the queries by how much several systems disagree on them.

    Parameters
    ----------
    ids : sequence of N str
    lists : mapping of name to ndarray of shape (N, k), int
        Rows of neighbours of each system, as for `overlap`. A single system agrees with itself.

    Returns
    -------
    DataFrame with N rows
        Columns id and overlap (the mean over all pairs of systems, from 0 to 1), least overlap first.

    Raises
    ------
    QueryError
        For no system, or if ids and lists differ in length.
    """
    if not lists:
        raise QueryError("disagreement needs the lists of at least one system")
    pairs = [overlap(a, b) for a, b in combinations(lists.values(), 2)] or [overlap(a, a) for a in lists.values()]
    if len(pairs[0]) != len(ids):
        raise QueryError(
            f"{len(ids)} ids and lists of {len(pairs[0])} queries do not match: give one id for each query"
        )
    table = pd.DataFrame({"id": pd.Series(list(ids), dtype=object), "overlap": np.mean(pairs, axis=0)})
    return table.sort_values("overlap", kind="stable", ignore_index=True)


def _checked(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise QueryError("lists are rows (N, k) of integers, as ExactIndex.all_neighbours returns them, not tables")
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise QueryError(
            f"the lists have the shapes {a.shape} and {b.shape}: give two of the same shape (N, k), not empty"
        )
    return a, b


def _lengths(a: Rows, b: Rows) -> list[np.ndarray]:
    """The lengths (N, 1) of the shorter list of each query and of the longer one, at least 1."""
    return np.sort([np.maximum((rows >= 0).sum(axis=1, keepdims=True), 1) for rows in (a, b)], axis=0)


def _shared(a: Rows, b: Rows) -> np.ndarray:
    """How many of the first d results both lists share, for d = 1 to k: (N, k)."""
    same = (a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)
    place = np.arange(a.shape[1])
    later = np.maximum(place[:, None], place[None, :])  # a pair counts from the depth at which both have appeared
    first = np.stack([(same & (later == depth)).sum(axis=(1, 2)) for depth in place], axis=1)
    return first.cumsum(axis=1)
