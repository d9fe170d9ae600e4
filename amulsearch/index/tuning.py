"""Choose the parameters of an approximate index for a wanted recall, and report what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import QueryError, as_number, check_integer, check_k
from ..features import Features
from .annoy_index import AnnoyIndex
from .base import Index, as_features, sampled_rows
from .default_index import default_kind
from .exact_index import ExactIndex
from .faiss_index import FaissIndex

SURE = 3.09
"""The quantile of the normal distribution for the lower bound of recall: the true recall is below it once in a thousand
(one-sided). About ten settings are tried and the least effort that passes is taken, which makes it once in a hundred.
"""
SMALL = 2**22
"""The number of values in all vectors (N x D) up to which exact search takes a few milliseconds per query."""
STEP = 1.5
"""The ratio of one effort to the next."""


@dataclass(frozen=True, eq=False, repr=False)
class TuningResult:
    """The result of `tune_index`.

    Attributes
    ----------
    index : Index
        The chosen index of all pictures; the chosen effort is its default.
    table : DataFrame
        One row for each setting tried: the arguments of `build`, the effort, recall, at_least (the lower confidence
        bound of recall), queries_per_second (one query at a time), build_seconds.
    chosen : dict
        The row of the chosen setting.
    exact_queries_per_second : float
        The speed of exact search.
    """

    index: Index
    table: pd.DataFrame
    chosen: dict
    exact_queries_per_second: float

    @property
    def exact_is_enough(self) -> bool:
        """Whether exact search serves as well: the collection is small (N x D up to 2**22), or it is as fast."""
        small = len(self.index) * self.index.width <= SMALL
        return bool(small or self.exact_queries_per_second >= self.chosen["queries_per_second"])

    def __repr__(self) -> str:
        parameters = ", ".join(f"{name}={self.chosen[name]}" for name in self.index.settings if name in self.chosen)
        enough = ", which is enough here and misses nothing (ExactIndex)" if self.exact_is_enough else ""
        return (
            f"{type(self.index).__name__} with {parameters}: recall {self.chosen['recall']:.3f}, at least "
            f"{self.chosen['at_least']:.3f}, {self.chosen['queries_per_second']:,.0f} queries/s, built in "
            f"{self.chosen['build_seconds']:.1f} s. "
            f"Exact search: {self.exact_queries_per_second:,.0f} queries/s{enough}."
        )


def tune_index(
    features: Features | np.ndarray,
    ids: Sequence[str] | None = None,
    *,
    recall: float = 0.95,
    k: int | None = None,
    kind: type[Index] | None = None,
    metric: str = "angular",
    builds: Sequence[Mapping] | None = None,
    sample: int = 500,
    progress: bool = True,
) -> TuningResult:
    """Find the fastest index of a kind that reaches a wanted recall.

    Parameters
    ----------
    features : Features or ndarray of shape (N, D)
        The vectors are copied.
    ids : sequence of N str, optional
        Required with a plain array.
    recall : float, default 0.95
        The wanted fraction of the true k nearest neighbours, above 0 and at most 1.
    k : int, optional
        By default 10, or as many as there are to tune with.
    kind : {AnnoyIndex, FaissIndex}, optional
        By default AnnoyIndex, or FaissIndex where Annoy is not installed.
    metric : {"angular", "euclidean", "manhattan"}, default "angular"
    builds : sequence of dict, optional
        Keyword arguments of `kind.build` to try, by default `kind.ladder`. Each costs one build.
    sample : int, default 500
        How many pictures are queried. At most a tenth of the collection is held back from the trials, for use as new
        pictures.
    progress : bool, default True

    Raises
    ------
    QueryError
        If no setting reaches the recall, if `kind` is exact, or for invalid parameters.

    Notes
    -----
    For each of `builds`, the effort (`search_k`) rises until the recall over the held-back pictures is reached with
    confidence: the lower bound counts, see `least_recall`. An effort that compares all vectors misses nothing, and is
    bounded by nothing. The fastest setting is then built from all pictures, its effort greater as they are more.
    """
    kind = kind or (AnnoyIndex if default_kind() is AnnoyIndex else FaissIndex)
    if not (isinstance(kind, type) and issubclass(kind, Index)):
        raise QueryError(f"kind must be a class of index, such as AnnoyIndex, not {kind!r}")
    if kind.effort is None:
        raise QueryError(f"{kind.__name__} has no search effort to tune: choose an approximate index")
    if not 0 < as_number(recall) <= 1:
        raise QueryError(f"recall must be above 0 and at most 1, not {recall!r}")
    features, sample = as_features(features, ids), check_integer("sample", sample)
    order = sampled_rows(len(features), len(features), 0)
    new, rest = np.split(order, [min(sample, max(1, len(order) // 10))])
    k = check_k(k, len(rest), "pictures to tune with")
    rest = np.sort(rest)
    base, queries = Features(features.vectors[rest], [features.ids[row] for row in rest]), features.vectors[new]
    exact = ExactIndex.build(base, metric=metric)
    farthest = exact.search(queries, k)[1][:, -1]
    exact_speed = 1 / np.median(ask(exact, queries, farthest, k, None)[1])
    rows, best, choice = [], None, {}
    for build in tqdm(kind.ladder if builds is None else builds, "tune", delay=2, disable=not progress or None):
        start = time.perf_counter()
        index = kind.build(base, metric=metric, **build)
        seconds = time.perf_counter() - start
        fastest = best["queries_per_second"] if best else 0
        for row in _rising(index, queries, farthest, k, recall, max(exact_speed / 10, fastest / 2)):
            rows.append({**build, **row, "build_seconds": seconds})
            if row["at_least"] >= recall and row["queries_per_second"] > fastest:
                best, choice = rows[-1], build
    if best is None:
        most = max((row["at_least"] for row in rows), default=0)
        raise QueryError(
            f"no {kind.__name__} among those tried reaches recall {recall:g} with confidence, the best has at least "
            f"{most:.3f}: try other `builds`, or ExactIndex, which misses nothing"
        )
    index = kind.build(features, metric=metric, **choice)
    setattr(index, kind.effort, math.ceil(best[kind.effort] * len(features) / len(base)))
    return TuningResult(index, pd.DataFrame(rows), best, exact_speed)


def _rising(index: Index, queries: np.ndarray, farthest: np.ndarray, k: int, recall: float, slowest: float):
    """Measure rising efforts, up to the first that reaches the recall, or is too slow or the greatest."""
    effort, most = index._effort(k, 1), index._most()
    while True:
        hits, seconds = ask(index, queries, farthest, k, effort)
        whole = index.exhaustive and effort >= most
        row = {
            index.effort: effort,
            "recall": hits.mean(),
            "at_least": hits.mean() if whole else least_recall(hits, k),
            "queries_per_second": 1 / np.median(seconds),
        }
        yield row
        if row["at_least"] >= recall or effort >= most or row["queries_per_second"] < slowest:
            return
        effort = min(max(effort + 1, round(STEP * effort)), most)


def ask(
    index: Index, queries: np.ndarray, farthest: np.ndarray, k: int, effort: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Search the index for queries (Q, D), one at a time; the recall (Q,) and the seconds (Q,) of each.

    farthest: the distances (Q,) of the k-th true neighbours; pictures at most as far away count as neighbours.
    """
    options = {} if effort is None else {index.effort: effort}
    rows, seconds = np.empty((len(queries), k), dtype=np.int64), np.empty(len(queries))
    for place, query in enumerate(queries):
        start = time.perf_counter()
        rows[place] = index.search(query[None], k, **options)[0]
        seconds[place] = time.perf_counter() - start
    return index.hits(queries, rows, farthest).mean(axis=1), seconds


def least_recall(hits: np.ndarray, k: int) -> float:
    """The lower end of Wilson's interval of a mean recall, from the recall (Q,) of each query.

    Its number of observations is that of independent neighbours with which the mean would vary as much as over these
    queries, from one to k for each. Where nothing was missed, it is k, and the bound n / (n + 3.09 ** 2).

    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    Korn & Graubard 1998, Confidence intervals for proportions with small expected number of positive counts.
    """
    mean, single = hits.mean(), hits.mean() * (1 - hits.mean())
    count = len(hits) * (np.clip(single / hits.var(), 1, k) if hits.var() else k)
    half = SURE * (single / count + (SURE / count / 2) ** 2) ** 0.5
    return float((mean + SURE**2 / count / 2 - half) / (1 + SURE**2 / count))
