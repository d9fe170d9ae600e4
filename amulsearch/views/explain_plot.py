"""Figures that explain results: heat maps laid over their pictures, and which models voted for a result."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from ..errors import QueryError
from ..intake import Collection
from .captions import number, short_name, wrapped
from .drawing import new_figure
from .explain import HeatMap
from .palette import OTHER
from .thumbnails import thumbnails
from .tiles import PIXELS, TILE, tile

_AGAINST, _FOR = (0.13, 0.40, 0.67), (0.84, 0.12, 0.05)
HEAT = LinearSegmentedColormap.from_list(
    "heat", [(*_AGAINST, 0.9), (*_AGAINST, 0.35), (1, 1, 1, 0), (*_FOR, 0.35), (*_FOR, 0.9)]
)
"""Red raises the number, blue lowers it; the picture shows through where the contribution is small."""


def heat_maps(maps: Mapping[str, HeatMap], *, columns: int = 4, title: str | None = None) -> Figure:
    """Draw heat maps over their pictures, which are shown in grey as the network saw them.

    All maps share one colour scale. The colour of a place is its contribution times the number of places, so the mean
    over a map is the sum of its contributions. Red raises the number, blue lowers it.

    Parameters
    ----------
    maps : Mapping of str to HeatMap
        Caption -> heat map. The total is written below the caption.
    columns : int, default 4
        The most maps in a row.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If there is no map.
    """
    if not maps:
        raise QueryError("there is nothing to draw: give at least one heat map")
    columns, lines = min(columns, len(maps)), max(_summed(heat).count("\n") + 2 for heat in maps.values())
    rows, side = -(-len(maps) // columns), 1.5 * TILE
    width, height = columns * side + 1.2, rows * (side + 0.2 + 0.15 * lines) + (0.35 if title else 0.05)
    figure = new_figure(width, height, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    scaled = {caption: heat.values * heat.values.size for caption, heat in maps.items()}
    peak = max(float(np.abs(values).max()) for values in scaled.values()) or 1.0
    low = min(float(values.min()) for values in scaled.values())
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (caption, heat) in zip(axes.flat, maps.items(), strict=False):
        axis.set_axis_on()
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color(OTHER)
        axis.imshow(_faded(heat.picture))
        axis.imshow(_smooth(scaled[caption], len(heat.picture)), cmap=HEAT, vmin=-peak, vmax=peak)
        axis.set_xlabel(f"{caption}\n{_summed(heat)}", fontsize=8, color="#333333", parse_math=False)
    bar = figure.colorbar(ScalarMappable(Normalize(-peak, peak), HEAT), ax=axes, fraction=0.05, pad=0.02)
    bar.ax.set_ylim(0 if low > -0.05 * peak else -peak, peak)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("contribution x number of places", fontsize=7.5)
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def vote_grid(collection: Collection, table: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw which models voted for each result, and at which rank: a row for each result, a column for each model.

    Parameters
    ----------
    collection : Collection
        The pictures.
    table : DataFrame
        Columns rank, id, score, label, and one for each model: the rank of the result in its list, or NA; as the first
        edges of `NeighbourGraph.edges`.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If the table is empty or has no column for a model.
    """
    models = list(table.columns[table.columns.get_loc("label") + 1 :])
    if not models or table.empty:
        raise QueryError("there is nothing to draw: give results with a column of ranks for each model")
    side = 0.8
    width, height = 3.4 + 1.15 * len(models), side * len(table) + 0.75 + (0.3 if title else 0)
    figure = new_figure(width, height)
    top = 1 - (0.1 + (0.3 if title else 0)) / height
    deepest = max(int(table[models].max().max()), 2)
    cells = figure.add_axes((3.3 / width, 0.1 / height, 1.15 * len(models) / width, side * len(table) / height))
    shade = table[models].astype(float).to_numpy()
    cells.imshow(1 - (shade - 1) / deepest, cmap="Blues", vmin=0, vmax=1.35, aspect="auto")
    for row, ranks in enumerate(shade):
        for column, rank in enumerate(ranks):
            text, colour = ("-", "#999999") if np.isnan(rank) else (f"{rank:.0f}", "black")
            cells.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    cells.set_xticks(range(len(models)), [wrapped(name, 14) for name in models], fontsize=7.5, parse_math=False)
    cells.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, left=False, length=0)
    cells.set_yticks([])
    cells.set_xticks(np.arange(len(models) - 1) + 0.5, minor=True)
    cells.set_yticks(np.arange(len(table) - 1) + 0.5, minor=True)
    cells.grid(which="minor", color="white", linewidth=2)
    cells.tick_params(which="minor", length=0)
    cells.spines[:].set_visible(False)
    images = thumbnails(collection, table["id"], PIXELS)
    for place, (row, image) in enumerate(zip(table.itertuples(index=False), images, strict=True)):
        bottom = (0.1 + side * (len(table) - 1 - place)) / height
        axis = figure.add_axes((0.1 / width, bottom + 0.04 / height, 0.72 / width, 0.72 / height))
        axis.set_axis_off()
        tile(axis, image, "", OTHER)
        count = int(table[models].iloc[place].notna().sum())
        text = f"{row.rank}  {short_name(row.id)}\n{number(row.score)}, in {count} of {len(models)} lists"
        axis.text(1.15, 0.5, text, transform=axis.transAxes, va="center", fontsize=7.5, parse_math=False)
    if title:
        figure.text(0.1 / width, top + 0.2 / height, title, fontsize=11, va="center", parse_math=False)
    return figure


def _faded(picture: np.ndarray) -> np.ndarray:
    """The picture in light grey, (S, S, 3) uint8, so that colours laid over it match the colour scale."""
    grey = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)
    return np.repeat(np.uint8(255 - 0.6 * (255 - grey))[..., None], 3, axis=2)


def _smooth(values: np.ndarray, side: int) -> np.ndarray:
    """The values interpolated to (side, side) float32."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))


def _summed(heat: HeatMap) -> str:
    """What a map explains and its total; also the sum over the places and the rest, if the rest is not negligible."""
    exact = abs(heat.rest) <= 0.005 * abs(heat.total)
    parts = "" if exact else f"\nplaces {heat.total - heat.rest:.3g}, rest {heat.rest:.2g}"
    return f"{heat.of} {heat.total:.3g}{parts}"
