"""Which of several systems is best by P@5, from answers about pictures that are drawn with known probabilities.

An item is a query and a picture that some system has among its first five answers. Whether it is relevant is predicted
from how many systems agree on it, at first and at second hand (its neighbours are the query's neighbours), and from the
systems that found it, by logistic regression; answers about items correct the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SHOWN, LISTED = 5, 10
"""How many answers count for P@5, and how many of each list for the agreement."""
PRIORS = {"of a kind": (2.1, 0.3, 1.05), "the same thing": (-4.2, 1.15, -0.85)}
"""The question that a person may mean -> intercept, and coefficients of the logarithm of the agreement at first and at
second hand, which `benchmarks/jury.py --fit` measured on two collections of each."""
FAVOURED = 1.5
"""The coefficient, if the same thing is meant, of being found by the preset same-thing; measured likewise."""
SPREAD = (1.0, 0.3, 0.3)
"""The standard deviations of the coefficients of `PRIORS`; of those of S systems 1 / sqrt(S), of the favoured 0.5."""
SLIPS = 0.1
"""The fraction of the answers that are taken to be slips."""
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
        columns = [np.ones(len(codes)), *self._agreement(lists, queries), *self.member.toarray()]
        self.features = np.array(columns, dtype=np.float32).T

    def _agreement(self, lists: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
        """The logarithms of the agreement at first and at second hand on each item."""
        from scipy import sparse

        systems, _, k = lists.shape
        weight = np.broadcast_to(1 / np.arange(1, k + 1) / systems / 2, lists.shape).ravel()
        place = np.broadcast_to(queries[:, None], lists.shape).ravel(), lists.ravel()
        found = sparse.coo_matrix((weight, place), shape=(self.width, self.width)).tocsr()
        first = (found + found.T).tocsr()
        places = queries[self.query], self.row
        return [np.log(np.asarray(one[places]).ravel() + LEAST) for one in (first, first @ first)]

    @cached_property
    def some(self) -> np.ndarray:
        """The items of a sample of the queries."""
        chosen = np.random.default_rng(0).permutation(self.query[-1] + 1)[:EXPLORED]
        return np.flatnonzero(np.isin(self.query, chosen))

    def means(self, relevance: np.ndarray, items: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The P@5 (S, ...) by system of the relevance (M, ...) of items."""
        queries = len(np.unique(self.query[items]))
        return self.member[:, items] @ relevance / (queries * self.depth)

    def prior(self, question: str) -> tuple[np.ndarray, np.ndarray]:
        """The means and standard deviations of the coefficients before any answer."""
        systems = len(self.apart)
        own, spread = np.zeros(systems), np.full(systems, systems**-0.5)
        if self.favoured is not None and question == "the same thing":
            own[self.favoured], spread[self.favoured] = FAVOURED, 0.5
        return np.concatenate([PRIORS[question], own]), np.concatenate([SPREAD, spread])


@dataclass(frozen=True)
class Duel:
    """A question: the first item is found by system `one` only, the second by `other` only; `shuffled` says to show
    them in the other order, and `expected` how often each item is in a question on average."""

    one: int
    other: int
    items: np.ndarray
    expected: np.ndarray
    shuffled: bool


class Poll:
    """The answers so far, and what they say of the systems of a pool."""

    def __init__(self, pool: Pool, seed: int = 0):
        systems = len(pool.apart)
        self.pool, self.seed, self.count = pool, seed, 0
        self.known: dict[int, float] = {}
        self._items: list[int] = []
        self._coefficients = {question: pool.prior(question)[0] for question in PRIORS}
        self._sums = np.zeros(systems)
        self._wealth, self._won, self._squares = np.zeros((3, systems))
        self.worse = np.zeros(systems, dtype=bool)
        """Which systems (S,) are worse than another: the best one is said to be so with probability `ALPHA` at most."""
        self._fit()

    def _fit(self) -> None:
        """Fit the coefficients under each question (Laplace's approximation), and draw from the posterior."""
        pool = self.pool
        inputs, answers = pool.features[self._items].astype(float), np.array([self.known[one] for one in self._items])
        evidence, covariances, predicted = [], [], []
        for question, start in self._coefficients.items():
            (mean, spread), at = pool.prior(question), start
            for _ in range(4):
                g = _logistic(inputs @ at)
                said = SLIPS + (1 - 2 * SLIPS) * g  # how probable the answer "relevant" is
                slope = (1 - 2 * SLIPS) * g * (1 - g) / (said * (1 - said))
                precision = (inputs.T * (slope**2 * said * (1 - said))) @ inputs + np.diag(spread**-2)
                at = at + np.linalg.solve(precision, inputs.T @ (slope * (answers - said)) - (at - mean) / spread**2)
            said = SLIPS + (1 - 2 * SLIPS) * _logistic(inputs @ at)
            fit = np.log(np.where(answers > 0, said, 1 - said)).sum() - (((at - mean) / spread) ** 2).sum() / 2
            evidence.append(fit - np.linalg.slogdet(precision * np.outer(spread, spread))[1] / 2)
            self._coefficients[question] = at
            covariances.append(np.linalg.inv(precision))
            predicted.append(_logistic(pool.features @ at.astype(np.float32)))
        weights = np.exp(np.array(evidence) - max(evidence))
        self.questions = dict(zip(PRIORS, weights / weights.sum(), strict=True))
        """The probability of each question that the person may mean."""
        for one in predicted:
            one[list(self.known)] = list(self.known.values())
        self._draw(predicted, covariances)

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
        one, other = divmod(int(rng.choice(self._pairs.size, p=self._pairs.ravel())), len(self.worse))
        alone = ~(pool.place[one][:, :, None] == pool.place[other][:, None, :]).any(axis=2)
        query, rank = divmod(int(rng.choice(np.flatnonzero(alone))), pool.depth)
        theirs = np.setdiff1d(pool.place[other][query], pool.place[one][query])
        items = np.array([pool.place[one][query, rank], rng.choice(theirs)])
        return Duel(one, other, items, self._expected(items), bool(rng.random() < 0.5))

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
        queries = self.pool.query[-1] + 1
        errors = (grades - self.relevance[duel.items]) / duel.expected / (queries * self.pool.depth)
        self._sums += self.precision + self.pool.member[:, duel.items] @ errors
        self._bet(duel, float(grades[0] - grades[1]))
        new = [item for item in duel.items.tolist() if item not in self.known]
        self.known |= dict(zip(duel.items.tolist(), grades, strict=True))
        self._items += new
        self.count += 1
        if self.count <= 20 or self.count % 5 == 0:
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
        """An unbiased estimate (S,) of the P@5 of each system: the mean over the questions of the prediction, corrected
        by the errors of the two answers, weighted by the inverse of how often these items are expected."""
        return self._sums / self.count if self.count else self.precision


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
