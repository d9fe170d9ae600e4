"""Which of several systems is best by P@5, from answers about pictures that are drawn with known probabilities.

An item is a query and a picture that some system has among its first five answers. Whether it is relevant is predicted
from how many systems agree on it, at first and at second hand (its neighbours are the query's neighbours), and from the
systems that found it, by logistic regression; answers about items correct the prediction. The coefficients depend on
what the person means: pictures of a kind lie together, so that agreement at second hand speaks for an item; where the
same thing is meant, a picture in the midst of many alike is the wrong one, and it speaks against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..index import System

SHOWN, LISTED = 5, 10
"""How many answers count for P@5, and how many of each list for the agreement."""
PRIORS = {
    "of a kind": ((-3.2, 1.5), (0.7, 0.7), (0.85, 0.35), (0.0, 0.5)),
    "the same thing": ((-5.3, 1.5), (1.7, 0.7), (-1.0, 0.35), (1.4, 0.6)),
}
"""The question that a person may mean -> mean and standard deviation of the intercept, of the coefficients of the
logarithm of the agreement at first and at second hand, and of that of being found by the preset same-thing. They follow
`benchmarks/jury.py --fit` on five collections for the first, and four for the second. The coefficients of S systems
have the mean 0 and the deviation 1 / sqrt(S)."""
USUAL = 0.65
"""The probability before any answer that pictures of a kind are meant."""
SLIPS = 0.1
"""The fraction of the answers that are taken to be slips."""
KNOWN, OPENING, GREED = 0.99, 20, 20
"""Until which probability it is asked what the person means; in how many questions at the beginning (then, in every
second one); and the power of what an item tells of it with which the item is drawn."""
DRAWS, EXPLORED, LEAST = 400, 200, 0.01
"""How many draws of the posterior, from the items of how many queries its spread is computed, and what is added to an
agreement before its logarithm."""
UNIFORM = 0.1
"""The fraction of the questions about two systems drawn at random."""
ALPHA = 0.05
"""How probable it is at most that the best system is ever said to be worse."""


class Pool:
    """The items of several systems, and what predicts their relevance.

    Parameters
    ----------
    lists : ndarray of shape (S, Q, k), int
        The first k answers of S systems to Q queries, as rows of the collection; -1 for none after the fifth.
    queries : ndarray of shape (Q,), int
        The rows of the queries.
    count : int
        The number N of pictures.
    favoured : int, optional
        The system that is made to find the same thing.
    """

    def __init__(self, lists: np.ndarray, queries: np.ndarray, count: int, favoured: int | None = None):
        from scipy import sparse  # slow to import

        systems, asked, _ = lists.shape
        lists = np.where(lists < 0, count, lists)  # no picture
        shown = lists[:, :, :SHOWN]
        self.depth, self.favoured = shown.shape[2], favoured
        self.width = count + 1
        codes, place = np.unique(np.arange(asked)[:, None] * self.width + shown, return_inverse=True)
        self.place = place.reshape(shown.shape)
        self.query, self.row = codes // self.width, codes % self.width
        flat = np.repeat(np.arange(systems), asked * self.depth), self.place.ravel()
        self.member = sparse.csr_matrix((np.ones(len(flat[0]), np.float32), flat), shape=(systems, len(codes)))
        self.apart = 1 - (self.member @ self.member.T).toarray() / (asked * self.depth)
        """The fraction (S, S) of the first five answers of each system that each other lacks."""
        agreement = [one - one.mean() for one in self._agreement(lists, queries)]
        columns = [np.ones(len(codes)), *agreement, *self.member.toarray()]
        self.features = np.array(columns, dtype=np.float32).T

    def _agreement(self, lists: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
        """The logarithms of the agreement at first and at second hand on each item."""
        from scipy import sparse

        systems, _, k = lists.shape
        weight = (1 / np.arange(1, k + 1) / systems / 2 * (lists < self.width - 1)).ravel()
        place = np.broadcast_to(queries[:, None], lists.shape).ravel(), lists.ravel()
        found = sparse.coo_matrix((weight, place), shape=(self.width, self.width)).tocsr()
        first = (found + found.T).tocsr()
        places = queries[self.query], self.row
        return [np.log(np.asarray(one[places]).ravel() + LEAST) for one in (first, first @ first)]

    @classmethod
    def of(cls, systems: Mapping[str, System], queries: np.ndarray, favoured: str | None = None) -> Pool:
        """The pool of the answers of some systems to pictures (Q,) of their collection."""
        count, names = len(next(iter(systems.values()))), list(systems)
        k = min(LISTED, count - 1)
        lists = [one.rank([part.take(queries) for part in one.parts], k, queries)[0] for one in systems.values()]
        return cls(np.stack(lists), queries, count, names.index(favoured) if favoured in names else None)

    @cached_property
    def some(self) -> np.ndarray:
        """The items of a sample of the queries."""
        chosen = np.random.default_rng(0).permutation(self.query[-1] + 1)[:EXPLORED]
        return np.flatnonzero(np.isin(self.query, chosen))

    def means(self, relevance: np.ndarray, items: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The P@5 (S, ...) by system of the relevance (M, ...) of items."""
        queries = len(np.unique(self.query[items]))
        return self.member[:, items] @ relevance / (queries * self.depth)

    def predicted(self, coefficients: np.ndarray) -> np.ndarray:
        """The probability (M,) that each item is relevant; 0 for no picture."""
        return _logistic(self.features @ coefficients.astype(np.float32)) * (self.row < self.width - 1)

    def prior(self, question: str) -> tuple[np.ndarray, np.ndarray]:
        """The means and standard deviations of the coefficients before any answer."""
        *common, favoured = PRIORS[question]
        own = [(0, len(self.apart) ** -0.5)] * len(self.apart)
        if self.favoured is not None:
            own[self.favoured] = favoured
        return np.array([*common, *own]).T


