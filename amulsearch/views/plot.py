"""Figures of pictures and charts: every function returns a matplotlib figure and neither shows nor saves it.

A notebook displays the figure that a cell ends with; ``figure.savefig(path)`` saves it. In place of a picture that is
missing, or has changed since it was scanned, a grey square says so. A blue frame marks a neighbour that has the label
of the query.

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
from itertools import chain, cycle, zip_longest
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from ..errors import QueryError
from ..index import unlikely_from
from ..intake import Collection
from ..models import title as title_of
from .captions import neighbour_caption, short_name, subject, wrapped
from .drawing import OTHER, PIXELS, QUERY, SAME, UNLIKELY, new_figure, sentence, tiles
from .thumbnails import query_picture, thumbnails

if TYPE_CHECKING:
    from ..measure import Comparison, Recommendation

__all__ = ["chart", "contact_sheet", "ensemble_grid", "model_grid", "pictures", "query_grid", "systems_chart"]


DASHES = ("--", ":", "-.")
"""The styles of baselines, in turn."""


def __dir__() -> list[str]:
    return __all__.copy()


def query_grid(collection: Collection, query, neighbours: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw a query and its neighbours in a row, nearest first.

    Parameters
    ----------
    collection : Collection
    query : str, path or PIL.Image.Image
        An id of the collection, a path, or a picture.
    neighbours : DataFrame
        A table of neighbours, as `System.query` returns it.
    title : str, optional
    """
    return _grid(collection, [query_picture(collection, query)], [neighbours], title, across=True)


