"""One table of many systems: networks, layers, poolings, transforms and fusions, each against a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from tqdm.auto import tqdm

from ..errors import MissingKeyError, QueryError, check_k
from ..features import Features
from .ensemble import fused_similarities
from .evaluation import Evaluation, evaluate
from .relevance import Relevance


@dataclass(frozen=True, eq=False)
class Comparison:
    """table: a row a system, best first; `comparison[name]` is the Evaluation of one, with its scores by query."""

    table: pd.DataFrame
    evaluations: dict[str, Evaluation]

    def __getitem__(self, name: str) -> Evaluation:
        if name not in self.evaluations:
            raise MissingKeyError(f"there is no system {name!r}; there are {', '.join(self.evaluations)}")
        return self.evaluations[name]

    def _repr_html_(self) -> str:
        return self.table.to_html(float_format="%.3f")


def compare(
    features: Mapping[tuple[str, str], Features],
    relevance: Relevance | None = None,
    *,
    transforms: Mapping[str, Callable[[Features], Features]] | None = None,
    fusions: Sequence[str] = (),
    vote_depth: int = 10,
    others: Mapping[str, object] | None = None,
    baseline: str | None = None,
    measure: str = "mAP",
    queries: Sequence[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Measure every network and layer, under every transform, alone and fused, on the same queries.

    features: what `extract` gives: (model, layer) -> Features; the pooling is part of a layer's name.
    relevance: the collection's labels by default.
    transforms: name -> a function from Features to Features; each is applied to all features, beside none at all.
    fusions: methods of `fuse`; for each layer that several models have, and each transform, all models are fused:
        "vote" counts the first `vote_depth` of each list with ties ordered by ranks, the others take whole rankings.
    others: name -> any other system that `evaluate` takes.
    baseline: the system that all are compared with, a name as in the table; the first by default.
    measure: the measure that is compared, and sorted by.
    queries: ids, see `evaluate`.

    The table has the columns system, model, layer, transform, fusion, width, the measures, low and high (the 95%
    bootstrap interval of `measure`), and against the baseline difference, p (paired randomisation test), wins, losses.
    """
    if not features and not others:
        raise QueryError("there is nothing to compare")
    if relevance is None:
        one = next(iter(features.values())) if features else None
        if one is None:
            raise QueryError("give relevance=, or features whose pictures have labels")
        relevance = Relevance.from_labels(one.ids, one.labels)
    systems: dict[str, tuple[dict, object]] = {}
    for transform, change in {"": None, **(transforms or {})}.items():
        by_layer: dict[str, list[Features]] = {}
        for (model, layer), made in features.items():
            made = change(made) if change else made
            by_layer.setdefault(layer, []).append(made)
            about = {"model": model, "layer": layer, "transform": transform, "width": made.vectors.shape[1]}
            systems[" ".join(filter(None, (model, layer, transform)))] = (about, made)
        for layer, parts in by_layer.items():
            for method in fusions if len(parts) > 1 else ():
                about = {"model": f"{len(parts)} models", "layer": layer, "transform": transform, "fusion": method}
                name = " ".join(filter(None, (f"{method} of {len(parts)}", layer, transform)))
                systems[name] = (about, _fused(parts, method, vote_depth))
    for name, system in (others or {}).items():
        width = system.vectors.shape[1] if isinstance(system, Features) else None
        systems[name] = ({"model": name, "width": width}, system)
    baseline = next(iter(systems)) if baseline is None else baseline
    if baseline not in systems:
        raise QueryError(f"the baseline {baseline!r} is not among the systems: {', '.join(systems)}")
    bar = tqdm(systems.items(), desc="compare", unit="system", delay=1, disable=not progress)
    done = {name: evaluate(system, relevance, queries=queries) for name, (_, system) in bar}
    rows = []
    for name, (about, _) in systems.items():
        low, high = done[name].interval(measure)
        against = {} if name == baseline else done[name].compare(done[baseline], measure)
        against = {key: against.get(key) for key in ("difference", "p", "wins", "losses")}
        rows.append({"system": name, **about, **done[name].mean(), "low": low, "high": high, **against})
    columns = ["system", "model", "layer", "transform", "fusion", "width"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, *[name for name in rows[0] if name not in columns]])
    names = ["model", "layer", "transform", "fusion"]
    table[names] = table[names].astype(object).where(table[names].notna(), "")
    counts = ["width", "wins", "losses"]
    table[counts] = table[counts].astype("Int64")
    return Comparison(
        table.sort_values("mAP" if measure == "AP" else measure, ascending=False, ignore_index=True), done
    )


def contributions(
    features: Mapping[str, Features], relevance: Relevance, *, method: str = "combsum", measure: str = "mAP"
) -> pd.DataFrame:
    """What each model brings to an ensemble: the ensemble against itself without the model.

    features: model -> Features, at least two. Returns model, contribution (the measure with it minus without it), its
    95% interval low and high, p, and wins and losses by query.
    """
    if len(features) < 2:
        raise QueryError("an ensemble has at least two models")
    whole = evaluate(_fused(list(features.values()), method, 10), relevance)
    rows = []
    for name in features:
        rest = [made for other, made in features.items() if other != name]
        change = whole.compare(evaluate(_fused(rest, method, 10), relevance), measure)
        rows.append({"model": name, "contribution": change.pop("difference"), **change})
    return pd.DataFrame(rows).drop(columns="ties")


def _fused(parts: Sequence[Features], method: str, vote_depth: int) -> Callable:
    depth = min(check_k(vote_depth, vote_depth), len(parts[0]) - 1) if method == "vote" else None
    return fused_similarities(parts, method, depth=depth)
