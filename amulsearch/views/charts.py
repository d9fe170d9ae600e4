"""Charts of numbers: lines, bars, systems with intervals, and reliability."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..index import Index
from ..measure import Comparison, Recommendation
from .drawing import add_legend, new_figure
from .palette import COLOURS, SAME


def sentence(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(8, 0.6)
    figure.text(0.02, 0.5, text, va="center", fontsize=10, parse_math=False)
    return figure


def chart(table: pd.Series | pd.DataFrame, kind: str = "line", *, size=(8, 3.5), **options) -> Figure:
    """Draw the columns of a table as lines, bars or boxes.

    Parameters
    ----------
    table : Series or DataFrame
        The numbers; the index is the horizontal axis. Of a table without any, the figure says so, or shows the sentence
        in `table.attrs["why"]`, as a `measure.Table` has it.
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
    if "why" in table.attrs or not table.notna().to_numpy().any():
        return sentence(table.attrs.get("why", "There is nothing to draw."))
    figure = new_figure(*size, layout="constrained")
    axes = figure.subplots()
    table.plot(kind=kind, ax=axes, **options)
    named = [axis for axis in (axes.xaxis, axes.yaxis) if isinstance(axis.get_major_formatter(), FuncFormatter)]
    texts = [axes.title, axes.xaxis.label, axes.yaxis.label, *(axes.get_legend().texts if axes.get_legend() else ())]
    for text in texts + [label for axis in named for label in axis.get_ticklabels()]:
        text.set_parse_math(False)
    return figure


def systems_chart(found: Comparison | Recommendation) -> Figure:
    """Draw the measure of each system with its 95% interval, best first.

    Parameters
    ----------
    found : Comparison or Recommendation

    Returns
    -------
    matplotlib.figure.Figure
    """
    table, measure = found.table[::-1].reset_index(drop=True), found.measure
    if "why" in table.attrs:
        return sentence(table.attrs["why"])
    figure = new_figure(8, 0.6 + 0.24 * len(table), layout="constrained")
    axis = figure.subplots()
    axis.hlines(table.index, table["low"], table["high"], color="#999999", linewidth=1.5)
    axis.plot(table[measure], table.index, "o", color=SAME, markersize=5)
    axis.set_yticks(table.index, table["system"], fontsize=8, parse_math=False)
    axis.set(xlabel=f"{measure} (lines: 95% interval)", ylim=(-0.7, len(table) - 0.3))
    axis.grid(axis="x", alpha=0.3)
    return figure


def reliability_chart(indexes: Mapping[str, Index]) -> Figure:
    """Draw the fraction of relevant neighbours against the predicted probability, for calibrated indexes.

    The closer the points are to the grey diagonal, the better the predictions; their area is the number of pairs. The
    legend has the expected calibration error of each index.

    Parameters
    ----------
    indexes : mapping of name to Index
        Those without a calibration are left out.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fits = {name: one.calibration for name, one in indexes.items() if one.calibration is not None}
    if not fits:
        return sentence("No index has a calibration: it takes five labels that two or more pictures have.")
    figure = new_figure(6, 5.5, layout="constrained")
    axis, points = figure.subplots(), {}
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for (name, fit), colour in zip(fits.items(), COLOURS * len(fits), strict=False):
        bins, name = fit.table, f"{name}: calibration error {fit.ece:.3f}"
        area = 2000 * bins["pairs"] / bins["pairs"].max()
        axis.plot(bins["predicted"], bins["relevant"], color=colour, linewidth=1)
        points[name] = axis.scatter(bins["predicted"], bins["relevant"], area, color=colour, alpha=0.6)
    axis.set(xlabel="predicted probability", ylabel="fraction that is relevant", xlim=(0, 1), ylim=(0, 1))
    options = {"title": "area: number of pairs", "loc": "upper left", "frameon": False}
    legend = add_legend(axis, points.values(), points, **options)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return figure
