"""Exactness against speed: what an index finds and how quickly, by how long it looks; and collections large enough to
see it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .errors import QueryError
from .index import Index
from .search import check_k, check_whole
from .vectors import as_near, nearest, starts, unit


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
        own = np.random.default_rng(seed).permutation(len(index))[: check_whole("sample", sample)]
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


def enlarge(vectors: np.ndarray, count: int, *, seed: int = 0, out: np.ndarray | None = None) -> np.ndarray:
    """(count, D) float32: points between two of the vectors (N, D), one of which is among the 100 nearest of the other.

    A collection of any size that is as crowded and as empty, in the same places, as the real one. With more than some
    ten thousand vectors finding the neighbours takes long.
    out: the array to fill, as a memory map for what is larger than memory.

    Raises QueryError for fewer than three vectors.
    """
    if len(vectors) < 3:
        raise QueryError(f"{len(vectors)} vectors are too few to make others between them")
    rng, vectors = np.random.default_rng(seed), unit(vectors)
    near = nearest([(0, vectors)], vectors, min(100, len(vectors) - 1), "angular", own=np.arange(len(vectors)))[0]
    made = np.empty((count, vectors.shape[1]), dtype=np.float32) if out is None else out
    steps = starts(count, vectors.shape[1])
    for start in steps:
        size = min(steps.step, count - start)
        one, part = rng.integers(0, len(vectors), size), rng.random((size, 1), dtype=np.float32)
        other = near[one, rng.integers(0, near.shape[1], size)]
        made[start : start + size] = (1 - part) * vectors[one] + part * vectors[other]
    return made
