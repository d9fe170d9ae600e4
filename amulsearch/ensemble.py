"""Several lists of neighbours become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from .errors import QueryError
from .search import check_k

METHODS = ("vote", "borda", "rrf", "combsum", "combmnz")


def fuse(
    lists: Mapping[str, pd.DataFrame] | Iterable[pd.DataFrame],
    method: str = "vote",
    *,
    n: int | None = None,
    k: int | None = None,
    rrf_k: int = 60,
) -> pd.DataFrame:
    """Fuse tables of neighbours of one query: rank (from 1), id, score (higher is better), label, votes, model, layer.

    method:
        "vote": in how many lists an id is among the first n, as the 2019 post did.
        "borda": the sum over lists of n - rank + 1; ids that a list does not name share what is left of its points,
            on average (Aslam & Montague 2001, "Models for metasearch").
        "rrf": the sum of 1 / (rrf_k + rank), reciprocal rank fusion (Cormack, Clarke & Buettcher 2009; rrf_k = 60).
        "combsum": the sum of similarities, brought to 0..1 in each list by its least and greatest;
        "combmnz": the same times the number of lists that name the id (Fox & Shaw 1994, "Combination of multiple
            searches").
    n: how many of each list count; by default 10 for "vote" and all that is given for the others.
    k: how many results to keep; all by default.

    Equal scores are ordered by the sum of ranks, then by the best rank, then by id, so the result is always the same.
    `votes` says in how many lists an id is; `model` lists the models fused.
    """
    tables = list(lists.values() if isinstance(lists, Mapping) else lists)
    if method not in METHODS:
        raise QueryError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
    if not tables:
        raise QueryError("there is nothing to fuse: give at least one list of neighbours")
    n = check_k(n, n) if n is not None else 10 if method == "vote" else max(len(table) for table in tables)
    tables = [table.sort_values("rank").head(n) for table in tables]
    points = [_points(table, method, n, rrf_k) for table in tables]
    ids = sorted(set().union(*(table["id"] for table in tables)))
    scores = pd.DataFrame(points, columns=ids).T  # (ids, lists), NaN where a list does not name the id
    ranks = pd.DataFrame([table.set_index("id")["rank"] for table in tables], columns=ids).T
    if method == "borda":
        unnamed = [(n - len(table) + 1) / 2 if len(table) < n else 0.0 for table in tables]
        scores = scores.fillna(dict(enumerate(unnamed)))
    votes = ranks.notna().sum(axis=1)
    score = scores.sum(axis=1) * (votes if method == "combmnz" else 1)
    order = np.lexsort((ids, ranks.min(axis=1), ranks.fillna(n + 1).sum(axis=1), -score.round(12)))
    fused = [ids[place] for place in order][:k]
    label = {id: label for table in tables for id, label in zip(table["id"], table["label"], strict=True)}
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(fused) + 1),
            "id": pd.Series(fused, dtype=object),
            "score": score[fused].to_numpy(dtype=np.float64),
            "label": pd.Series([label[id] for id in fused], dtype=object),
            "votes": votes[fused].to_numpy(),
            "model": pd.Series([_named(tables, "model")] * len(fused), dtype=object),
            "layer": pd.Series([_named(tables, "layer")] * len(fused), dtype=object),
        }
    )


def _points(table: pd.DataFrame, method: str, n: int, rrf_k: int) -> pd.Series:
    """What one list gives to the ids it names: id -> points."""
    rank = table["rank"].to_numpy(dtype=np.float64)
    if method == "vote":
        points = np.ones(len(table))
    elif method == "borda":
        points = n - rank + 1
    elif method == "rrf":
        points = 1 / (rrf_k + rank)
    else:
        points = _scaled(table)
    return pd.Series(points, index=table["id"])


def _scaled(table: pd.DataFrame) -> np.ndarray:
    """Similarities from 0 (the least of the list) to 1 (the greatest); 1 for all where they are equal."""
    if "score" in table:
        similarity = table["score"].to_numpy()
    else:
        similarity = -table["distance"].to_numpy()
    low, high = similarity.min(), similarity.max()
    return (similarity - low) / (high - low) if high > low else np.ones(len(table))


def _named(tables: list[pd.DataFrame], column: str) -> list:
    return list(dict.fromkeys(table[column].iloc[0] for table in tables if len(table)))
