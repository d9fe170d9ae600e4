"""Fusion of several lists of neighbours into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer, check_k
from ..features import Features
from .evaluation import cosines
from .relevance import Relevance

METHODS = ("vote", "borda", "rrf", "combsum", "combmnz")
"""The methods of `fuse`."""
DEPTHS = {"vote": 10, "combmnz": 100}
"""How many neighbours of each ranking count, where not all do; "combmnz" counts the lists that have a picture."""


def fuse(
    lists: Mapping[str, pd.DataFrame] | Iterable[pd.DataFrame],
    method: str = "vote",
    *,
    depth: int | None = None,
    k: int | None = None,
    rrf_k: int = 60,
) -> pd.DataFrame:
    """Fuse the neighbours that several systems find for one query.

    Parameters
    ----------
    lists : mapping of name to DataFrame, or iterable of DataFrame
        Tables of neighbours, as `query_all` and `Index.query` return them; fused tables can be fused again.
    method : str, default "vote"
        "vote": the number of lists that have the id among their first `depth`.
        "borda": the sum over the lists of depth - rank + 1; ids that a list lacks receive the mean of its remaining
        points (Aslam & Montague 2001).
        "rrf": reciprocal rank fusion, the sum of 1 / (rrf_k + rank) (Cormack, Clarke & Büttcher 2009).
        "combsum": the sum of similarities, scaled within each list from 0 (least) to 1 (greatest) (Fox & Shaw 1994).
        "combmnz": as "combsum", times the number of lists that have the id (Fox & Shaw 1994).
    depth : int, optional
        How many neighbours of each list count: by default 10 for "vote", and all for the other methods.
    k : int, optional
        How many results to return, by default all.
    rrf_k : int, default 60
        The constant of "rrf".

    Returns
    -------
    DataFrame
        Columns rank (from 1), id, score (higher is better), label, votes (the number of lists that have the id), model
        and layer (lists of those fused). Equal scores are ordered by the sum of ranks, the best rank, then the id.

    Raises
    ------
    QueryError
        For an unknown method, no lists, a list with an id twice, or a depth or k below 1.

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
    >>> indexes = {name: am.ExactIndex.build(rng.standard_normal((4, 3)), ids) for name in ("one", "two")}
    >>> lists = am.query_all(indexes, "a", k=2)
    >>> {name: table["id"].tolist() for name, table in lists.items()}
    {'one': ['b', 'd'], 'two': ['b', 'c']}
    >>> am.fuse(lists, "rrf")[["rank", "id", "score", "votes"]].round(4)
       rank id   score  votes
    0     1  b  0.0328      2
    1     2  c  0.0161      1
    2     3  d  0.0161      1
    """
    tables = list(lists.values() if isinstance(lists, Mapping) else lists)
    if not all(isinstance(table, pd.DataFrame) for table in tables):
        raise QueryError("fuse takes several tables of neighbours, by name or in a list, as query_all returns them")
    for table in tables:
        if table["id"].duplicated().any():
            twice = table["id"][table["id"].duplicated()].iloc[0]
            raise QueryError(f"a list has {twice!r} twice, and would count it twice: keep its best rank")
    depth = _check(tables, method, depth, [len(table) for table in tables])
    tables = [table.sort_values("rank").head(depth) for table in tables]
    ids = sorted(set().union(*(table["id"] for table in tables)))
    row = {id: row for row, id in enumerate(ids)}
    rows = [np.array([[row[id] for id in table["id"]]], dtype=np.int64) for table in tables]
    likeness = [(table["score"] if "score" in table else -table["distance"]).to_numpy()[None] for table in tables]
    k = len(ids) if k is None else min(check_k(k, k), len(ids))
    fused, scores, votes = _fused(rows, likeness, method, depth, rrf_k, k)
    label = {id: label for table in tables for id, label in zip(table["id"], table["label"], strict=True)}
    fused = [ids[row] for row in fused[0]]
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(fused) + 1),
            "id": pd.Series(fused, dtype=object),
            "score": scores[0],
            "label": pd.Series([label[id] for id in fused], dtype=object),
            "votes": votes[0],
            "model": pd.Series([_named(tables, "model")] * len(fused), dtype=object),
            "layer": pd.Series([_named(tables, "layer")] * len(fused), dtype=object),
        }
    )


def fuse_all(
    lists: Mapping[str, tuple[np.ndarray, np.ndarray]] | Iterable[tuple[np.ndarray, np.ndarray]],
    method: str = "vote",
    *,
    depth: int | None = None,
    k: int = 10,
    rrf_k: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """Fuse the neighbours of every picture at once.

    Parameters
    ----------
    lists : mapping or iterable of (rows, distances), each of shape (N, m)
        What `ExactIndex.all_neighbours` returns, for indexes with the same ids in the same order.
    method, depth, rrf_k
        As for `fuse`.
    k : int, default 10
        How many results to return.

    Returns
    -------
    rows : ndarray of shape (N, k), int64
        Equal scores are ordered as by `fuse`, with the row in place of the id; -1 if the lists hold fewer than k.
    scores : ndarray of shape (N, k), float64
        NaN where the row is -1.

    Raises
    ------
    QueryError
        As for `fuse`, and for lists of different numbers of pictures.
    """
    pairs = list(lists.values() if isinstance(lists, Mapping) else lists)
    depth = _check(pairs, method, depth, [np.shape(rows)[1] for rows, _ in pairs])
    if len({len(rows) for rows, _ in pairs}) > 1:
        raise QueryError("the lists come from different collections: they must have the same number of pictures")
    rows = [np.asarray(rows)[:, :depth] for rows, _ in pairs]
    likeness = [-np.asarray(distances)[:, :depth] for _, distances in pairs]
    return _fused(rows, likeness, method, depth, rrf_k, check_k(k, k))[:2]


def fused_similarities(
    parts: Sequence[Features],
    method: str,
    *,
    depth: int | None = None,
    rrf_k: int = 60,
    relevance: Relevance | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Fuse the exact rankings of several Features into a system for `evaluate`, which answers what `fuse` does.

    Parameters
    ----------
    parts : sequence of Features
        Of the same N pictures in the same order.
    method : str
        As for `fuse`; equal votes are ordered by the sum of ranks.
    depth : int, optional
        How many neighbours of each ranking count: by default 10 for "vote", 100 for "combmnz", and all for the other
        methods.
    rrf_k : int, default 60
    relevance : Relevance, optional
        What it is evaluated with. If not all pictures are judged, more neighbours count, so that about `depth` of them
        are judged.

    Returns
    -------
    function
        From rows (B,) to fused scores (B, N) float64; -inf for pictures that no ranking has among its first `depth`.

    Raises
    ------
    QueryError
        For an unknown method, or Features of different pictures.
    """
    if any(part.ids != parts[0].ids for part in parts):
        raise QueryError(
            "the features come from different collections: they must hold the same pictures in the same order"
        )
    count = len(parts[0]) - 1
    depth = _check(list(parts), method, DEPTHS.get(method) if depth is None else depth, [max(count, 1)])
    depth = min(depth if relevance is None else relevance.reach(depth), count)
    cosines_of = [cosines(part.vectors) for part in parts]

    def scores(rows: np.ndarray) -> np.ndarray:
        own = np.arange(len(rows)), rows
        total, votes, ranks = 0.0, 0, 0
        for similar in cosines_of:
            similarity = -np.sqrt(np.maximum(2 - 2 * similar(rows).astype(np.float64), 0))
            similarity[own] = -np.inf
            order = np.argsort(-similarity, axis=1, kind="stable")[:, :depth]
            points = np.zeros(similarity.shape)
            listed = _points(np.take_along_axis(similarity, order, axis=1), method, depth, rrf_k)
            np.put_along_axis(points, order, listed, axis=1)
            rank = np.full(similarity.shape, depth + 1)
            np.put_along_axis(rank, order, np.arange(1, depth + 1), axis=1)
            total, votes, ranks = total + points, votes + (rank <= depth), ranks + rank
        if method == "combmnz":
            total = total * votes
        if method == "vote":
            total = total - ranks / (2 * len(parts) * (depth + 1))
        return np.where(votes > 0, total, -np.inf)

    return scores


