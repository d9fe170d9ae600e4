"""Measures of lists of neighbours, rows (N, k) of N pictures: the label of the query, and overlap of two systems."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import QueryError
from .tables import Table, table_of


def same_label(rows: np.ndarray, labels: Sequence[str | None]) -> np.ndarray:
    """Check whether each neighbour has the label of its query.

    Parameters
    ----------
    rows : ndarray of shape (N, k), int
        The neighbours of N pictures, as `all_neighbours` returns them; -1, for no neighbour, counts as another label.
    labels : sequence of N str or None

    Returns
    -------
    ndarray of shape (N, k), float64
        1 for the same label, 0 for another, NaN for a neighbour without a label, and in the rows of pictures without a
        label that another has.
    """
    labels = pd.Series(list(labels), dtype=object)
    codes, rows = labels.factorize()[0], np.asarray(rows)
    shared = (labels.notna() & labels.duplicated(keep=False)).to_numpy()
    judged = shared[:, None] & ((codes[rows] >= 0) | (rows < 0))
    return np.where(judged, (codes[rows] == codes[:, None]) & (rows >= 0), np.nan)


def precision_at_k(
    lists: Mapping[Hashable, np.ndarray | tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str | None],
    *,
    at: Sequence[int] = (1, 5),
    baseline: Hashable | None = None,
) -> Table:
    """Compute how many of the first neighbours have the label of their query, for several systems.

    Parameters
    ----------
    lists : mapping of name to ndarray of shape (N, k), int
        The neighbours of N pictures by system, as `all_neighbours` returns them, with or without the distances.
    labels : sequence of N str or None
        Neighbours without a label are neither right nor wrong: those behind them move up.
    at : sequence of int, default (1, 5)
        How many neighbours count. What they are divided by is this number, also if k is smaller, less the neighbours
        without a label for which no other can move up.
    baseline : hashable, optional
        The name of a system to compare the others with.

    Returns
    -------
    Table
        One row per system, with the columns P@1 and P@5 (those of `at`): means over the pictures whose label another
        picture has. With a baseline also wins and losses: for how many queries P@k is higher, or lower, at `at[0]`.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.measure.precision_at_k({"near": [[1, 2], [0, 2], [3, 0], [2, 1]]}, ["x", "x", "y", "y"], at=(1, 2))
          P@1  P@2
    near  1.0  0.5
    """
    same = {name: same_label(rows[0] if isinstance(rows, tuple) else rows, labels) for name, rows in lists.items()}
    columns = {f"P@{k}": {name: pd.Series(_precision(hits, k)).mean() for name, hits in same.items()} for k in at}
    if baseline is not None:
        first = {name: _precision(hits, at[0]) for name, hits in same.items()}
        columns["wins"] = {name: int((hits > first[baseline]).sum()) for name, hits in first.items()}
        columns["losses"] = {name: int((hits < first[baseline]).sum()) for name, hits in first.items()}
    return table_of(columns, any(not np.isnan(hits).all() for hits in same.values()))


def _precision(hits: np.ndarray, k: int) -> np.ndarray:
    """The precision at k (N,) of lists as `same_label` returns them; NaN where nothing is known."""
    judged = ~np.isnan(hits)
    order = np.argsort(~judged, axis=1, kind="stable")[:, :k]
    missing = np.minimum((~judged).sum(axis=1), np.maximum(k - judged.sum(axis=1), 0))
    right = np.nan_to_num(np.take_along_axis(hits, order, axis=1)).sum(axis=1)
    return np.where(judged.any(axis=1), right / np.maximum(k - missing, 1), np.nan)


def chance_level(labels: Sequence[str | None]) -> float:
    """Compute how often a random other picture has the label of a picture: what measures of neighbours start from.

    Parameters
    ----------
    labels : sequence of N str or None
        Those of pictures without a label, or with one that no other has, do not count; NaN if no others are left.
    """
    labels = pd.Series(list(labels), dtype=object).dropna()
    others = labels.map(labels.value_counts()) - 1
    return float(others[others > 0].mean()) / max(len(labels) - 1, 1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the fraction (N,) of the first k neighbours that two systems share, of the longer list if one is shorter.

    Parameters
    ----------
    a, b : ndarray of shape (N, k), int
        Rows of neighbours, as `all_neighbours` returns them; -1 at the end of a list is no neighbour.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise QueryError("lists are rows (N, k) of integers, as all_neighbours returns them, not tables")
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise QueryError(f"lists have the shapes {a.shape} and {b.shape}: give two of the same shape (N, k), not empty")
    shared = ((a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)).sum(axis=(1, 2))
    longer = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1))
    return shared / np.maximum(longer, 1)
