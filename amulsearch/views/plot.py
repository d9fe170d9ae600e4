"""Figures of pictures and charts: every function returns a matplotlib figure and neither shows nor saves it.

A notebook displays the figure that a cell ends with; ``figure.savefig(path)`` saves it. In place of a picture that is
missing, or has changed since it was scanned, a grey square says so.

Examples
--------
>>> import amulsearch as am
>>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
>>> figure = am.plot.contact_sheet(birds, birds.ids[:3], title="Birds")
>>> len(figure.axes)
3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from ..errors import QueryError
from ..index import unlikely_from
from ..intake import Collection
from .captions import neighbour_caption, number, short_name, wrapped
from .charts import chart, reliability_chart, sentence, systems_chart
from .explain_plot import heat_maps, vote_grid
from .map_plot import duplicate_groups, thumbnail_map
from .palette import MISSED, OTHER, QUERY, SAME
from .thumbnails import query_picture, thumbnails
from .tiles import PIXELS, tile, tile_axes

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
    "reliability_chart",
    "systems_chart",
    "thumbnail_map",
    "vote_grid",
]


def __dir__() -> list[str]:
    return __all__.copy()


def query_grid(collection: Collection, query, neighbours: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw a query and its neighbours in a row, nearest first.

    A blue frame marks a neighbour with the label of the query.

    Parameters
    ----------
    collection : Collection
        The pictures.
    query : str, path or PIL.Image.Image
        An id of the collection, a path, or a picture.
    neighbours : DataFrame
        A table of neighbours, as `Index.query` or `fuse` returns it.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If `query` is of another type.
    PictureError
        If the file of the query, given by its path, cannot be read.
    """
    return _grid(collection, [query], [("", neighbours)], rows=False, title=title)