def _check(lists: list, method: str, depth: int | None, lengths: list[int]) -> int:
    """The depth: how many neighbours of each list count."""
    if method not in METHODS:
        raise QueryError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
    if not lists:
        raise QueryError("there is nothing to fuse: give at least one list of neighbours")
    return check_integer("depth", depth) if depth is not None else 10 if method == "vote" else max(lengths)


def _fused(rows: list, likeness: list, method: str, depth: int, rrf_k: int, k: int) -> tuple[np.ndarray, ...]:
    """Rows, scores and votes, each (Q, k), from lists (Q, m) of rows, best first, and their similarities."""
    points = [_points(similarity, method, depth, rrf_k) for similarity in likeness]
    named = [(part >= 0).sum(axis=1, keepdims=True) for part in rows]  # a row of -1 pads a short list
    unnamed = [np.where(count < depth, (depth - count + 1) / 2, 0.0) * (method == "borda") for count in named]
    points = np.concatenate([part - share for part, share in zip(points, unnamed, strict=True)], axis=1)  # (Q, L)
    ranks = np.concatenate([np.broadcast_to(np.arange(1, part.shape[1] + 1), part.shape) for part in rows], axis=1)
    lists, rows = len(rows), np.concatenate(rows, axis=1)
    queries, base = len(rows), rows.max(initial=0) + 1
    # Number each pair of a query and a row in its lists, and sum the points by that number.
    listed = rows >= 0
    found, pair = np.unique((np.arange(queries)[:, None] * base + rows)[listed], return_inverse=True)
    points, ranks = points[listed], ranks[listed]
    query, row = np.divmod(found, base)
    votes = np.bincount(pair)
    score = (np.bincount(pair, points) + sum(unnamed)[query, 0]) * (votes if method == "combmnz" else 1)
    rank_sum = np.bincount(pair, ranks) + (lists - votes) * (depth + 1)
    best = np.full(len(found), depth + 1)
    np.minimum.at(best, pair, ranks)
    order = np.lexsort((row, best, rank_sum, -score.round(12), query))
    place = np.arange(len(order)) - np.searchsorted(query, query)  # `query` is sorted, so this order leaves it as it is
    order, query, place = order[place < k], query[place < k], place[place < k]
    results = np.full((queries, k), -1), np.full((queries, k), np.nan), np.zeros((queries, k), dtype=np.int64)
    for result, values in zip(results, (row, score, votes), strict=True):
        result[query, place] = values[order]
    return results


