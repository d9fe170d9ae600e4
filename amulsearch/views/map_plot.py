"""Figures of a whole collection: a map of its thumbnails, and its groups of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..intake import Collection
from .captions import duplicate_caption, shortened
from .charts import sentence
from .drawing import add_legend, new_figure
from .mapping import Map
from .palette import OTHER, group_frames
from .thumbnails import map_sheet, thumbnails
from .tiles import PIXELS, tile, tile_axes

DPI, WIDTH = 150, 2100
"""Resolution of the figure of a map in dots per inch, and its approximate width in dots; a cell has 40 to 120."""


def thumbnail_map(
    collection: Collection, map: Map, *, groups: Sequence[str | None] | None = None, title: str | None = None
) -> Figure:
    """Draw a map as thumbnails that do not overlap, each framed in the colour of its group.

    Saved at its own resolution (150 dpi), the figure keeps the thumbnails pixel for pixel.

    Parameters
    ----------
    collection : Collection
        The pictures of the map.
    map : Map
        The layout, from `Map.fit`.
    groups : sequence of str or None, optional
        The group of each picture (N,), which decides its colour. By default, the labels, or the top folders of the
        labels if there are more than ten labels.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If `groups` has not one entry for each picture.
    """
    frames, colour_of = group_frames(map.labels, groups)
    side = min(120, max(40, WIDTH // map.columns))
    sheet = np.asarray(map_sheet(collection, map, frames, side))
    height, width = (side / DPI for side in sheet.shape[:2])
    head, wide, names = 0.35 if title else 0, max(width, 8.5), [shortened(name, 40) for name in colour_of]
    longest = max((len(name) for name in names), default=1)
    across = max(1, min(len(names), int(wide / (0.35 + 0.07 * longest))))  # columns of the legend
    foot = 0.1 + 0.2 * -(-len(names) // across) if names else 0
    total = height + head + foot
    figure = new_figure(wide, total, dpi=DPI)
    axis = figure.add_axes(((wide - width) / 2 / wide, foot / total, width / wide, height / total))
    axis.imshow(sheet, interpolation="none")
    axis.set_axis_off()
    if colour_of:
        patches = [Patch(color=colour) for colour in colour_of.values()]
        options = {"ncols": across, "fontsize": 8, "frameon": False, "columnspacing": 1, "handlelength": 1.2}
        add_legend(figure, patches, names, loc="lower center", borderaxespad=0.2, **options)
    if title:
        figure.text(0.5, 1 - 0.18 / total, title, ha="center", va="center", fontsize=12, parse_math=False)
    return figure


def duplicate_groups(
    collection: Collection, table: pd.DataFrame, *, most: int = 8, columns: int = 8, title: str | None = None
) -> Figure:
    """Draw groups of duplicates, one group in each row.

    Parameters
    ----------
    collection : Collection
        The pictures.
    table : DataFrame
        The groups, as `indexes.near_duplicates` or `Collection.duplicates` return them. If there are none, the figure
        says so.
    most : int, default 8
        How many groups to show, from the first.
    columns : int, default 8
        How many pictures of a group to show, at least 2; the last caption says how many more there are.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    groups = [group for _, group in table.groupby("group", sort=False)][:most]
    if not groups:
        return sentence("There are no duplicates to draw.")
    columns = max(2, min(columns, max(len(group) for group in groups)))
    shown = [id for group in groups for id in group["id"].head(columns)]
    images = thumbnails(collection, shown, PIXELS)
    figure, axes = tile_axes(len(groups), columns, title)
    for row, group in zip(axes, groups, strict=True):
        for place, (axis, one) in enumerate(zip(row, group.itertuples(), strict=False)):
            caption = duplicate_caption(one)
            if place == columns - 1 and len(group) > columns:
                caption += f"\nand {len(group) - columns} more"
            tile(axis, next(images), caption, OTHER)
    return figure
