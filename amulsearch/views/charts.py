"""Charts of numbers: lines, bars, and recall against speed."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter


def chart(table: pd.Series | pd.DataFrame, kind: str = "line", *, size=(8, 3.5), **options) -> Figure:
    """Draw the columns of a table as lines, bars or boxes.

    Parameters
    ----------
    table : Series or DataFrame
        The numbers; the index is the horizontal axis.
    kind : str, default "line"
        As for `pandas.DataFrame.plot`.
    size : tuple of float, default (8, 3.5)
        Width and height in inches.
    **options
        As for `pandas.DataFrame.plot`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    plt.close(figure)
    table.plot(kind=kind, ax=axis, **options)
    return figure


def tradeoff_chart(tables: Mapping[str, pd.DataFrame], exact: pd.DataFrame | None = None) -> Figure:
    """Draw recall against queries per second, a line for each index: further up and to the right is better.

    Parameters
    ----------
    tables : Mapping of str to DataFrame
        Name -> table, as `indexes.tradeoff` returns it.
    exact : DataFrame, optional
        The table of exact search; its speed is drawn as a dotted line.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    plt.close(figure)
    for (name, table), marker in zip(tables.items(), "osD^vPX*<>" * len(tables), strict=False):
        axis.plot(table["recall"], table["queries_per_second"], marker=marker, markersize=5, label=name)
    if exact is not None:
        speed = exact["queries_per_second"].iloc[0]
        axis.axhline(speed, color="#555555", linestyle=":", label="exact search")
    axis.set(yscale="log", xlabel="recall", ylabel="queries per second")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3, which="both")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
