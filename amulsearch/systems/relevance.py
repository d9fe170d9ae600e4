"""Ground truth: which pictures are relevant to which, by labels, keywords, nearness or human judgements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..intake import ByName, label_text


@dataclass(frozen=True, eq=False)
class Relevance:
    """The ground truth of an evaluation: which of N pictures are relevant to which.

    What nobody judged, such as a picture without a label, is neither relevant nor not: it is taken out of a ranking
    before anything is measured (condensed lists).

    Make one with `from_labels`, `from_keywords`, `from_distance` or `from_judgements`.

    Attributes
    ----------
    ids : list of N str
    labels : list of N str or None
    grades : function
        From rows (B,) int to grades (B, N) float32: 0 for not relevant, greater for more relevant, NaN for not judged.
    queries : ndarray of shape (Q,), int
        The rows of the pictures that can have a relevant one, in rising order; by default all.
    unmatched : int
        How many judgements, or pictures with keywords, were given of other pictures.

    References
    ----------
    Sakai 2007, Alternatives to bpref.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> relevance = am.Relevance.from_labels(["a", "b", "c"], ["x", "x", None])
    >>> relevance
    Relevance(3 pictures, 2 with a label)
    >>> relevance.grades(np.array([0, 2])).tolist()
    [[1.0, 1.0, nan], [nan, nan, nan]]
    >>> keywords = {"a": "sea;boat;red", "b": "sea;boat", "c": "red"}
    >>> am.Relevance.from_keywords(["a", "b", "c"], keywords).grades(np.array([0])).tolist()
    [[3.0, 2.0, 1.0]]
    """

    ids: list[str]
    labels: list[str | None]
    grades: Callable[[np.ndarray], np.ndarray]
    queries: np.ndarray | None = None
    unmatched: int = 0

    def __post_init__(self):
        if self.queries is None:
            object.__setattr__(self, "queries", np.arange(len(self.ids)))

    def __repr__(self) -> str:
        labelled = sum(label is not None for label in self.labels)
        others = f", {self.unmatched:,} entries of other pictures left out" if self.unmatched else ""
        return f"Relevance({len(self.ids):,} pictures, {labelled:,} with a label{others})"

    def reach(self, depth: int) -> int:
        """Return how many neighbours to list so that about `depth` of them are judged, at most ten times as many."""
        judged = np.isfinite(self.grades(self.queries[:1])).sum() / len(self.ids)
        return math.ceil(depth / max(judged, 0.1))

    @classmethod
    def from_labels(cls, ids: Sequence[str], labels: Sequence[str | None]) -> Relevance:
        """Pictures with the same label are relevant to each other, with grade 1; those without one are not judged."""
        if len(ids) != len(labels):
            raise QueryError(f"{len(ids)} ids and {len(labels)} labels do not match: give a label or None for each")
        labels = list(map(label_text, labels))
        codes = np.array(pd.factorize(np.array(labels, dtype=object))[0])  # None is -1

        def grades(rows: np.ndarray) -> np.ndarray:
            return _unknown((codes[rows, None] == codes).astype(np.float32), rows, codes < 0)

        shared = (codes >= 0) & pd.Series(codes).duplicated(keep=False).to_numpy()
        return cls(list(ids), labels, grades, np.flatnonzero(shared))

    @classmethod
    def from_keywords(
        cls, ids: Sequence[str], keywords: Mapping[str, str | Sequence[str]], *, at_least: int = 1, most: float = 1.0
    ) -> Relevance:
        """The grade of two pictures is the number of keywords they share.

        Parameters
        ----------
        ids : sequence of N str
        keywords : mapping of id to sequence of str, or to str
            The keywords of each picture, as a sequence or as one string joined by ";". Pictures without keywords are
            not judged.
        at_least : int, default 1
            Pictures that share fewer keywords are not relevant to each other.
        most : float, default 1.0
            Keywords of more than this fraction of the pictures do not count.
        """
        if not at_least >= 1 or not 0 < most <= 1:
            raise QueryError(f"at_least must be 1 or more, and most above 0 and at most 1, not {at_least!r}, {most!r}")
        from sklearn.preprocessing import MultiLabelBinarizer  # slow to import

        keywords = ByName(keywords)
        entries = [keywords[id] or () for id in ids]
        words = [{*(entry.split(";") if isinstance(entry, str) else entry)} - {""} for entry in entries]
        if not any(words):
            raise QueryError("none of the pictures has a keyword: the keys of keywords must be their ids")
        matrix = MultiLabelBinarizer(sparse_output=True).fit_transform(words).astype(np.float32)  # (N, words)
        matrix = matrix[:, matrix.getnnz(axis=0) <= most * len(ids)]
        bare = np.array([not entry for entry in words])

        def grades(rows: np.ndarray) -> np.ndarray:
            values = (matrix[rows] @ matrix.T).toarray()
            values[values < at_least] = 0
            return _unknown(values, rows, bare)

        shared = matrix[:, matrix.getnnz(axis=0) > 1].getnnz(axis=1)
        return cls(list(ids), [None] * len(ids), grades, np.flatnonzero(shared), len({*keywords}.difference(ids)))

    @classmethod
    def from_distance(cls, ids: Sequence[str], values: np.ndarray, within: float) -> Relevance:
        """Pictures near each other in place, time or other numbers are relevant to each other, with grade 1.

        Loc2Vec trains a network with map tiles that are near each other in this sense.

        Parameters
        ----------
        ids : sequence of N str
        values : ndarray of shape (N,) or (N, D)
            Finite numbers, such as coordinates on a map or seconds.
        within : float
            The greatest Euclidean distance of relevant pictures, 0 or more.

        References
        ----------
        Spruyt 2018, Loc2Vec: Learning location embeddings with triplet-loss networks.
        """
        values = np.asarray(values, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != len(ids) or not np.isfinite(values).all():
            raise QueryError(f"values must be finite and of shape ({len(ids)}, D), a row a picture, not {values.shape}")
        if not within >= 0:
            raise QueryError(f"within must be a distance of 0 or more, not {within!r}")

        def grades(rows: np.ndarray) -> np.ndarray:
            far = np.stack([np.linalg.norm(values - values[row], axis=1) for row in rows])
            return (far <= within).astype(np.float32)

        return cls(list(ids), [None] * len(ids), grades)

    @classmethod
    def from_judgements(cls, ids: Sequence[str], table: pd.DataFrame) -> Relevance:
        """Pictures are relevant to a query as a person judged them.

        A query counts if some pictures were judged relevant to it and others not: if all were judged relevant, every
        ranking of them would be right. The table has the columns query, id and relevance, as `Judgements.table` has;
        judgements of other pictures are left out and counted.
        """
        rows = ByName({id: row for row, id in enumerate(ids)}, -1)
        table = table.assign(query=table["query"].map(rows), id=table["id"].map(rows))
        known = table[(table["query"] >= 0) & (table["id"] >= 0)]
        others = known[known["query"] != known["id"]].groupby("query")
        both = others.filter(lambda part: part["relevance"].min() <= 0 < part["relevance"].max())
        judged = {query: (part["id"], part["relevance"]) for query, part in both.groupby("query")}

        def grades(rows: np.ndarray) -> np.ndarray:
            values = np.full((len(rows), len(ids)), np.nan, dtype=np.float32)
            for place, query in enumerate(rows.tolist()):
                if query in judged:
                    values[place, judged[query][0]] = judged[query][1]
            return values

        queries = np.array(sorted(judged), dtype=np.int64)
        return cls(list(ids), [None] * len(ids), grades, queries, len(table) - len(known))


def _unknown(grades: np.ndarray, rows: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Grades (B, N) of rows (B,), NaN for what is not known of some pictures (N,) bool."""
    grades[:, unknown] = grades[unknown[rows]] = np.nan
    return grades
