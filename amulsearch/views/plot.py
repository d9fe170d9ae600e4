"""Figures of pictures: every function takes data and returns a matplotlib figure; none shows or saves it.

In a notebook the figure that a cell ends with is displayed; `figure.savefig(path)` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from ..errors import QueryError
from ..intake import Collection
from .captions import neighbour_caption, number, short_name, wrapped
from .explain_plot import heat_maps, vote_grid
from .map_plot import duplicate_groups, thumbnail_map
from .palette import MISSED, OTHER, QUERY, SAME
from .thumbnails import query_picture
from .tiles import tile, tile_axes

__all__ = [
    "chart",
    "contact_sheet",
    "duplicate_groups",
    "ensemble_grid",
    "heat_maps",
    "missed_grid",
    "model_grid",
    "pictures",
    "query_grid",
    "ranked",
    "thumbnail_map",
    "tradeoff_chart",
    "vote_grid",
]


def query_grid(collection: Collection, query, neighbours: pd.DataFrame, *, title: str | None = None) -> Figure:
    """One query and its neighbours in a row, nearest first.

    query: an id of the collection, a PIL image, or a path. neighbours: a table as `Index.query` or `fuse` give it.
    A blue frame marks neighbours that carry the query's label.
    """
    return _grid(collection, [query], [("", neighbours)], rows=False, title=title)


def model_grid(collection: Collection, query, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """The 2019 post's figure: the query on top, a column for each model (or fusion), its neighbours downwards.

    lists: column title -> table of neighbours.
    """
    if not lists:
        raise QueryError("there is nothing to draw: give at least one list of neighbours")
    return _grid(collection, [query] * len(lists), list(lists.items()), title=title)


def ensemble_grid(collection: Collection, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """The post's other figure: a column for each query, the query on top and its neighbours downwards.

    lists: id of the query -> table of neighbours.
    """
    if not lists:
        raise QueryError("there is nothing to draw: give at least one query with its neighbours")
    return _grid(collection, list(lists), [("", table) for table in lists.values()], title=title)


def missed_grid(
    collection: Collection,
    query,
    true: pd.DataFrame,
    found: pd.DataFrame,
    *,
    columns: int = 6,
    title: str | None = None,
) -> Figure:
    """The query and its true neighbours; those that an index did not find are pale, with a red frame.

    true, found: tables of neighbours, as exact search and the index give them.
    """
    image, name, _ = query_picture(collection, query)
    figure, axes = tile_axes(-(-(len(true) + 1) // columns), columns, title)
    cells = iter(axes.flat)
    tile(next(cells), image, _query_caption(name), QUERY)
    for cell, row in zip(cells, true.itertuples(), strict=False):
        image, missed = collection.open(row.id), row.id not in set(found["id"])
        if missed:
            image = Image.blend(image, Image.new("RGB", image.size, "white"), 0.6)
        caption = f"{row.rank}  {short_name(row.id)}\n{'missed' if missed else number(row.distance)}"
        tile(cell, image, caption, MISSED if missed else OTHER)
    return figure


def contact_sheet(
    collection: Collection,
    ids: Sequence[str] | None = None,
    *,
    columns: int = 8,
    captions: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Pictures of the collection side by side; all of it by default.

    captions: id -> text below the picture; its name where there is none.
    """
    ids = collection.ids if ids is None else list(ids)
    if not ids:
        raise QueryError("there is no picture to draw")
    captions = captions or {}
    columns = min(columns, len(ids))
    figure, axes = tile_axes(-(-len(ids) // columns), columns, title)
    for place, id in enumerate(ids):
        tile(axes[place // columns][place % columns], collection.open(id), captions.get(id, short_name(id)), OTHER)
    return figure


def ranked(collection: Collection, neighbours: pd.DataFrame, *, columns: int = 6, title: str | None = None) -> Figure:
    """The pictures of a table side by side in their order, each with its rank, name and score: what has no query.

    neighbours: a table as `concept`, `fuse` or `Index.query` give it.
    """
    captions = {row.id: neighbour_caption(row) for row in neighbours.itertuples()}
    return contact_sheet(collection, neighbours["id"], columns=columns, captions=captions, title=title)


def pictures(images: Mapping[str, Image.Image], *, title: str | None = None) -> Figure:
    """Any pictures in a row, each with a caption: caption -> PIL image."""
    figure, axes = tile_axes(1, len(images), title)
    for axis, (caption, image) in zip(axes[0], images.items(), strict=True):
        tile(axis, image.copy(), caption, OTHER)  # a tile shrinks its picture in place
    return figure


def chart(table: pd.Series | pd.DataFrame, kind: str = "line", *, size=(8, 3.5), **options) -> Figure:
    """Numbers as lines, bars or boxes, one for each column.

    kind and options as for `pandas.DataFrame.plot`; size: width and height in inches.
    """
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    plt.close(figure)
    table.plot(kind=kind, ax=axis, **options)
    return figure


def tradeoff_chart(tables: Mapping[str, pd.DataFrame], exact: pd.DataFrame | None = None) -> Figure:
    """Recall against queries a second, a line for each index: the further up and right the better.

    tables: name -> table, as `tradeoff` gives it; exact: that of exact search, drawn as a dotted line.
    """
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    plt.close(figure)
    for (name, table), marker in zip(tables.items(), "osD^vPX*<>" * len(tables), strict=False):
        axis.plot(table["recall"], table["queries_per_second"], marker=marker, markersize=5, label=name)
    if exact is not None:
        speed = exact["queries_per_second"].iloc[0]
        axis.axhline(speed, color="#555555", linestyle=":", label="exact search")
    axis.set(yscale="log", xlabel="recall", ylabel="queries a second")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3, which="both")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _grid(collection, queries, columns, *, rows: bool = True, title: str | None = None) -> Figure:
    """Lists of neighbours with their queries; downwards (`rows`) or, for a single one, to the right."""
    longest = max(len(table) for _, table in columns)
    shape = (longest + 1, len(columns)) if rows else (1, longest + 1)
    figure, axes = tile_axes(*shape, title, named=any(name for name, _ in columns))
    labelled = False
    for column, (query, (name, table)) in enumerate(zip(queries, columns, strict=True)):
        image, name_of_query, label = query_picture(collection, query)
        cells = [axes[row][column] for row in range(longest + 1)] if rows else axes[0]
        tile(cells[0], image, _query_caption(name_of_query), QUERY)
        if name:
            cells[0].set_title(wrapped(name), fontsize=9, fontweight="bold", parse_math=False)
        labelled |= label is not None
        for cell, row in zip(cells[1:], table.itertuples(), strict=False):
            frame = SAME if label is not None and row.label == label else OTHER
            tile(cell, collection.open(row.id), neighbour_caption(row), frame)
    if labelled:
        figure.text(0.995, 0.003, "blue frame: the query's label", ha="right", va="bottom", fontsize=6.5, color=SAME)
    return figure


def _query_caption(name: str) -> str:
    return f"query\n{short_name(name)}" if name else "query"
