"""What is relevant to what: by labels, by shared keywords, or by what a person judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError


@dataclass(frozen=True, eq=False)
class Relevance:
    """What is relevant to what. `grades(rows)` gives (B, N) float32: 0 for not relevant, more for more relevant."""

    ids: list[str]
    labels: list[str | None]
    grades: Callable[[np.ndarray], np.ndarray]

    def __repr__(self) -> str:
        labelled = sum(label is not None for label in self.labels)
        return f"Relevance({len(self.ids):,} pictures, {labelled:,} with a label)"

    def subset(self, rows: np.ndarray) -> Relevance:
        """What is relevant to what among the pictures at these rows, (R,) int."""
        rows = np.asarray(rows, dtype=np.int64)
        ids, labels = [self.ids[row] for row in rows], [self.labels[row] for row in rows]
        return Relevance(ids, labels, lambda asked: self.grades(rows[asked])[:, rows])

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
    def from_keywords(
        cls,
        ids: Sequence[str],
        keywords: Mapping[str, str | Sequence[str]],
        *,
        at_least: int = 1,
        most: float = 1.0,
    ) -> Relevance:
        """The grade of two pictures is the number of keywords they share.

        keywords: id -> a list of keywords, or one string joined by ";". Ids without keywords are relevant to none.
        at_least: pictures that share fewer are not relevant to each other.
        most: keywords that more than this part of the pictures carry do not count.
        """
        if not at_least >= 1 or not 0 < most <= 1:
            raise QueryError(f"at_least must be 1 or more and most a part from 0 to 1, not {at_least!r} and {most!r}")
        lists = [keywords.get(id) or () for id in ids]
        lists = [entry.split(";") if isinstance(entry, str) else entry for entry in lists]
        carriers: dict[str, list[int]] = {}  # keyword -> the rows that carry it, once each
        for row, entry in enumerate(lists):
            for word in dict.fromkeys(entry):
                if word:
                    carriers.setdefault(word, []).append(row)
        if not carriers:
            raise QueryError("none of the pictures has a keyword: the table needs their ids")
        counted = {word: np.array(rows) for word, rows in carriers.items() if 1 <= len(rows) <= most * len(ids)}
        nothing = np.zeros(0, dtype=np.int64)

        def grades(rows: np.ndarray) -> np.ndarray:
            values = np.zeros((len(rows), len(ids)), dtype=np.float32)
            for place, row in enumerate(rows.tolist()):
                sharing = [counted[word] for word in dict.fromkeys(lists[row]) if word in counted]
                values[place] = np.bincount(np.concatenate([nothing, *sharing]), minlength=len(ids))
            return values if at_least == 1 else np.where(values >= at_least, values, 0).astype(np.float32)

        return cls(list(ids), [None] * len(ids), grades)

    @classmethod
    def from_neighbours(cls, ids: Sequence[str], values: np.ndarray, within: float) -> Relevance:
        """Pictures near each other in place, time or any other numbers are relevant to each other (grade 1).

        values: (N,) or (N, D), as coordinates on a map or seconds, finite; within: the greatest Euclidean distance.
        As in Loc2Vec (Spruyt 2018), where map tiles near each other teach a network what is alike.
        """
        values = np.asarray(values, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != len(ids) or not np.isfinite(values).all():
            raise QueryError(f"values must be finite numbers ({len(ids)}, D), one row a picture, not {values.shape}")
        if not within >= 0:
            raise QueryError(f"within must be a distance from 0, not {within!r}")

        def grades(rows: np.ndarray) -> np.ndarray:
            far = np.stack([np.linalg.norm(values - values[row], axis=1) for row in rows])
            return (far <= within).astype(np.float32)

        return cls(list(ids), [None] * len(ids), grades)

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


def same_label(rows: np.ndarray, labels: Sequence[str | None]) -> np.ndarray:
    """Whether each neighbour carries its query's label: (N, k) float64, 1 or 0, and NaN where that cannot be asked.

    rows: the neighbours of N pictures as rows (N, k), as `ExactIndex.all_neighbours` and `fuse_all` give them; -1,
        where there is no neighbour, counts as another label.
    labels: the labels of the N pictures. A picture without one, or with one that no other has, is a row of NaN, which
        the means of pandas leave out.
    """
    labels = pd.Series(list(labels), dtype=object)
    codes, rows = labels.factorize()[0], np.asarray(rows)
    asked = (labels.notna() & labels.duplicated(keep=False)).to_numpy()
    return np.where(asked[:, None], (codes[rows] == codes[:, None]) & (rows >= 0), np.nan)


def neighbour_purity(rows: np.ndarray, labels: Sequence[str | None]) -> pd.Series:
    """How far like lies beside like: purity, the part of neighbours with the label of their picture, and chance, the
    same for neighbours drawn by lot. Both from 0 to 1, means over the pictures whose label another has.

    rows: neighbours (N, k), as `Map.neighbours` and `ExactIndex.all_neighbours` give them; labels: of the N pictures.
    """
    same = same_label(rows, labels)
    asked = ~np.isnan(same).any(axis=1)
    if not asked.any():
        raise QueryError("no two pictures have the same label: there is no purity to measure")
    labels = pd.Series(list(labels), dtype=object)
    others = labels.map(labels.value_counts())[asked] - 1
    return pd.Series({"purity": same[asked].mean(), "chance": others.mean() / (len(labels) - 1)})
