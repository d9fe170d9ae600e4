"""Choose the parameters of an approximate index for a wanted recall, and report what they cost."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import QueryError, as_number, check_integer, check_k
from ..features import Features, check_vectors, nearest
from .base import Index, as_features, sampled_rows
from .default import default_kind
from .exact_index import ExactIndex

SURE = 3.09
"""The quantile of the normal distribution for the lower bound of recall: the true recall is below it once in a thousand
(one-sided). About ten settings are tried and the least effort that passes is taken, which makes it once in a hundred.
"""
SMALL = 2**22
"""The number of values in all vectors (N x D) up to which exact search takes a few milliseconds per query."""


@dataclass(frozen=True, eq=False, repr=False)
class TuningResult:
    """The result of `tune_index`.

    Attributes
    ----------
    index : Index
        The index with the chosen parameters; the chosen effort is its default.
    table : DataFrame
        One row for each setting tried: kind, its parameters, asked (the queries: pictures "held back" from the index
        or "of the index"), recall, at_least (the lower confidence bound of recall), queries_per_second (one query at
        a time), build_seconds, bytes (on disk). The first row is exact search, the last is `index`.
    recall : float
        The wanted recall.
    k : int
        The number of neighbours for which it is wanted.
    """

    index: Index
    table: pd.DataFrame
    recall: float
    k: int

    @property
    def exact_is_enough(self) -> bool:
        """Whether exact search serves as well: the collection is small (N x D up to 2**22), or it is as fast."""
        exact, chosen = self.table["queries_per_second"].iloc[[0, -1]]
        return bool(len(self.index) * self.index.width <= SMALL or exact >= chosen)

    def __repr__(self) -> str:
        exact, chosen = self.table.iloc[0], self.table.iloc[-1]
        parameters = ", ".join(f"{name}={chosen[name]}" for name in self.index.settings if name in chosen)
        text = (
            f"{chosen['kind']} with {parameters}: recall@{self.k} {chosen['recall']:.3f}, at least "
            f"{chosen['at_least']:.3f} (wanted {self.recall:g}), {chosen['queries_per_second']:,.0f} queries/s, "
            f"built in {chosen['build_seconds']:.1f} s, {chosen['bytes'] / 1e6:,.1f} MB. "
            f"Exact search: {exact['queries_per_second']:,.0f} queries/s"
        )
        return f"{text}, which is enough here and misses nothing (ExactIndex)." if self.exact_is_enough else f"{text}."


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
    seed: int = 0,
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
    kind : subclass of Index, optional
        Any approximate index, by default AnnoyIndex, or FaissHNSWIndex where Annoy is not installed.
    metric : {"angular", "euclidean", "manhattan"}, default "angular"
    builds : sequence of dict, optional
        Keyword arguments of `kind.build` to try, by default `kind.ladder`. Each costs one build.
    sample : int, default 500
        How many pictures are queried. At most a tenth of the collection is held back from the trials, for use as new
        pictures.
    seed : int, default 0
    progress : bool, default True

    Returns
    -------
    TuningResult

    Raises
    ------
    QueryError
        If no setting reaches the recall, if `kind` is exact, or for invalid parameters.

    Notes
    -----
    For each of `builds`, the search looks for the least effort (`search_k`, `nprobe`, `ef`, `n_candidates`) whose
    recall over the held-back pictures is reached with confidence: the lower bound counts, see `least_recall`. An effort
    that compares all vectors misses nothing, and is bounded by nothing. The fastest setting is then built from all
    pictures. Its effort is raised until pictures of the index reach the recall as well.
    """
    kind = kind or default_kind(approximate=True)
    if not (isinstance(kind, type) and issubclass(kind, Index)):
        raise QueryError(f"kind must be a class of index, such as AnnoyIndex, not {kind!r}")
    if kind.effort is None:
        raise QueryError(f"{kind.__name__} has no search effort to tune: choose an approximate index")
    if not 0 < as_number(recall) <= 1:
        raise QueryError(f"recall must be above 0 and at most 1, not {recall!r}")
    features = as_features(features, ids)
    check_vectors(features.vectors, features.ids, metric)
    order = sampled_rows(len(features), len(features), seed)
    sample = check_integer("sample", sample)
    held = min(sample, max(1, len(order) // 10))
    k = check_k(k, len(order) - held, "pictures to tune with")
    asking, kept = np.sort(order[:held]), np.sort(order[held:])
    base = Features(features.vectors[kept], [features.ids[row] for row in kept])
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,  # Windows deletes no mapped file
        tqdm(desc="tune", unit="setting", delay=2, disable=not progress or None) as bar,
    ):
        trials = _Trials(kind, metric, recall, k, Path(folder), bar)
        build, effort = trials.fastest(base, features.vectors[asking], kind.ladder if builds is None else builds)
        index = trials.final(features, np.sort(order[-sample:]), build, effort)
    return TuningResult(index, trials.table(), recall, k)


def least_recall(found: np.ndarray, k: int) -> float:
    """The lower end of Wilson's interval of a mean recall.

    Its number of observations is that of independent neighbours with which the mean would vary as much as over these
    queries, from one to k for each. Where nothing was missed, it is k, and the bound n / (n + 3.09 ** 2).

    Parameters
    ----------
    found : ndarray of shape (Q,)
        The recall of each query.
    k : int

    Returns
    -------
    float

    References
    ----------
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    Korn & Graubard 1998, Confidence intervals for proportions with small expected number of positive counts.
    """
    mean, single = found.mean(), found.mean() * (1 - found.mean())
    count = len(found) * (np.clip(single / found.var(), 1, k) if found.var() else k)
    half = SURE * (single / count + (SURE / count / 2) ** 2) ** 0.5
    return float((mean + SURE**2 / count / 2 - half) / (1 + SURE**2 / count))


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
    return index.hits(queries, rows, farthest).mean(axis=1), seconds


class _Trials:
    """The settings tried, one row each, with their measurements."""

    def __init__(self, kind: type[Index], metric: str, recall: float, k: int, folder: Path, bar: tqdm):
        self.kind, self.metric, self.recall, self.k, self.folder, self.bar = kind, metric, recall, k, folder, bar
        self.rows: list[dict] = []
        self.slowest = 0.0

    def fastest(self, base: Features, queries: np.ndarray, builds: Iterable[Mapping]) -> tuple[Mapping, int]:
        """The keyword arguments and the effort with which queries (Q, D) by new pictures reach the recall fastest."""
        index, cost = self._build(ExactIndex, base, {})
        limits = index.search(queries, self.k)[1][:, -1]
        # A graph may never reach the recall: give up when it is ten times slower than exact search.
        self.slowest = self._measure(index, cost, queries, limits)["queries_per_second"] / 10
        best, chosen = 0, None
        for build in builds:
            index, cost = self._build(self.kind, base, build)
            row = self._least_effort(index, cost, queries, limits, best)
            if row and row["queries_per_second"] > best:
                best, chosen = row["queries_per_second"], (build, row[self.kind.effort])
        return chosen or self._fail()

    def final(self, features: Features, rows: np.ndarray, build: Mapping, effort: int) -> Index:
        """The chosen index of all pictures, with an effort that suffices for queries by these rows (Q,)."""
        index, cost = self._build(self.kind, features, build)
        queries = features.vectors[rows]
        limits = nearest(features.vectors, queries, self.k, self.metric, rows)[1][:, -1]
        while (row := self._measure(index, cost, queries, limits, effort, rows))["at_least"] < self.recall:
            if effort >= index._most() or row["queries_per_second"] < self.slowest:
                self._fail()
            effort = min(math.ceil(1.2 * effort), index._most())
        setattr(index, self.kind.effort, effort)
        return index

    def _least_effort(self, index: Index, cost: dict, queries, limits: np.ndarray, best: float) -> dict | None:
        """The row of the least effort that reaches the recall; None if none does, or if it is slower than the best."""
        low, effort, most = 0, index._effort(self.k, 1), index._most()
        while (row := self._measure(index, cost, queries, limits, effort))["at_least"] < self.recall:
            if effort >= most or row["queries_per_second"] < max(best / 2, self.slowest):
                return None
            low, effort = effort, min(4 * effort, most)
        while low and effort > max(1.2 * low, low + 1):
            middle = round((low * effort) ** 0.5)
            tried = self._measure(index, cost, queries, limits, middle)
            if tried["at_least"] < self.recall:
                low = middle
            else:
                effort, row = middle, tried
        return row

    def _build(self, kind: type[Index], features: Features, build: Mapping) -> tuple[Index, dict]:
        start = time.perf_counter()
        index = kind.build(features, metric=self.metric, **build)
        seconds = time.perf_counter() - start
        file = next(index.save(self.folder / "index").rglob(f"*{kind.ending}"))
        return index, {"build_seconds": seconds, "bytes": file.stat().st_size}

    def _measure(self, index: Index, cost: dict, queries, limits: np.ndarray, effort=None, own=None) -> dict:
        """Query, and add a row; the parameters are those of `ask`."""
        options = {index.effort: effort} if index.effort else {}
        found, seconds = ask(index, queries, limits, self.k, effort, own)
        whole = effort is None or (index.exhaustive and effort >= index._most())
        parameters = {name: getattr(index, name) for name in index.settings if name not in ("seed", "n_jobs")}
        row = {
            "kind": type(index).__name__,
            **parameters,
            **options,
            "asked": "held back" if own is None else "of the index",
            "recall": found.mean(),
            "at_least": found.mean() if whole else least_recall(found, self.k),
            "queries_per_second": 1 / np.median(seconds),
            **cost,
        }
        self.rows.append(row)
        self.bar.set_postfix_str(f"{options}: {row['recall']:.3f}", refresh=False)
        self.bar.update()
        return row

    def _fail(self) -> NoReturn:
        best = max((row["at_least"] for row in self.rows[1:]), default=0)
        raise QueryError(
            f"no {self.kind.__name__} among those tried reaches recall {self.recall:g} with confidence, the best has "
            f"at least {best:.3f}: try other `builds`, or ExactIndex, which misses nothing"
        )

    def table(self) -> pd.DataFrame:
        table = pd.DataFrame(self.rows[1:] + self.rows[:1]).iloc[[-1, *range(len(self.rows) - 1)]]
        whole = [name for name in self.kind.settings if name in table]
        return table.reset_index(drop=True).astype(dict.fromkeys(whole, "Int64"))