def model_grid(collection: Collection, query, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """Draw a query, and beside it a column of neighbours for each of several models, layers or fusions.

    Parameters
    ----------
    collection : Collection
    query : str, path or PIL.Image.Image
        An id of the collection, a path, or a picture.
    lists : Mapping of str to DataFrame
        Column title -> table of neighbours, as `Panel.query` returns them.
    title : str, optional
    """
    _check_tables(lists)
    names = ["", *(wrapped(title_of(name)) for name in lists)]
    return _grid(collection, [query_picture(collection, query)], list(lists.values()), title, names=names)


def ensemble_grid(collection: Collection, lists: Mapping[str, pd.DataFrame], *, title: str | None = None) -> Figure:
    """Draw the results of several queries, a column for each, with the query on top.

    Parameters
    ----------
    collection : Collection
    lists : Mapping of str to DataFrame
        Id of the query -> table of neighbours.
    title : str, optional
    """
    _check_tables(lists)
    return _grid(collection, [query_picture(collection, id) for id in lists], list(lists.values()), title)


def contact_sheet(
    collection: Collection,
    ids: Sequence[str] | None = None,
    *,
    columns: int = 6,
    captions: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw pictures of a collection side by side.

    Parameters
    ----------
    collection : Collection
    ids : sequence of str, optional
        The pictures to draw; by default, all of them. If there are none, the figure says so.
    columns : int, default 6
        The most pictures in a row.
    captions : Mapping of str to str, optional
        Id -> text below the picture; by default, its name.
    title : str, optional
    """
    ids = collection.ids if ids is None else list(ids)
    if not ids:
        return sentence("There is no picture to draw.")
    captions = {id: short_name(id) for id in ids} | dict(captions or {})
    images = zip(ids, thumbnails(collection, ids, PIXELS), strict=True)
    figure, _ = tiles([(image, captions[id], OTHER) for id, image in images], min(columns, len(ids)), title)
    return figure


def pictures(images: Mapping[str, Image.Image], *, columns: int = 6, title: str | None = None) -> Figure:
    """Draw any pictures side by side, each with a caption.

    Parameters
    ----------
    images : Mapping of str to PIL.Image.Image
        Caption -> picture.
    columns : int, default 6
        The most pictures in a row.
    title : str, optional
    """
    if not images:
        raise QueryError("there is nothing to draw: give at least one picture")
    cells = [(image, caption, OTHER) for caption, image in images.items()]
    figure, _ = tiles(cells, min(columns, len(cells)), title)
    return figure


def chart(
    table: pd.Series | pd.DataFrame, kind: str = "line", *, size=(8, 3.5), guess=..., baselines=None, **options
) -> Figure:
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
    guess : float, optional
        What the reader guessed, drawn as a red line; Ellipsis (`...`) if there is no guess.
    baselines : Mapping of str to float, optional
        Name -> number to compare with, such as the level of chance, drawn as a dashed or dotted line.
    **options
        As for `pandas.DataFrame.plot`.
    """
    if "why" in table.attrs or not table.notna().to_numpy().any():
        return sentence(table.attrs.get("why", "There is nothing to draw."))
    figure = new_figure(*size, layout="constrained")
    axis = figure.subplots()
    table.plot(kind=kind, ax=axis, **options)
    draw_line = axis.axvline if kind == "barh" else axis.axhline
    lines = [
        (name, number, style, "#555555") for (name, number), style in zip((baselines or {}).items(), cycle(DASHES))
    ]
    if guess is not ...:
        lines.append(("your guess", guess, "-", UNLIKELY))
    legend = axis.get_legend()
    handles = list(legend.legend_handles) if legend else []
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    for name, number, style, colour in lines:
        handles.append(draw_line(number, linestyle=style, color=colour))
        names.append(name)
    if names:
        turn = slice(None, None, -1 if kind == "barh" else 1)  # bars are drawn from the bottom upwards
        axis.legend(handles[turn], names[turn], fontsize=9, frameon=False)
    return figure


def systems_chart(results: Comparison | Recommendation) -> Figure:
    """Draw the measure of each system with its 95% interval, best first.

    Parameters
    ----------
    results : Comparison or Recommendation
        What `compare` or `measure.recommend` returns.
    """
    table, measure = results.table[::-1].reset_index(drop=True), results.measure
    if "why" in table.attrs:
        return sentence(table.attrs["why"])
    figure = new_figure(8, 0.6 + 0.28 * len(table), layout="constrained")
    axis = figure.subplots()
    axis.hlines(table.index, table["low"], table["high"], color="#999999", linewidth=1.5)
    axis.plot(table[measure], table.index, "o", color=SAME, markersize=5)
    axis.set_yticks(table.index, map(title_of, table["system"]), fontsize=9)
    axis.set(xlabel=f"{measure} (lines: 95% interval)", ylim=(-0.7, len(table) - 0.3))
    axis.grid(axis="x", alpha=0.3)
    return figure


def _check_tables(lists) -> None:
    if not isinstance(lists, Mapping) or not all(isinstance(table, pd.DataFrame) for table in lists.values()):
        raise QueryError('lists= takes tables of neighbours by name, such as {"squeezenet1_1": index.query(id, k=4)}')
    if not lists:
        raise QueryError("there is nothing to draw: give at least one table of neighbours")


def _grid(collection, queries, lists, title, *, names=(), across: bool = False) -> Figure:
    """Lists of neighbours: in named columns beside the only query, each below its query, or in a row to its right.

    A query is a picture, its name and its label, as from `query_picture`.
    """
    ids = list(dict.fromkeys(id for table in lists for id in table["id"]))
    image_of = dict(zip(ids, thumbnails(collection, ids, PIXELS), strict=True))
    columns = []
    for (_, _, label), table in zip(queries * len(lists) if names else queries, lists, strict=True):
        colours = [SAME if label is not None and other == label else OTHER for other in table["label"]]
        rows = zip(table.itertuples(), colours, strict=True)
        columns.append([(image_of[row.id], neighbour_caption(row), colour) for row, colour in rows])
    asked = [(image, f"query\n{subject(name, label)}" if name else "query", QUERY) for image, name, label in queries]
    if names:
        columns = [asked, *columns]
    else:
        columns = [[query, *below] for query, below in zip(asked, columns, strict=True)]
    cells = columns[0] if across else list(chain(*zip_longest(*columns)))
    figure, axes = tiles(cells, len(cells) if across else len(columns), title, names)
    places_of_lists = axes.T[1:] if names else axes[:, 1:] if across else axes.T[:, 1:]
    for places, table in zip(places_of_lists, lists, strict=True):
        if (rank := unlikely_from(table)) is not None:
            _mark_unlikely(places[table["rank"].tolist().index(rank)], across)
    labelled = any(label is not None for _, _, label in queries)
    likely = any("probability" in table for table in lists)
    notes = {
        (True, True): "blue frame: same label; %: probability",
        (True, False): "blue frame: same label as the query",
        (False, True): "%: probability of being relevant",
    }
    if note := notes.get((labelled, likely)):
        figure.text(0.995, 0.003, note, ha="right", va="bottom", fontsize=8, color=SAME)
    return figure


def _mark_unlikely(axis, across: bool) -> None:
    """Draw a line before a tile: to its left, or above it."""
    line = ([-0.02, -0.02], [0, 1]) if across else ([0, 1], [1.02, 1.02])
    axis.plot(*line, transform=axis.transAxes, color=UNLIKELY, linewidth=1.5, linestyle="--", clip_on=False)
    text = "from here on,\nnothing is likely to fit"
    axis.text(0.03, 0.97, text, transform=axis.transAxes, ha="left", va="top", fontsize=7.5, color=UNLIKELY)
