"""Fit the probability that a neighbour is relevant, and test it on labels that took no part."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer, check_k
from ..index import Calibration, System, evidence

if TYPE_CHECKING:
    from ..measure import Relevance

FOLDS, BINS = 5, 10


def calibrate(
    system: System, relevance: Relevance | pd.DataFrame | None = None, *, k: int = 20, sample: int = 2000, seed: int = 0
) -> Calibration:
    """Fit the probability that a neighbour is relevant to a query, given its distance.

    Assign it to `system.calibration`, and the tables of `system.query` have a column `probability`.

    The fit is a logistic regression with two parameters. It is tested by cross-validation: the labels are divided at
    random into five parts, and the neighbours of the queries of each part are predicted by a fit to the others, so
    `calibration.ece` and `calibration.table` speak of labels that took no part.

    It holds for pictures of the collection. For new pictures that ask a `Diffusion`, the mean prediction was .02 to .09
    too high (cartoons, emoji and stamps, a fifth held out): ask a `NoveltyTest` too.

    Parameters
    ----------
    system : Index or Diffusion
        With the angular metric.
    relevance : Relevance or DataFrame, optional
        The ground truth, by default the labels of the pictures; neighbours that are not judged, such as those without a
        label, do not count. Of judgements, give the table (`Judgements.table`): all judged pairs count then, and the
        parts are of queries.
    k : int, default 20
        How many neighbours of each query count; all others if there are fewer.
    sample : int, default 2000
        How many pictures query: a random sample of those with a relevant one.
    seed : int, default 0

    Returns
    -------
    Calibration

    Raises
    ------
    QueryError
        For another metric, if all or none of the neighbours are relevant, or if there are fewer than five labels.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.
    Niculescu-Mizil & Caruana 2005, Predicting good probabilities with supervised learning.
    """
    if (metric := getattr(system, "metric", None)) != "angular":
        raise QueryError(f"calibrate needs an index with the angular metric, not {metric or type(system).__name__}")
    chance = np.random.default_rng(seed)
    if isinstance(relevance, pd.DataFrame):
        distances, relevant, group = _judged(system, relevance)
    else:
        distances, relevant, group = _neighbours(system, relevance, k, check_integer("sample", sample), chance)
    if len(relevant) and (relevant.all() or not relevant.any()):
        raise QueryError(
            f"{'all' if relevant.all() else 'none'} of the neighbours are relevant: there is nothing to calibrate"
        )
    groups = np.unique(group)
    if len(groups) < FOLDS:
        raise QueryError(f"a calibration needs at least {FOLDS} labels or judged queries, not {len(groups)}")
    fold = (chance.permutation(len(groups)) % FOLDS)[np.searchsorted(groups, group)]
    predicted = np.empty(len(distances))
    for part in range(FOLDS):
        fit = _fitted(distances[fold != part], relevant[fold != part])
        predicted[fold == part] = fit.probability(distances[fold == part])
    fit = _fitted(distances, relevant)
    place = np.minimum((predicted * BINS).astype(int), BINS - 1)
    reliability = tuple(
        (float(predicted[place == bin].mean()), float(relevant[place == bin].mean()), int((place == bin).sum()))
        for bin in np.unique(place)
    )
    return Calibration(fit.slope, fit.intercept, reliability)


def calibrated(system: System) -> System:
    """Calibrate an index or a diffusion by the labels of its pictures, if they are enough for `calibrate`.

    Parameters
    ----------
    system : System

    Returns
    -------
    System
        The same.
    """
    with suppress(QueryError):  # there are no labels, or too few
        system.calibration = calibrate(system)
    return system


def _fitted(distances: np.ndarray, relevant: np.ndarray) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    if relevant.any() and not relevant.all():
        model = LogisticRegression(C=np.inf).fit(evidence(distances)[:, None], relevant)
        if model.coef_[0, 0] > 0:
            return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))
    rate = (relevant.sum() + 1) / (len(relevant) + 2)  # the distance says nothing
    return Calibration(0.0, float(np.log(rate / (1 - rate))))


def _neighbours(system: System, relevance: Relevance | None, k: int, sample: int, chance: np.random.Generator) -> tuple:
    """The distances (P,) of neighbours, whether they are relevant (P,), and the label of each one's query (P,)."""
    if relevance is not None and relevance.ids != system.ids:
        raise QueryError("the relevance is not of the pictures of the index, in the same order")
    labels = pd.Series(system.labels if relevance is None else relevance.labels, dtype=object)
    rows = np.flatnonzero(labels.notna() & labels.duplicated(keep=False))
    if relevance is not None:
        rows = np.arange(len(system)) if relevance.queries is None else relevance.queries
    rows = np.sort(chance.permutation(rows)[:sample])
    k = check_k(min(k, max(len(system) - 1, 1)), len(system) - 1, "other pictures")
    found, distances = system.rank([part.take(rows) for part in system.parts], k, rows)
    grades = np.empty(found.shape, dtype=np.float32)
    if relevance is None:
        codes = labels.factorize()[0]
        grades = np.where(codes[found] < 0, np.nan, codes[found] == codes[rows, None])
    for start in range(0, len(rows), 64) if relevance is not None else ():
        block = slice(start, start + 64)
        grades[block] = np.take_along_axis(relevance.grades(rows[block]), found[block], axis=1)
    names = [label if isinstance(label, str) else f"query {row}" for row, label in zip(rows, labels[rows], strict=True)]
    judged = ~np.isnan(grades)
    return distances[judged], grades[judged] > 0, np.repeat(np.array(names), judged.sum(axis=1))


def _judged(system: System, table: pd.DataFrame) -> tuple:
    """As `_neighbours`, for judged pairs; the group is the query."""
    known = table[table["query"].isin(system.ids) & table["id"].isin(system.ids)]
    known = known[known["query"] != known["id"]]
    if known.empty:
        raise QueryError("no pair of pictures of the index was judged: judge some results first")
    distances = []
    for query, pairs in known.groupby("query", sort=False):
        every = system.query(query, len(system) - 1).set_index("id")["distance"]
        distances.append(pd.Series(every[pairs["id"]].to_numpy(), pairs.index))
    distances = pd.concat(distances)[known.index]
    return distances.to_numpy(), (known["relevance"] > 0).to_numpy(), known["query"].to_numpy(dtype=str)