@dataclass(frozen=True)
class Duel:
    """A question about two items; `shuffled` says to show them in the other order.

    The first item is found by system `one` only, the second by `other` only, and `expected` is how often each is in a
    question on average. In a question that is only to tell what the person means, these are None.
    """

    items: np.ndarray
    shuffled: bool
    one: int | None = None
    other: int | None = None
    expected: np.ndarray | None = None


class Poll:
    """The answers so far, and what they say of the systems of a pool."""

    def __init__(self, pool: Pool, seed: int = 0):
        systems = len(pool.apart)
        self.pool, self.seed, self.count = pool, seed, 0
        self.known: dict[int, float] = {}
        self._drawn: list[int] = []  # the items of questions about two systems
        self._estimates = 0
        self._sums = np.zeros(systems)
        self._wealth, self._won, self._squares = np.zeros((3, systems))
        self.worse = np.zeros(systems, dtype=bool)
        """Which systems (S,) are worse than another: the best one is said to be so with probability `ALPHA` at most."""
        self._fit()

    def _fit(self) -> None:
        """Weigh the questions by all answers, and predict the relevance by those about items drawn at random."""
        everything = [self._posterior(question, [*self.known]) for question in PRIORS]
        evidence = np.array([logarithm for *_, logarithm in everything])
        weights = np.exp(evidence - evidence.max()) * [USUAL, 1 - USUAL]
        self.questions = dict(zip(PRIORS, weights / weights.sum(), strict=True))
        """The probability of each question that the person may mean."""
        fits = [self._posterior(question, self._drawn) for question in PRIORS]
        predicted = [self.pool.predicted(at) for at, *_ in fits]
        for one in predicted:
            one[list(self.known)] = list(self.known.values())
        self._draw(predicted, [covariance for _, covariance, _ in fits])
        self._told = self._information(everything) if max(self.questions.values()) < KNOWN else None

    def _posterior(self, question: str, items: list[int]) -> tuple[np.ndarray, np.ndarray, float]:
        """The coefficients, their covariance and the logarithm of the evidence, by Laplace's approximation."""
        inputs, answers = self.pool.features[items].astype(float), np.array([self.known[one] for one in items])
        mean, spread = self.pool.prior(question)
        at = mean
        for _ in range(4):
            g = _logistic(inputs @ at)
            said = _said(g)
            slope = (1 - 2 * SLIPS) * g * (1 - g) / (said * (1 - said))
            precision = (inputs.T * (slope**2 * said * (1 - said))) @ inputs + np.diag(spread**-2)
            at = at + np.linalg.solve(precision, inputs.T @ (slope * (answers - said)) - (at - mean) / spread**2)
        said = _said(_logistic(inputs @ at))
        fit = np.log(np.where(answers > 0, said, 1 - said)).sum() - (((at - mean) / spread) ** 2).sum() / 2
        logarithm = fit - np.linalg.slogdet(precision * np.outer(spread, spread))[1] / 2
        return at, np.linalg.inv(precision), logarithm

    def _information(self, fits: list) -> tuple[np.ndarray, np.ndarray]:
        """What the answer about each item (M,) tells of the question that is meant (in nats), and whether the item is
        rather relevant to the second."""
        said, features = [], self.pool.features
        for at, covariance, _ in fits:  # the mean of the logistic function of a normal variable (MacKay 1992)
            variance = np.einsum("ij,ij->i", features @ covariance.astype(np.float32), features)
            said.append(_said(_logistic(features @ at.astype(np.float32) / np.sqrt(1 + np.pi / 8 * variance))))
        weights = np.array([*self.questions.values()])
        told = np.maximum(_entropy(weights @ np.array(said)) - weights @ _entropy(np.array(said)), 0)
        told[list(self.known)] = 0
        return told, said[1] > said[0]

    def _draw(self, predicted: list[np.ndarray], covariances: list[np.ndarray]) -> None:
        pool, rng, weights = self.pool, np.random.default_rng([self.seed, self.count, 1]), [*self.questions.values()]
        self.relevance = weights @ np.array(predicted)
        """The probability (M,) that each item is relevant; of those that were asked, the answer."""
        self.precision = pool.means(self.relevance)
        """The P@5 (S,) of the systems, as they are predicted."""
        draws = []
        for count, g, covariance in zip(rng.multinomial(DRAWS, weights), predicted, covariances, strict=True):
            slope = pool.features[pool.some] * (g * (1 - g))[pool.some, None]
            jacobian = pool.means(slope, pool.some) @ np.linalg.cholesky(covariance)
            draws.append(pool.means(g) + rng.standard_normal((count, jacobian.shape[1])) @ jacobian.T)
        self.draws = np.concatenate(draws)
        """Draws (DRAWS, S) of the P@5 of the systems from the posterior."""
        first = np.sort(np.argsort(-self.draws, axis=1)[:, :2], axis=1)
        leading = np.bincount(first.ravel(), minlength=len(self.worse)) / first.size
        pairs = np.outer(leading, leading) * (1 - UNIFORM) + UNIFORM / len(leading) ** 2
        pairs[pool.apart < 1e-9] = 0
        self._pairs = pairs / pairs.sum() if pairs.any() else pairs

    def draw(self) -> Duel | None:
        """The next question, the same whenever it is asked for; None if all systems answer alike."""
        if not self._pairs.any():
            return None
        pool, rng = self.pool, np.random.default_rng([self.seed, self.count])
        if self._told and (self.count < OPENING or self.count % 2):
            return Duel(self._telling(rng), bool(rng.random() < 0.5))
        one, other = divmod(int(rng.choice(self._pairs.size, p=self._pairs.ravel())), len(self.worse))
        alone = ~(pool.place[one][:, :, None] == pool.place[other][:, None, :]).any(axis=2)
        query, rank = divmod(int(rng.choice(np.flatnonzero(alone))), pool.depth)
        theirs = np.setdiff1d(pool.place[other][query], pool.place[one][query])
        items = np.array([pool.place[one][query, rank], rng.choice(theirs)])
        return Duel(items, bool(rng.random() < 0.5), one, other, self._expected(items))

    def _telling(self, rng: np.random.Generator) -> np.ndarray:
        """Two items (2,) of a query that tell much of the question that is meant: one of each side, if there are."""
        told, second = self._told
        query, sides = self.pool.query, [~second, second]
        best = np.zeros((2, query[-1] + 1))
        for most, side in zip(best, sides, strict=True):
            np.maximum.at(most, query[side], told[side])
        chosen = rng.choice(len(best[0]), p=_greedy(best.sum(axis=0)))
        here = [np.flatnonzero((query == chosen) & side) for side in sides]
        if not all(map(len, here)):
            here = np.array_split(np.concatenate(here), 2)
        return np.array([rng.choice(items, p=_greedy(told[items])) for items in here])

    def _expected(self, items: np.ndarray) -> np.ndarray:
        """How often items (2,) are in a question on average."""
        queries = self.pool.query[-1] + 1
        each = self._pairs / np.where(self._pairs > 0, self.pool.apart * queries * self.pool.depth, 1)
        found = self.pool.member[:, items].toarray().T
        return np.einsum("ia,ab,ib->i", found, each, 1 - found) + np.einsum("ia,ab,ib->i", 1 - found, each, found)

    def answer(self, duel: Duel, grades: Sequence[float]) -> None:
        """Take the relevance (2,) of the items of a duel; of an item that is known, the first answer stays."""
        grades = np.array(
            [self.known.get(item, grade) for item, grade in zip(duel.items.tolist(), grades, strict=True)]
        )
        if duel.expected is not None:
            errors = (grades - self.relevance[duel.items]) / duel.expected / self.pool.place[0].size
            self._sums += self.precision + self.pool.member[:, duel.items] @ errors
            self._estimates += 1
            self._bet(duel, float(grades[0] - grades[1]))
            self._drawn += [item for item in duel.items.tolist() if item not in self._drawn]
        self.known |= dict(zip(duel.items.tolist(), grades, strict=True))
        self.count += 1
        if duel.expected is None or self.count <= OPENING or self.count % 5 == 0:
            self._fit()

    def _bet(self, duel: Duel, won: float) -> None:
        """Bet that each of the two systems is worse than the other; a system on which 1 / `ALPHA` was won is."""
        for system, gain in ((duel.other, won), (duel.one, -won)):
            stake = np.clip(self._won[system] / (self._squares[system] + 1), 0, 0.7)
            self._wealth[system] += np.log1p(stake * gain)
            self._won[system] += gain
            self._squares[system] += gain**2
        self.worse |= self._wealth > -np.log(ALPHA)

    @property
    def unbiased(self) -> np.ndarray:
        """An unbiased estimate (S,) of the P@5 of each system: the mean, over the questions about two systems, of the
        prediction, corrected by the errors of the two answers, weighted by the inverse of how often these items are
        expected."""
        return self._sums / self._estimates if self._estimates else np.full(len(self._sums), np.nan)


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def _said(relevance: np.ndarray) -> np.ndarray:
    """How probable the answer "relevant" is."""
    return SLIPS + (1 - 2 * SLIPS) * relevance


def _entropy(chance: np.ndarray) -> np.ndarray:
    return -chance * np.log(chance) - (1 - chance) * np.log(1 - chance)


def _greedy(values: np.ndarray) -> np.ndarray:
    """Probabilities that prefer the greatest of some values strongly."""
    powers = (values / max(values.max(), 1e-12)) ** GREED
    return powers / powers.sum() if powers.any() else np.full(len(values), 1 / len(values))
