"""Tables of measures by system. If there is nothing to count, a table says so when it is shown."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from .evaluation import Evaluation
from .relevance import same_label

NOTHING = "No two pictures are relevant to each other (have the same label): there is nothing to count."


class Table(pd.DataFrame):
    """A DataFrame of measures. If there is nothing to count, its numbers are NaN, and in their place it shows why.

    The sentence is in `attrs["why"]`, so tables derived from it show it too, and `plot.chart` draws it. In a notebook,
    a number that a row does not have is an empty cell: the baseline has no difference from itself.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        return self.attrs.get("why") or super().__repr__()

    def _repr_html_(self) -> str | None:
        if "why" in self.attrs:
            return f"<p>{self.attrs['why']}</p>"
        shown = pd.DataFrame(self)
        for name in self.select_dtypes("Int64"):  # na_rep does not hold for these
            shown[name] = self[name].astype(object).where(self[name].notna(), "")
        return shown.to_html(na_rep="", max_rows=60, notebook=True)


def table_of(rows: Mapping | Sequence | pd.DataFrame, counted: bool) -> Table:
    """A `Table`, which says so in place of its numbers if nothing was counted."""
    table = Table(rows)
    if not counted:
        table.attrs["why"] = NOTHING
    return table


def precision(
    found: Mapping[Hashable, np.ndarray | tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str | None],
    *,
    at: Sequence[int] = (1, 5),
    baseline: Hashable | None = None,
) -> Table:
    """Compute how many of the first neighbours have the label of their query, for several systems.

    Parameters
    ----------
    found : mapping of name to ndarray of shape (N, k), int
        The neighbours of N pictures by system, as `all_neighbours` and `fuse_all` return them; with or without the
        distances.
    labels : sequence of N str or None
        Neighbours without a label are neither right nor wrong: those behind them move up.
    at : sequence of int, default (1, 5)
        How many neighbours count. What they are divided by is this number, also if k is smaller, less the neighbours
        without a label for which no other can move up.
    baseline : hashable, optional
        The name of a system to compare the others with.

    Returns
    -------
    Table
        One row per system, with the columns P@1 and P@5 (those of `at`): means over the pictures whose label another
        picture has. With a baseline also wins and losses: for how many queries the system has more, or fewer,
        neighbours with the label of the query among the first `at[0]` than the baseline.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> found = {"near": np.array([[1, 2], [0, 2], [3, 0], [2, 1]]), "far": np.array([[3, 2], [2, 3], [1, 0], [1, 0]])}
    >>> am.measure.precision(found, ["x", "x", "y", "y"], at=(1, 2), baseline="far")
          P@1  P@2  wins  losses
    near  1.0  0.5     4       0
    far   0.0  0.0     0       0
    >>> am.measure.precision(found, [None] * 4)
    No two pictures are relevant to each other (have the same label): there is nothing to count.
    """
    same = {name: same_label(rows[0] if isinstance(rows, tuple) else rows, labels) for name, rows in found.items()}
    columns = {f"P@{n}": {name: pd.Series(_precision(hits, n)).mean() for name, hits in same.items()} for n in at}
    if baseline is not None:
        first = {name: _precision(hits, at[0]) for name, hits in same.items()}
        columns["wins"] = {name: int((hits > first[baseline]).sum()) for name, hits in first.items()}
        columns["losses"] = {name: int((hits < first[baseline]).sum()) for name, hits in first.items()}
    return table_of(columns, any(not np.isnan(hits).all() for hits in same.values()))


def _precision(hits: np.ndarray, n: int) -> np.ndarray:
    """The precision at n (N,) of lists (N, k) as `same_label` returns them; NaN where nothing is known."""
    judged = ~np.isnan(hits)
    order = np.argsort(~judged, axis=1, kind="stable")[:, :n]
    missing = np.minimum((~judged).sum(axis=1), np.maximum(n - judged.sum(axis=1), 0))
    right = np.nan_to_num(np.take_along_axis(hits, order, axis=1)).sum(axis=1)
    return np.where(judged.any(axis=1), right / np.maximum(n - missing, 1), np.nan)


def neighbour_purity(found: Mapping[Hashable, np.ndarray], labels: Sequence[str | None]) -> Table:
    """Measure how often neighbours share the label of their picture, and how often random ones would.

    Parameters
    ----------
    found : mapping of name to ndarray of shape (N, k), int
        Neighbours, as `Map.neighbours` and `all_neighbours` return them, by where they were found.
    labels : sequence of N str or None
        Neighbours without a label do not count.

    Returns
    -------
    Table
        One row per name, with the columns purity, the fraction of neighbours with the label of their picture, and
        chance, the same for random neighbours (the chance level). Both are means over the pictures whose label another
        picture has.
    """
    chance = chance_level(labels)
    columns = {
        "purity": {name: pd.DataFrame(same_label(rows, labels)).mean(axis=1).mean() for name, rows in found.items()},
        "chance": dict.fromkeys(found, chance),
    }
    return table_of(columns, not np.isnan(chance))


def chance_level(labels: Sequence[str | None]) -> float:
    """Compute how often a random other picture has the label of a picture: what measures of neighbours start from.

    Parameters
    ----------
    labels : sequence of N str or None

    Returns
    -------
    float
        The mean over the pictures whose label another picture has, among the pictures with a label; NaN if there are
        none.
    """
    of = pd.Series(list(labels), dtype=object).dropna()
    others = of.map(of.value_counts()) - 1
    return float(others[others > 0].mean()) / max(len(of) - 1, 1)


def differences(
    pairs: Mapping[Hashable, tuple[Evaluation, Evaluation]], measures: Sequence[str] = ("P@1", "mAP")
) -> Table:
    """Compare pairs of evaluations, query by query.

    Parameters
    ----------
    pairs : mapping of name to (Evaluation, Evaluation)
        What is compared with what, each on the same queries.
    measures : sequence of str, default ("P@1", "mAP")
        Of `MEASURES`, or "mAP".

    Returns
    -------
    Table
        One row per pair and measure, with the columns of `Evaluation.compare`: difference (the first minus the
        second), low, high, p, wins, losses and ties.
    """
    rows = {
        (name, measure): one.compare(other, measure) for name, (one, other) in pairs.items() for measure in measures
    }
    counted = any(len(one.per_query) for one, _ in pairs.values())
    return table_of(pd.DataFrame.from_dict(rows, orient="index"), counted)
