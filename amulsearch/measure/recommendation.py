"""Which system of a panel to use for a collection, and how sure that is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import embed
from ..index import System, sampled_rows
from ..intake import Collection
from ..models import Model
from ..systems import SAME_THING, Panel
from .comparison import Comparison, compare
from .polling import Pool

LEAST = 5
"""The fewest labels, and the fewest pictures, from which something is recommended."""
DRAWS, TIMED = 1000, 4
"""How many bootstrap samples are drawn, and how many pictures are timed."""


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What `recommend` returns: the system to use, and in `advice` why, and how sure that is.

    `table` has one row per system, the best by `measure` first, which is "mAP" if there are enough labels, else
    "agreement"; `comparison` has the measures by the labels, or is None; `queries` is how many pictures queried.
    """

    table: pd.DataFrame
    measure: str
    system: str
    advice: str
    queries: int
    comparison: Comparison | None
    panel: Panel

    def __repr__(self) -> str:
        return f"{self.table.to_string(index=False, float_format='%.3f')}\n\n{self.advice}"

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="%.3f") + f"<p>{self.advice}</p>"


def recommend(panel: Panel, collection: Collection, *, sample: int = 2000, progress: bool = True) -> Recommendation:
    """Compare the systems of a panel, and say which to use.

    If at least five labels have two pictures or more, pictures of the same label are relevant to each other, and mAP
    decides. Otherwise agreement does: how many systems find a neighbour, or neighbours of it, too, weighed as it speaks
    for pictures of a kind. It orders the systems of a panel, and does not estimate P@5. Of 70 systems, it ordered pairs
    as P@5 does with a Kendall's tau of .74 to .84 on four collections, and its first was the best in each. If the same
    thing is looked for, whoever drew it, no score without answers tells (see `Jury`).

    Parameters
    ----------
    panel : Panel
    collection : Collection
        The pictures of the panel.
    sample : int, default 2000
        How many pictures query: a random sample, or all if there are fewer.
    progress : bool, default True

    Returns
    -------
    Recommendation
        Its table has the columns system, mAP (with labels), agreement, low and high (the 95% bootstrap interval of the
        measure that decides, by label or by query), first (the fraction of the bootstrap samples in which the system is
        best), ms (for a new picture, once the networks are loaded) and kB (of vectors, a picture).

    References
    ----------
    Sakai 2006, Evaluating evaluation metrics based on the bootstrap.
    Wu & Crestani 2003, Methods for ranking information retrieval systems without relevance judgments.
    """
    if len(panel.ids) < LEAST:
        raise QueryError(f"a comparison needs at least {LEAST} pictures, not {len(panel.ids)}")
    systems = dict(panel)
    agreement = agreements(systems, sampled_rows(len(panel.ids), sample, 0))
    counts = pd.Series(collection.labels, dtype=object).value_counts()
    comparison = None
    if (counts > 1).sum() >= LEAST:
        comparison = compare(systems, sample=sample, progress=progress)
        results = comparison.evaluations
        scores = pd.DataFrame({name: result.per_query["AP"] for name, result in results.items()})
        groups = pd.factorize(next(iter(results.values())).per_query["label"])[0]
    else:
        scores, groups = agreement, np.arange(len(agreement))
    measure = "agreement" if comparison is None else "mAP"
    means = _bootstrap(scores, groups)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    table = pd.DataFrame({"system": list(systems)})
    if comparison is not None:
        table["mAP"] = scores.mean().to_numpy()
    table = table.assign(agreement=agreement.mean().to_numpy(), low=low, high=high)
    table["first"] = np.bincount(means.to_numpy().argmax(axis=1), minlength=len(table)) / len(means)
    table = table.join(costs(systems, collection), on="system")
    table = table.sort_values(measure, ascending=False, kind="stable", ignore_index=True)
    if comparison is None:
        advice = _without_labels(table)
    else:
        advice = _with_labels(table, means, scores, groups)
    return Recommendation(table, measure, table["system"][0], advice, len(scores), comparison, panel)


