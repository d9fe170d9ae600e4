"""The jury: a person's answers to a few questions decide which system of a panel is best."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer
from ..index import sampled_rows
from ..intake import Collection
from ..systems import SAME_THING, Panel
from .judgements import Judgements
from .polling import ALPHA, SHOWN, Duel, Poll, Pool
from .recommendation import costs

GRADES = {"left": (1, 0), "right": (0, 1), "both": (1, 1), "neither": (0, 0)}
"""The answers to a question, and the relevance of its two pictures."""
SURE, ENOUGH, LITTLE = 0.95, 20, 0.002
"""From what probability on a question is taken to be known; after how many answers the jury may stop by itself, and the
P@5 that more answers must be expected to gain at most for that."""


@dataclass(frozen=True)
class Question:
    """Which of two pictures is relevant to a query: their ids."""

    query: str
    left: str
    right: str


class Jury:
    """Asks a person which pictures are relevant, where systems differ, until it is clear which system is best by P@5.

    A question is a query and two pictures that are among the first five answers of a system: which is nearer to the
    query, left, right, both or neither? The first 20 questions, and then every second one, are to tell what the person
    means by relevant, pictures of a kind, or the same thing, whoever drew it, until that is known. Each of the others
    is about two systems, which are drawn among those that may be best; the query and the pictures are drawn at random
    among those on which they differ, all with known probabilities.

    The answers are kept as judgements at once. The same panel, file and seed ask the same questions, so that a jury can
    be left and taken up. Judgements that were made before answer the questions that they fit.

    Parameters
    ----------
    panel : Panel
        Two systems or more.
    judgements : path or Judgements
        The CSV file of the answers.
    most : int, default 150
        How many questions are asked at most.
    sample : int, default 2000
        How many pictures are queries: a random sample, or all if there are fewer.
    seed : int, default 0

    Raises
    ------
    QueryError
        For fewer than two systems or three pictures.

    Notes
    -----
    The P@5 in the table are predicted, by logistic regression, from the agreement of the systems and the answers. The
    column unbiased estimates the differences between systems without this model, from the questions about two
    systems: the prediction serves as control variate, and its errors are weighted by the inverse of the probability of
    being asked about. It is NaN before the first of them.

    A system is said to be worse if a bet against it won 20 times its stake. Whenever one looks, the best system of the
    panel is said to be so with a probability of 5% at most, whether or not the model holds.

    References
    ----------
    Hansen & Hurwitz 1943, On the theory of sampling from finite populations.
    Houlsby et al. 2011, Bayesian active learning for classification and preference learning.
    Kossen et al. 2021, Active testing: sample-efficient model evaluation.
    Waudby-Smith & Ramdas 2024, Estimating means of bounded random variables by betting.
    Russo 2020, Simple Bayesian algorithms for best-arm identification.
    """

    def __init__(
        self,
        panel: Panel,
        judgements: str | os.PathLike | Judgements,
        *,
        most: int = 150,
        sample: int = 2000,
        seed: int = 0,
    ):
        if len(panel) < 2 or panel.count < 3:
            raise QueryError("a jury needs at least two systems, and three pictures: add a network or a preset")
        self.panel, self.most, self.seed = panel, check_integer("most", most), seed
        self.judgements = judgements if isinstance(judgements, Judgements) else Judgements(judgements)
        self.systems = list(panel)
        self._queries = np.sort(sampled_rows(panel.count, sample, seed))
        self._pool = Pool.of(panel, self._queries, SAME_THING.name)
        for name, places in zip(self.systems, self._pool.place, strict=True):
            if (self._pool.row[places] == panel.count).any():
                raise QueryError(f"{name} has fewer than {SHOWN} answers to some pictures: leave it out of the jury")
        self._given: list[list[int]] = []  # what the answers of this jury judged
        self._replay()

    def __repr__(self) -> str:
        return f"Jury({len(self.systems)} systems, {self.count} of at most {self.most} questions answered)"

    @property
    def count(self) -> int:
        """How many questions are answered (int)."""
        return self._poll.count

    @property
    def question(self) -> Question | None:
        """The next question, or None if the jury is done."""
        if self._duel is None:
            return None
        first, second = reversed(self._duel.items) if self._duel.shuffled else self._duel.items
        return Question(self._query(first), self._picture(first), self._picture(second))

    def answer(self, nearer: str) -> None:
        """Answer the question, and keep the answer.

        Parameters
        ----------
        nearer : {"left", "right", "both", "neither"}
            Which picture is near enough to the query that the person wants it found.

        Raises
        ------
        QueryError
            For another answer, or if there is no question.
        StoreError
            If the answer cannot be written.
        """
        if nearer not in GRADES:
            raise QueryError(f"the answer must be left, right, both or neither, not {nearer!r}")
        if self._duel is None:
            raise QueryError("the jury is done: there is no question to answer")
        duel, grades = self._duel, GRADES[nearer][:: -1 if self._duel.shuffled else 1]
        new = [pair for pair in zip(duel.items.tolist(), grades, strict=True) if self._grade(pair[0]) is None]
        self._judge([item for item, _ in new], [grade for _, grade in new])
        self._given.append([item for item, _ in new])
        self._take(duel)
        self._advance()

    def undo(self) -> None:
        """Withdraw the last answer that was given since this jury was made, and ask its question again."""
        if self._given:
            self._judge(self._given[-1], None)
            self._given.pop()
            self._replay()

    @property
    def meant(self) -> str | None:
        """Which question the person means, "of a kind" or "the same thing", if that is known to 95%; else None."""
        return next((name for name, chance in self._poll.questions.items() if chance >= SURE), None)

    @property
    def table(self) -> pd.DataFrame:
        """The standing of the systems, the best first: system, P@5 (as it is predicted), low and high (its 95%
        interval), best (the probability that the system is the best), unbiased (its P@5 without the model, or NaN),
        and worse (whether the bets say that it is not the best)."""
        poll = self._poll
        draws = np.where(poll.worse, -1, poll.draws)
        leads = draws >= draws.max(axis=1, keepdims=True) - 1e-9  # those that answer alike share the first place
        low, high = np.clip(np.percentile(poll.draws, [2.5, 97.5], axis=0), 0, 1)
        best = (leads / leads.sum(axis=1, keepdims=True)).mean(axis=0)
        columns = {"P@5": poll.precision, "low": low, "high": high, "best": best}
        table = pd.DataFrame({"system": self.systems, **columns, "unbiased": poll.unbiased, "worse": poll.worse})
        return table.sort_values(["worse", "P@5"], ascending=[True, False], kind="stable", ignore_index=True)

    @property
    def verdict(self) -> str | None:
        """What the jury found, in some sentences; None while it asks."""
        if self._duel is not None:
            return None
        if not self._pool.apart.any():
            return "All systems give the same answers: take the cheapest."
        table, meant = self.table, self.meant
        first, others = table.iloc[0], table[1:][~table["worse"][1:]]["system"].tolist()
        told = f"Use {first['system']}. After {self.count} questions, its P@5 is put at {first['P@5']:.2f}"
        if meant and SAME_THING.name in self.panel:  # else nothing follows from it
            told = f"You look for {'pictures ' * (meant == 'of a kind')}{meant}. {told}"
        if not others:
            return f"{told}. Each of the others was found to be worse; at most {ALPHA:.0%} of such verdicts are wrong."
        return (
            f"{told}, and the probability that it is the best at {first['best']:.0%}. This rests on a prediction. "
            f"Without it, {len(others)} others cannot be told apart from it, first of all {', '.join(others[:3])}."
        )

    def costs(self, collection: Collection) -> pd.DataFrame:
        """What each system costs: milliseconds for a new picture (ms), and kilobytes of vectors a picture (kB).

        Parameters
        ----------
        collection : Collection
            The pictures of the panel, of which some are timed.
        """
        return costs(self.panel, collection)

    def _replay(self) -> None:
        """Start again, with the answers that the file has."""
        self._poll = Poll(self._pool, self.seed)
        self._advance()

    def _advance(self) -> None:
        """Go on to the first question whose answer is not known."""
        while (duel := self._next()) and all(self._grade(item) is not None for item in duel.items.tolist()):
            self._take(duel)
        self._duel = duel

    def _next(self) -> Duel | None:
        poll = self._poll
        if poll.count >= self.most or (~poll.worse).sum() == 1:
            return None
        gain = (poll.draws.max(axis=1) - poll.draws[:, poll.precision.argmax()]).mean()
        return None if poll.count >= ENOUGH and gain < LITTLE else poll.draw()

    def _take(self, duel: Duel) -> None:
        self._poll.answer(duel, [self._grade(item) for item in duel.items.tolist()])

    def _grade(self, item: int) -> float | None:
        known = self._poll.known.get(item)
        return self.judgements.get(self._query(item), self._picture(item)) if known is None else known

    def _judge(self, items: list[int], grades: list[int] | None) -> None:
        """Keep the judgements of pictures of one query, all or none of them."""
        if items:
            self.judgements.add(self._query(items[0]), [self._picture(item) for item in items], grades)

    def _query(self, item: int) -> str:
        return self.panel.ids[self._queries[self._pool.query[item]]]

    def _picture(self, item: int) -> str:
        return self.panel.ids[self._pool.row[item]]
