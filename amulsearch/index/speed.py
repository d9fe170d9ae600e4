"""Recall against speed of an index, by search effort."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import check_k
from .base import Index, sampled_rows


def tradeoff(
    index: Index,
    queries: np.ndarray | None = None,
    *,
    efforts: Sequence[int] | None = None,
    k: int | None = None,
    sample: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the recall and the speed of an index by search effort.

    Parameters
    ----------
    index : Index
    queries : ndarray of shape (Q, D), optional
        Vectors that are not in the index; by default a random sample of its pictures.
    efforts : sequence of int, optional
        Values of the index's option: `search_k` for Annoy, `nprobe` for FAISS IVF, `ef` for HNSW, `n_candidates` for
        FAISS LSH. By default from the least up, each twice the one before.
    k : int, optional
        By default 10, or as many as there are.
    sample : int, default 200
        How many pictures are queried if there are no `queries`.
    seed : int, default 0

    Returns
    -------
    DataFrame
        Columns kind, effort, recall (of the k nearest, from 0 to 1) and queries_per_second (one query at a time, from
        the median). The table ends when nothing is missed, or when a query takes over ten times as long as the
        fastest and recall has not risen in two steps.

    Raises
    ------
    QueryError
        If k is over the number of other pictures.
    """
    k = check_k(k, len(index) - 1, "other pictures")
    if queries is None:
        own = sampled_rows(len(index), sample, seed)
        queries = index._take(own)
    else:
        own, queries = None, index._checked(queries)
    farthest = index._exact(queries, k, own)[1][:, -1]
    if index.effort is None:
        efforts = [None]
    elif efforts is None:
        efforts = [index._effort(k, 1)]
        while efforts[-1] < index._most():
            efforts.append(min(2 * efforts[-1], index._most()))
    rows: list[dict] = []
    for effort in efforts:
        found, seconds = ask(index, queries, farthest, k, effort, own)
        row = {"effort": effort, "recall": found.mean(), "queries_per_second": 1 / np.median(seconds)}
        in_vain = len(rows) > 1 and row["recall"] <= rows[-2]["recall"]  # after two steps
        rows.append({"kind": type(index).__name__, **row})
        if row["recall"] == 1 or (
            in_vain and 10 * row["queries_per_second"] < max(r["queries_per_second"] for r in rows)
        ):
            break
    return pd.DataFrame(rows)


def tradeoffs(
    builds: Mapping[Hashable, Callable[[], Index]],
    queries: np.ndarray | None = None,
    *,
    efforts: Sequence[int] | None = None,
    k: int | None = None,
) -> pd.DataFrame:
    """Build several indexes, and measure the recall and the speed of each by search effort.

    Parameters
    ----------
    builds : mapping of name to function
        The functions build the indexes, one after the other.
    queries : ndarray of shape (Q, D), optional
        As for `tradeoff`.
    efforts : sequence of int, optional
        As for `tradeoff`.
    k : int, optional
        By default 10, or as many as there are.

    Returns
    -------
    DataFrame
        The columns of `tradeoff`, after index (the name) and build_seconds.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> import amulsearch as am
    >>> features = am.Features(np.random.default_rng(0).standard_normal((500, 16)), range(500))
    >>> builds = {n_trees: partial(am.AnnoyIndex.build, features, n_trees=n_trees) for n_trees in (1, 10)}
    >>> table = am.indexes.tradeoffs(builds, efforts=[20, 500])
    >>> table[["index", "effort", "recall"]].round(2)
       index  effort  recall
    0      1      20    0.34
    1      1     500    1.00
    2     10      20    0.45
    3     10     500    0.99
    """
    tables = []
    for name, build in builds.items():
        start = time.perf_counter()
        index = build()
        seconds = time.perf_counter() - start
        table = tradeoff(index, queries, efforts=efforts, k=k)
        table.insert(0, "index", [name] * len(table))
        table.insert(1, "build_seconds", seconds)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def ask(
    index: Index, queries: np.ndarray, farthest: np.ndarray, k: int, effort: int | None, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Search the index for queries (Q, D), one at a time; the recall (Q,) and the seconds (Q,) of each.

    The seconds are those of `Index.search`, without the table that `Index.query` makes of its result.

    farthest: the distances (Q,) of the k-th true neighbours; pictures at most as far away count as found.
    own: the rows (Q,) of queries that are pictures of the index.
    """
    options = {} if effort is None else {index.effort: effort}
    rows, seconds = np.empty((len(queries), k), dtype=np.int64), np.empty(len(queries))
    for place in range(len(queries)):
        one = slice(place, place + 1)
        start = time.perf_counter()
        rows[one], _ = index.search(queries[one], k, own=None if own is None else own[one], **options)
        seconds[place] = time.perf_counter() - start
    return index._found(queries, rows, farthest).mean(axis=1), seconds
