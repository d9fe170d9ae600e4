"""Tables of measures by system. If there is nothing to count, a table says so when it is shown."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from .evaluation import Evaluation

NOTHING = "No two pictures are relevant to each other (have the same label): there is nothing to count."


class Table(pd.DataFrame):
    """A DataFrame of measures. If there is nothing to count, it shows the sentence `attrs["why"]` in place of NaN.

    Tables derived from it show the sentence too, and `plot.chart` draws it. In a notebook, a number that a row does not
    have is an empty cell: the baseline has no difference from itself.
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


def differences(
    pairs: Mapping[Hashable, tuple[Evaluation, Evaluation]], measures: Sequence[str] = ("P@1", "mAP")
) -> Table:
    """Compare pairs of evaluations, query by query.

    Parameters
    ----------
    pairs : mapping of name to (Evaluation, Evaluation)
        Each on the same queries.
    measures : sequence of str, default ("P@1", "mAP")
        Of `MEASURES`, or "mAP".

    Returns
    -------
    Table
        One row per pair and measure, with the columns of `Evaluation.compare`: difference (the first minus the
        second), low, high, p, wins, losses and ties.
    """
    rows = {
        (name, measure): first.compare(second, measure)
        for name, (first, second) in pairs.items()
        for measure in measures
    }
    counted = any(len(first.per_query) for first, _ in pairs.values())
    return table_of(pd.DataFrame.from_dict(rows, orient="index"), counted)
