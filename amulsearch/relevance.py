"""What is relevant to what: by labels, by shared keywords, or by what a person judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .errors import QueryError


@dataclass(frozen=True, eq=False)
class Relevance:
    """What is relevant to what. `grades(rows)` gives (B, N) float32: 0 for not relevant, more for more relevant."""

    ids: list[str]
    labels: list[str | None]
    grades: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def from_labels(cls, ids: Sequence[str], labels: Sequence[str | None]) -> Relevance:
        """Pictures with the same label are relevant to each other; those without a label to none."""
        if len(ids) != len(labels):
            raise QueryError(f"{len(ids)} ids and {len(labels)} labels do not match")
        if not any(label is not None for label in labels):
            raise QueryError(
                "no picture has a label: sort the pictures into folders, or give labels= to Collection.from_folder"
            )
        codes = np.array(pd.factorize(np.array(labels, dtype=object))[0])  # None is -1

        def grades(rows: np.ndarray) -> np.ndarray:
            return ((codes[rows, None] == codes) & (codes[rows, None] >= 0)).astype(np.float32)

        return cls(list(ids), list(labels), grades)

    @classmethod
    def from_keywords(cls, ids: Sequence[str], keywords: Mapping[str, str | Sequence[str]]) -> Relevance:
        """The grade of two pictures is the number of keywords they share.

        keywords: id -> a list of keywords, or one string joined by ";". Ids without keywords are relevant to none.
        """
        lists = [keywords.get(id) or () for id in ids]
        lists = [entry.split(";") if isinstance(entry, str) else entry for entry in lists]
        words = sorted({word for entry in lists for word in entry if word})
        if not words:
            raise QueryError("none of the pictures has a keyword: the table needs their ids")
        column = {word: place for place, word in enumerate(words)}
        has = np.zeros((len(ids), len(words)), dtype=np.float32)
        for row, entry in enumerate(lists):
            has[row, [column[word] for word in entry if word]] = 1
        return cls(list(ids), [None] * len(ids), lambda rows: has[rows] @ has.T)

    @classmethod
    def from_judgements(cls, ids: Sequence[str], table: pd.DataFrame) -> Relevance:
        """What a person judged: a table with the columns query, id and relevance, as `Judgements.table`.

        A picture that was not judged for a query counts as not relevant to it, and a query for which nothing was found
        relevant is not asked: results that nobody saw look worse than they may be.
        """
        row = {id: place for place, id in enumerate(ids)}
        known = table[table["query"].isin(row) & table["id"].isin(row)]
        if not (known["relevance"] > 0).any():
            raise QueryError("no picture of the collection was judged relevant to another one of it")
        relevant: dict[int, list[tuple[int, float]]] = {}
        for query, id, relevance in known[["query", "id", "relevance"]].itertuples(index=False):
            relevant.setdefault(row[query], []).append((row[id], relevance))

        def grades(rows: np.ndarray) -> np.ndarray:
            values = np.zeros((len(rows), len(ids)), dtype=np.float32)
            for place, own in enumerate(rows.tolist()):
                for other, relevance in relevant.get(own, ()):
                    values[place, other] = relevance
            return values

        return cls(list(ids), [None] * len(ids), grades)
