"""Figures of a whole collection: the map of its thumbnails, and its groups of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..errors import QueryError
from ..intake import Collection
from .captions import duplicate_caption
from .mapping import Map
from .palette import OTHER, group_frames
from .thumbnails import map_sheet
from .tiles import tile, tile_axes

DPI, WIDTH = 150, 2100
"""Dots an inch of the figure of a map, and about how many it is wide; a cell has 40 to 120."""


def thumbnail_map(
    collection: Collection, map: Map, *, groups: Sequence[str | None] | None = None, title: str | None = None
) -> Figure:
    """The map as a figure of thumbnails that do not overlap, each framed in the colour of its group.

    groups: (N,) what decides the colours; by default the labels, or the folders at their start where there are more
        than ten, see `label_groups`.

    Saved at its own dpi, a pixel of a thumbnail is a pixel of the file.
    """
    frames, colour_of = group_frames(map.labels, groups)
    side = min(120, max(40, WIDTH // map.columns))
    sheet = np.asarray(map_sheet(collection, map, frames, side))
    height, width = (side / DPI for side in sheet.shape[:2])
    head, foot, wide = 0.35 if title else 0, 0.3 if colour_of else 0, max(width, 8.5)
    total = height + head + foot
    figure = plt.figure(figsize=(wide, total), dpi=DPI)
    plt.close(figure)
    axis = figure.add_axes(((wide - width) / 2 / wide, foot / total, width / wide, height / total))
    axis.imshow(sheet, interpolation="none")
    axis.set_axis_off()
    if colour_of:
        patches = [Patch(color=colour, label=name) for name, colour in colour_of.items()]
        options = {"ncols": len(patches), "fontsize": 8, "frameon": False, "columnspacing": 1, "handlelength": 1.2}
        figure.legend(handles=patches, loc="lower center", borderaxespad=0.2, **options)
    if title:
        figure.text(0.5, 1 - 0.18 / total, title, ha="center", va="center", fontsize=12, parse_math=False)
    return figure


def duplicate_groups(
    collection: Collection, table: pd.DataFrame, *, most: int = 8, columns: int = 8, title: str | None = None
) -> Figure:
    """Groups of pictures, a row each: the first `most` groups, and of each as many as there are columns.

    table: as `near_duplicates` or `Collection.duplicates` give it.
    """
    groups = [group for _, group in table.groupby("group", sort=False)][:most]
    if not groups:
        raise QueryError("there is nothing to draw: no group of duplicates was found")
    columns = max(2, min(columns, max(len(group) for group in groups)))
    figure, axes = tile_axes(len(groups), columns, title)
    for row, group in zip(axes, groups, strict=True):
        for place, (axis, one) in enumerate(zip(row, group.itertuples(), strict=False)):
            caption = duplicate_caption(one)
            if place == columns - 1 and len(group) > columns:
                caption += f"\nand {len(group) - columns} more"
            tile(axis, collection.open(one.id), caption, OTHER)
    return figure
