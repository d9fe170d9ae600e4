"""The parameters of an approximate index for a wanted recall, and what they cost."""

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

from ..errors import QueryError, check_integer, check_k
from ..features import Features, check_vectors, nearest
from ..store import blocks
from .annoy_index import AnnoyIndex
from .base import Index, as_features
from .exact_index import ExactIndex
from .speed import ask

SURE = 3.09
"""Standard errors below the mean recall of a sample; the true one is lower once in a thousand (one-sided, normal). That
is once in a hundred for the some ten settings that are tried, of which the least that passes is taken."""
SMALL = 2**22
"""Numbers in all vectors (N x D) up to which exact search takes a few thousandths of a second a query."""


@dataclass(frozen=True, eq=False, repr=False)
class TuningResult:
    """What `tune_index` found: `index` has the chosen parameters, and its default effort is the one that was found.

    table: a row for each setting that was tried: kind, its parameters, asked (by pictures "held back" from the index,
        or "of the index"), recall, at_least (see `SURE`), queries_per_second (one at a time, by `query`),
        build_seconds, bytes (on disk). The first row is exact search, the last is `index`.
    recall, k: what was wanted.
    """

    index: Index
    table: pd.DataFrame
    recall: float
    k: int

    @property
    def exact_is_enough(self) -> bool:
        """Whether the collection is `SMALL`, or exact search as quick as the index."""
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
        return f"{text}: it is enough here, and misses nothing (ExactIndex)." if self.exact_is_enough else f"{text}."


def tune_index(
    features: Features | np.ndarray,
    ids: Sequence[str] | None = None,
    *,
    recall: float = 0.95,
    k: int = 10,
    kind: type[Index] = AnnoyIndex,
    metric: str = "angular",
    builds: Sequence[Mapping] | None = None,
    sample: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> TuningResult:
    """The fastest index of a kind that finds this part of the true k nearest neighbours.

    features, ids: Features, or any (N, D) array and its ids. A copy of the vectors is made.
    builds: keyword arguments of `kind.build` to try, by default `kind.ladder`; each is a build.
    sample: how many pictures ask; a tenth of the collection at most is held back from the trials to ask as new ones.

    For each of `builds` the least effort (`search_k`, `nprobe`, `ef`, `n_candidates`) is sought whose recall is reached
    by pictures held back from the index: not by their mean alone, but by what it surely is at least (see `SURE`). The
    fastest is built again of all pictures, and looks longer where pictures of the index do not reach it as surely.

    Raises QueryError where nothing that was tried reaches it.
    """
    if kind.effort is None:
        raise QueryError(f"{kind.__name__} misses nothing: there is nothing to tune")
    if not 0 < recall <= 1:
        raise QueryError(f"recall is from 0 to 1, not {recall!r}")
    features = as_features(features, ids)
    check_vectors(features.vectors, features.ids, metric)
    order = np.random.default_rng(seed).permutation(len(features))
    sample = check_integer("sample", sample)
    held = min(sample, max(1, len(order) // 10))
    k = check_k(k, len(order) - held, "pictures to tune with")
    asking, kept = np.sort(order[:held]), np.sort(order[held:])
    base = Features(features.vectors[kept], [features.ids[row] for row in kept])
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(desc="tune", unit="setting", delay=2, disable=not progress) as bar,
    ):
        trials = _Trials(kind, metric, recall, k, Path(folder), bar)
        build, effort = trials.fastest(base, features.vectors[asking], kind.ladder if builds is None else builds)
        index = trials.final(features, np.sort(order[-sample:]), build, effort)
    return TuningResult(index, trials.table(), recall, k)


class _Trials:
    """The settings that were tried, a row each, and how they did."""

    def __init__(self, kind: type[Index], metric: str, recall: float, k: int, folder: Path, bar: tqdm):
        self.kind, self.metric, self.recall, self.k, self.folder, self.bar = kind, metric, recall, k, folder, bar
        self.rows: list[dict] = []
        self.slowest = 0.0

    def fastest(self, base: Features, queries: np.ndarray, builds: Iterable[Mapping]) -> tuple[Mapping, int]:
        """The keyword arguments and the effort with which new pictures (Q, D) reach the recall in the least time."""
        limits = nearest(blocks(base.vectors), queries, self.k, self.metric)[1][:, -1]
        index, cost = self._build(ExactIndex, base, {})
        # A graph may never reach the recall: it is given up where it is ten times slower than exact search.
        self.slowest = self._measure(index, cost, queries, limits)["queries_per_second"] / 10
        best, chosen = 0, None
        for build in builds:
            index, cost = self._build(self.kind, base, build)
            row = self._least_effort(index, cost, queries, limits, best)
            if row and row["queries_per_second"] > best:
                best, chosen = row["queries_per_second"], (build, row[self.kind.effort])
        return chosen or self._fail()

    def final(self, features: Features, rows: np.ndarray, build: Mapping, effort: int) -> Index:
        """The chosen index of all pictures; these rows (Q,) ask whether the effort is enough for them."""
        limits = nearest(blocks(features.vectors), features.vectors[rows], self.k, self.metric, own=rows)[1][:, -1]
        index, cost = self._build(self.kind, features, build)
        ids = [features.ids[row] for row in rows]
        while (row := self._measure(index, cost, ids, limits, effort))["at_least"] < self.recall:
            if effort >= index._most() or row["queries_per_second"] < self.slowest:
                self._fail()
            effort = min(math.ceil(1.2 * effort), index._most())
        setattr(index, self.kind.effort, effort)
        return index

    def _least_effort(self, index: Index, cost: dict, queries, limits: np.ndarray, best: float) -> dict | None:
        """The row of the least effort that reaches the recall; None where none does, or is slower than the best."""
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
        return index, {"build_seconds": seconds, "bytes": index.save(self.folder / "index").stat().st_size}

    def _measure(self, index: Index, cost: dict, queries, limits: np.ndarray, effort: int | None = None) -> dict:
        """Ask, and add a row; queries are ids or vectors, limits the distances of their k-th true neighbours."""
        options = {index.effort: effort} if index.effort else {}
        found, seconds = ask(index, queries, limits, self.k, effort)
        mean, spread = np.mean(found), np.std(found) / len(found) ** 0.5
        parameters = {name: getattr(index, name) for name in index.settings if name not in ("seed", "n_jobs")}
        row = {
            "kind": type(index).__name__,
            **parameters,
            **options,
            "asked": "held back" if isinstance(queries, np.ndarray) else "of the index",
            "recall": mean,
            "at_least": max(mean - SURE * spread, 0),
            "queries_per_second": 1 / np.median(seconds),
            **cost,
        }
        self.rows.append(row)
        self.bar.set_postfix_str(f"{options}: {mean:.3f}", refresh=False)
        self.bar.update()
        return row

    def _fail(self) -> NoReturn:
        best = max(row["at_least"] for row in self.rows[1:])
        raise QueryError(
            f"no {self.kind.__name__} that was tried surely reaches recall {self.recall:g}, the best only {best:.3f}: "
            "try other `builds`"
        )

    def table(self) -> pd.DataFrame:
        table = pd.DataFrame(self.rows[1:] + self.rows[:1]).iloc[[-1, *range(len(self.rows) - 1)]]
        whole = [name for name in self.kind.settings if name in table]
        return table.reset_index(drop=True).astype(dict.fromkeys(whole, "Int64"))