def model_grid(collection: Collection, query, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """Draw the results of several models (or fusions) for one query, a column for each, with the query on top.

    A blue frame marks a neighbour with the label of the query.

    Parameters
    ----------
    collection : Collection
        The pictures.
    query : str, path or PIL.Image.Image
        An id of the collection, a path, or a picture.
    lists : Mapping of str to DataFrame
        Column title -> table of neighbours, as `query_all` returns them.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If there is no list, or `query` is of another type.
    PictureError
        If the file of the query, given by its path, cannot be read.
    """
    _check_tables(lists)
    return _grid(collection, [query] * len(lists), list(lists.items()), title=title)


def ensemble_grid(collection: Collection, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """Draw the results of several queries, a column for each, with the query on top.

    A blue frame marks a neighbour with the label of the query.

    Parameters
    ----------
    collection : Collection
        The pictures.
    lists : Mapping of str to DataFrame
        Id of the query -> table of neighbours.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If there is no list.
    """
    _check_tables(lists)
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
    """Draw a query and its true neighbours; those that an index missed are pale, with a red frame.

    Parameters
    ----------
    collection : Collection
        The pictures.
    query : str, path or PIL.Image.Image
        An id of the collection, a path, or a picture.
    true : DataFrame
        The neighbours from exact search.
    found : DataFrame
        The neighbours from the index.
    columns : int, default 6
        Tiles per row.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If `query` is of another type.
    PictureError
        If the file of the query, given by its path, cannot be read.
    """
    image, name, _ = query_picture(collection, query)
    figure, axes = tile_axes(-(-(len(true) + 1) // columns), columns, title)
    cells = iter(axes.flat)
    tile(next(cells), image, _query_caption(name), QUERY)
    images = thumbnails(collection, true["id"], PIXELS)
    for cell, row, image in zip(cells, true.itertuples(), images, strict=False):
        missed = row.id not in set(found["id"])
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
    """Draw pictures of a collection side by side.

    Parameters
    ----------
    collection : Collection
        The pictures.
    ids : sequence of str, optional
        The pictures to draw; by default, all of them. If there are none, the figure says so.
    columns : int, default 8
        The most pictures in a row.
    captions : Mapping of str to str, optional
        Id -> text below the picture; by default, its name.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    ids = collection.ids if ids is None else list(ids)
    if not ids:
        return sentence("There is no picture to draw.")
    captions = captions or {}
    columns = min(columns, len(ids))
    figure, axes = tile_axes(-(-len(ids) // columns), columns, title)
    for axis, id, image in zip(axes.flat, ids, thumbnails(collection, ids, PIXELS), strict=False):
        tile(axis, image, captions.get(id, short_name(id)), OTHER)
    return figure


def ranked(collection: Collection, neighbours: pd.DataFrame, *, columns: int = 6, title: str | None = None) -> Figure:
    """Draw the pictures of a table in their order, without a query, each with its rank, name and score or distance.

    Parameters
    ----------
    collection : Collection
        The pictures.
    neighbours : DataFrame
        A table, as `fuse` or `Index.query` returns it. If it is empty, the figure says so.
    columns : int, default 6
        The most pictures in a row.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    captions = {row.id: neighbour_caption(row) for row in neighbours.itertuples()}
    return contact_sheet(collection, neighbours["id"], columns=columns, captions=captions, title=title)


def pictures(images: Mapping[str, Image.Image], *, title: str | None = None) -> Figure:
    """Draw any pictures in a row, each with a caption.

    Parameters
    ----------
    images : Mapping of str to PIL.Image.Image
        Caption -> picture.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QueryError
        If `images` is empty.
    """
    if not images:
        raise QueryError("there is nothing to draw: give at least one picture")
    figure, axes = tile_axes(1, len(images), title)
    for axis, (caption, image) in zip(axes[0], images.items(), strict=True):
        tile(axis, image.copy(), caption, OTHER)  # tile() shrinks its picture in place
    return figure


def _check_tables(lists) -> None:
    if not isinstance(lists, Mapping) or not all(isinstance(table, pd.DataFrame) for table in lists.values()):
        raise QueryError('lists= takes tables of neighbours by name, such as {"squeezenet1_1": index.query(id, k=4)}')
    if not lists:
        raise QueryError("there is nothing to draw: give at least one table of neighbours")


def _grid(collection, queries, columns, *, rows: bool = True, title: str | None = None) -> Figure:
    """Draw lists of neighbours with their queries, downwards (`rows`) or, for a single list, to the right."""
    longest = max(len(table) for _, table in columns)
    shape = (longest + 1, len(columns)) if rows else (1, longest + 1)
    asked = {id(query): query_picture(collection, query) for query in queries}  # often one query for all columns
    ids = list(dict.fromkeys(name for _, table in columns for name in table["id"]))
    image_of = dict(zip(ids, thumbnails(collection, ids, PIXELS), strict=True))
    figure, axes = tile_axes(*shape, title, named=any(name for name, _ in columns))
    labelled = False
    for column, (query, (name, table)) in enumerate(zip(queries, columns, strict=True)):
        image, name_of_query, label = asked[id(query)]
        cells = [axes[row][column] for row in range(longest + 1)] if rows else axes[0]
        tile(cells[0], image, _query_caption(name_of_query), QUERY)
        if name:
            cells[0].set_title(wrapped(name), fontsize=9, fontweight="bold", parse_math=False)
        labelled |= label is not None
        unlikely = unlikely_from(table)
        for cell, row in zip(cells[1:], table.itertuples(), strict=False):
            if row.rank == unlikely:
                _mark_unlikely(cell, rows)
            frame = SAME if label is not None and row.label == label else OTHER
            tile(cell, image_of[row.id], neighbour_caption(row), frame)
    likely = any("probability" in table for _, table in columns)
    notes = {
        (True, True): "blue frame: same label; %: probability",
        (True, False): "blue frame: same label as the query",
        (False, True): "%: probability of being relevant",
    }
    if note := notes.get((labelled, likely)):
        figure.text(0.995, 0.003, note, ha="right", va="bottom", fontsize=6.5, color=SAME)
    return figure


def _mark_unlikely(cell, rows: bool) -> None:
    """Draw a line before a tile: above it, or to its left."""
    along = ([0, 1], [1.02, 1.02]) if rows else ([-0.02, -0.02], [0, 1])
    cell.plot(*along, transform=cell.transAxes, color=MISSED, linewidth=1.5, linestyle="--", clip_on=False)
    text = "from here on, nothing is likely to fit"
    cell.text(0.03, 0.97, text, transform=cell.transAxes, ha="left", va="top", fontsize=6, color=MISSED)


def _query_caption(name: str) -> str:
    return f"query\n{short_name(name)}" if name else "query"