def _points(similarity: np.ndarray, method: str, depth: int, rrf_k: int) -> np.ndarray:
    """The points (Q, m) that a list gives to its rows, from their similarities (Q, m), best first."""
    rank = np.arange(1, similarity.shape[1] + 1, dtype=np.float64)
    if method in ("combsum", "combmnz"):
        return _scaled(similarity)
    points = {"vote": np.ones(len(rank)), "borda": depth - rank + 1, "rrf": 1 / (rrf_k + rank)}[method]
    return np.broadcast_to(points, similarity.shape)


def _scaled(similarity: np.ndarray) -> np.ndarray:
    """Similarities scaled from 0 (the least of the list) to 1 (the greatest); 1 for all if they are equal."""
    low = np.nanmin(similarity, axis=1, keepdims=True, initial=np.inf)
    high = np.nanmax(similarity, axis=1, keepdims=True, initial=-np.inf)
    return np.where(high > low, (similarity - low) / np.where(high > low, high - low, 1), 1.0)


def _named(tables: list[pd.DataFrame], column: str) -> list:
    """The models or layers of the lists, each once; a fused list has several."""
    first = [table[column].iloc[0] for table in tables if len(table)]
    return list(dict.fromkeys(name for names in first for name in (names if isinstance(names, list) else [names])))


def vote_table(lists: Mapping[str, pd.DataFrame], fused: pd.DataFrame, *, depth: int | None = None) -> pd.DataFrame:
    """Show which lists contain each fused result, and at which rank.

    Parameters
    ----------
    lists : mapping of name to DataFrame
        The tables that were fused.
    fused : DataFrame
        The result of `fuse`.
    depth : int, optional
        How many neighbours of each list count, by default all; `fuse` counts 10 for the method "vote".

    Returns
    -------
    DataFrame
        Columns rank, id, score, label, and one per list (Int64): the rank of the result in it, or NA.
    """
    table = fused[["rank", "id", "score", "label"]].reset_index(drop=True)
    for name, neighbours in lists.items():
        rank = {row.id: row.rank for row in neighbours.itertuples() if depth is None or row.rank <= depth}
        table[name] = pd.array([rank.get(id) for id in table["id"]], dtype="Int64")
    return table
