"""Recall against speed: what an index finds and how quickly, by how long it looks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import check_integer, check_k
from ..features import as_near, nearest
from .base import Index


def tradeoff(
    index: Index,
    queries: np.ndarray | None = None,
    *,
    efforts: Sequence[int] | None = None,
    k: int = 10,
    sample: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """A row for each effort: kind, effort, recall of the first k, queries_per_second (one after the other, the median).

    queries: vectors (Q, D) that are not in the index; by default `sample` pictures of the index ask.
    efforts: values of the index's option: `search_k` of Annoy, `nprobe` of FAISS IVF, `ef` of every HNSW,
        `n_candidates` of FAISS LSH. By default from the least up, each twice the one before. The table ends where
        nothing is missed any more, or where a query takes ten times as long as the quickest and finds nothing more.
    """
    k = check_k(k, len(index) - 1, "other pictures")
    if queries is None:
        own = np.random.default_rng(seed).permutation(len(index))[: check_integer("sample", sample)]
        asked, vectors = [index.ids[row] for row in own], index._take(own)
    else:
        own, asked, vectors = None, queries, queries
    limits = nearest(index._blocks(), vectors, k, index.metric, own=own)[1][:, -1]
    if index.effort is None:
        efforts = [None]
    elif efforts is None:
        efforts = [index._effort(k, 1)]
        while efforts[-1] < index._most():
            efforts.append(min(2 * efforts[-1], index._most()))
    rows: list[dict] = []
    for effort in efforts:
        found, seconds = ask(index, asked, limits, k, effort)
        row = {"effort": effort, "recall": found.mean(), "queries_per_second": 1 / np.median(seconds)}
        in_vain = rows and row["recall"] <= rows[-1]["recall"]
        rows.append({"kind": type(index).__name__, **row})
        if row["recall"] == 1 or (
            in_vain and 10 * row["queries_per_second"] < max(r["queries_per_second"] for r in rows)
        ):
            break
    return pd.DataFrame(rows)


def ask(
    index: Index, queries: Sequence, limits: np.ndarray, k: int, effort: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The recall and the seconds of each of Q queries (ids or vectors): (Q,) and (Q,).

    limits: the distances (Q,) of their k-th true neighbours; what is as near counts as found.
    """
    options = {} if effort is None else {index.effort: effort}
    found, seconds = [], []
    for query, limit in zip(queries, limits, strict=True):
        start = time.perf_counter()
        distances = index.query(query, k, **options)["distance"].to_numpy()
        seconds.append(time.perf_counter() - start)
        found.append(as_near(distances, limit).mean())
    return np.array(found), np.array(seconds)