def agreements(systems: Mapping[str, System], queries: np.ndarray) -> pd.DataFrame:
    """How much the systems agree on each system's first five neighbours, weighed as it speaks for pictures of a kind:
    from 0 to 1, by query (rows (Q,) of the collection) and system (columns)."""
    pool = Pool.of(systems, np.sort(queries), SAME_THING.name)
    relevance = (
        pool.predicted(pool.prior("of a kind")[0]).astype(float).round(6)
    )  # equal answers are equal, in whatever order
    return pd.DataFrame(relevance[pool.place].mean(axis=2).round(6).T, columns=list(systems))


def _networks(system: System) -> frozenset[str]:
    made_by = (part.fingerprint for part in system.parts if part.fingerprint)
    return frozenset(name for fingerprint in made_by for name in fingerprint["model"].split(" + "))


def costs(systems: Mapping[str, System], collection: Collection) -> pd.DataFrame:
    """Milliseconds for a new picture and kilobytes of vectors a picture, by system."""
    images = [collection.open(id) for id in collection.ids[:TIMED]]
    makers = [maker for system in systems.values() for part in system.parts for maker in part.makers]
    own = {maker.name: maker for maker in makers if isinstance(maker, Model)}
    milliseconds = {}
    for network in frozenset().union(*map(_networks, systems.values())):
        embed(images[:1], own.get(network, network), "penultimate")  # loads the network
        start = time.perf_counter()
        embed(images, own.get(network, network), "penultimate")
        milliseconds[network] = 1000 * (time.perf_counter() - start) / len(images)
    table = {}
    for name, system in systems.items():
        total = sum(milliseconds[network] for network in _networks(system))
        table[name] = {"ms": total, "kB": sum(part.width for part in system.parts) * 4 / 1000}
    return pd.DataFrame.from_dict(table, orient="index")


def _bootstrap(scores: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """The means of the scores (Q, S) in each of `DRAWS` random draws of the groups (Q,) of queries."""
    count = groups.max() + 1
    draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    weights = np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(np.float64)
    sums = np.stack([np.bincount(groups, scores[name], minlength=count) for name in scores], axis=1)
    return pd.DataFrame((weights @ sums) / (weights @ np.bincount(groups))[:, None], columns=scores.columns)


def _with_labels(table: pd.DataFrame, means: pd.DataFrame, scores: pd.DataFrame, groups: np.ndarray) -> str:
    best, costs = table["system"][0], table.set_index("system")
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    half = np.isin(groups, order[: len(order) // 2])
    chosen = scores[half].mean().idxmax()
    sentences = [
        f"Use {best}: its mAP of {table['mAP'][0]:.3f} is the highest of {len(table)} systems, also in "
        f"{table['first'][0]:.0%} of {len(means):,} random draws of labels.",
        f"Chosen on half of the labels, {chosen} has {scores.loc[~half, chosen].mean():.3f} on the other half, "
        f"where the mean of all systems is {scores[~half].mean().mean():.3f}.",
    ]
    behind = means.sub(means[best], axis=0)
    near = [name for name in means if name != best and np.percentile(behind[name], 97.5) >= 0]
    if not near:
        return " ".join([*sentences, "All other systems are worse by more than chance explains."])
    fast = costs.loc[near, "ms"].idxmin()
    sentences.append(
        f"This is not sure: {len(near)} others cannot be told from it. The fastest of them is {fast}: mAP "
        f"{costs['mAP'][fast]:.3f}, {costs['ms'][fast]:.0f} ms for a new picture instead of {costs['ms'][best]:.0f}."
    )
    return " ".join(sentences)


def _without_labels(table: pd.DataFrame) -> str:
    return (
        f"Use {table['system'][0]}: of {len(table)} systems, the others agree most with its neighbours. This holds if "
        "you look for pictures of a kind, and is not sure: without labels, nothing says which results are alike in "
        "meaning. Answer some questions (amulsearch.measure.Jury), or sort pictures into subfolders, two or more into "
        "each of at least five, and compare again."
    )
