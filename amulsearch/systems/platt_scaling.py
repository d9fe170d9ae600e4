"""Fit the probability that a neighbour is relevant (Platt scaling), and test it on labels that took no part."""

from contextlib import suppress

import numpy as np

from ..errors import QueryError, check_integer, check_k
from ..index import Calibration, System, evidence
from .relevance import Relevance

FOLDS, BINS = 5, 10


def calibrate(system: System, relevance: Relevance, *, k: int = 20, sample: int = 2000, seed: int = 0) -> Calibration:
    """Fit the probability that a neighbour is relevant to a query, given its distance.

    Assign it to `system.calibration`, and the tables of `system.query` have a column `probability`.

    The fit is a logistic regression with two parameters. It is tested by cross-validation: the labels are divided at
    random into five parts, and the neighbours of the queries of each part are predicted by a fit to the others, so
    `calibration.ece` and `calibration.table` speak of labels that took no part.

    It holds for pictures of the collection. For new pictures that ask a `Diffusion`, the mean prediction was .02 to
    .09 too high (cartoons, emoji and stamps, a fifth held out): ask a `NoveltyTest` too.

    Parameters
    ----------
    system : Index or Diffusion
        With the angular metric.
    relevance : Relevance
        The ground truth, such as labels or judgements; neighbours that are not judged do not count.
    k : int, default 20
        How many neighbours of each query count; all others if there are fewer.
    sample : int, default 2000
        How many pictures query: a random sample of those with a relevant one.
    seed : int, default 0

    Raises
    ------
    QueryError
        For another metric, if all or none of the neighbours are relevant, or if there are fewer than five labels or,
        without labels, queries.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.
    Niculescu-Mizil & Caruana 2005, Predicting good probabilities with supervised learning.
    """
    if (metric := getattr(system, "metric", None)) != "angular":
        raise QueryError(f"calibrate needs an index with the angular metric, not {metric or type(system).__name__}")
    if relevance.ids != system.ids:
        raise QueryError("the relevance is not of the pictures of the index, in the same order")
    chance = np.random.default_rng(seed)
    rows = np.sort(chance.permutation(relevance.queries)[: check_integer("sample", sample)])
    distances, relevant, group = _pairs(system, relevance, rows, k)
    if len(relevant) and (relevant.all() or not relevant.any()):
        which = "all" if relevant.all() else "none"
        raise QueryError(f"{which} of the neighbours are relevant: there is nothing to calibrate")
    groups = np.unique(group)
    if len(groups) < FOLDS:
        raise QueryError(f"a calibration needs at least {FOLDS} labels or judged queries, not {len(groups)}")
    fold = (chance.permutation(len(groups)) % FOLDS)[np.searchsorted(groups, group)]
    predicted = np.empty(len(distances))
    for part in range(FOLDS):
        test = fold == part
        predicted[test] = _fitted(distances[~test], relevant[~test]).probability(distances[test])
    fit = _fitted(distances, relevant)
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    reliability = tuple(
        (float(predicted[bins == bin].mean()), float(relevant[bins == bin].mean()), int((bins == bin).sum()))
        for bin in np.unique(bins)
    )
    return Calibration(fit.slope, fit.intercept, reliability)


def calibrated(system: System) -> System:
    """Calibrate an index or a diffusion by the labels of its pictures, if they are enough for `calibrate`; the same."""
    with suppress(QueryError):  # there are no labels, or too few
        system.calibration = calibrate(system, Relevance.from_labels(system.ids, system.labels))
    return system


def _fitted(distances: np.ndarray, relevant: np.ndarray) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    if relevant.any() and not relevant.all():
        model = LogisticRegression(C=np.inf).fit(evidence(distances)[:, None], relevant)
        if model.coef_[0, 0] > 0:
            return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))
    rate = (relevant.sum() + 1) / (len(relevant) + 2)  # the distance says nothing
    return Calibration(0.0, float(np.log(rate / (1 - rate))))


def _pairs(system: System, relevance: Relevance, rows: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """The distances (P,) of judged neighbours, whether they are relevant (P,), and each one's label or query (P,)."""
    k = check_k(min(k, max(len(system) - 1, 1)), len(system) - 1, "other pictures")
    neighbours, distances = system.rank([part.take(rows) for part in system.parts], k, rows)
    grades = np.empty(neighbours.shape, dtype=np.float32)
    for start in range(0, len(rows), 64):
        block = slice(start, start + 64)
        grades[block] = np.take_along_axis(relevance.grades(rows[block]), neighbours[block], axis=1)
    labels = [relevance.labels[row] for row in rows]
    group = np.array([label if label is not None else f"query {row}" for label, row in zip(labels, rows, strict=True)])
    judged = ~np.isnan(grades)
    return distances[judged], grades[judged] > 0, np.repeat(group, judged.sum(axis=1))
