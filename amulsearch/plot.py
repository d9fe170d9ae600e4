"""Figures of pictures: every function takes data and returns a matplotlib figure; none shows or saves it.

In a notebook the figure that a cell ends with is displayed; `figure.savefig(path)` keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from .collection import Collection
from .errors import QueryError
from .pictures import open_image

TILE = 1.7
"""Inches of a tile's side."""

SAME, OTHER, QUERY, MISSED = "#0072b2", "#d0d0d0", "#e69f00", "#d55e00"
"""Frames: a neighbour with the query's label, any other, the query, a neighbour that an index missed (Okabe and Ito's
colours for the colour-blind)."""


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
    image, caption, _ = _query(collection, query)
    figure, axes = _axes(-(-(len(true) + 1) // columns), columns, None)
    cells = iter(axes.flat)
    _tile(next(cells), image, caption, QUERY)
    for cell, row in zip(cells, true.itertuples(), strict=False):
        image, missed = collection.open(row.id), row.id not in set(found["id"])
        if missed:
            image = Image.blend(image, Image.new("RGB", image.size, "white"), 0.6)
        caption = f"{row.rank}  {_name(row.id)}\n{'missed' if missed else _number(row.distance)}"
        _tile(cell, image, caption, MISSED if missed else OTHER)
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
    figure, axes = _axes(-(-len(ids) // columns), columns, title)
    for place, id in enumerate(ids):
        _tile(axes[place // columns][place % columns], collection.open(id), captions.get(id, _name(id)), OTHER)
    return figure


def pictures(images: Mapping[str, Image.Image], *, title: str | None = None) -> Figure:
    """Any pictures in a row, each with a caption: caption -> PIL image."""
    figure, axes = _axes(1, len(images), title)
    for axis, (caption, image) in zip(axes[0], images.items(), strict=True):
        _tile(axis, image.copy(), caption, OTHER)  # a tile shrinks its picture in place
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
    figure, axes = _axes(*shape, title, named=any(name for name, _ in columns))
    labelled = False
    for column, (query, (name, table)) in enumerate(zip(queries, columns, strict=True)):
        image, caption, label = _query(collection, query)
        cells = [axes[row][column] for row in range(longest + 1)] if rows else axes[0]
        _tile(cells[0], image, caption, QUERY)
        if name:
            cells[0].set_title(_wrapped(name), fontsize=9, fontweight="bold", parse_math=False)
        measure, unit = ("distance", "") if "distance" in table else ("score", "score ")
        labelled |= label is not None
        for cell, row in zip(cells[1:], table.itertuples(), strict=False):
            frame = SAME if label is not None and row.label == label else OTHER
            caption = f"{row.rank}  {_name(row.id)}\n{unit}{_number(getattr(row, measure))}"
            _tile(cell, collection.open(row.id), caption, frame)
    if labelled:
        figure.text(0.995, 0.003, "blue frame: the query's label", ha="right", va="bottom", fontsize=6.5, color=SAME)
    return figure


def _query(collection: Collection, query) -> tuple[Image.Image, str, str | None]:
    """The query's picture, its caption and its label."""
    if isinstance(query, str) and query in collection:
        label = collection.table["label"].iat[collection.ids.index(query)]
        return collection.open(query), f"query\n{_name(query)}", label
    if isinstance(query, Image.Image):
        return open_image(query), "query", None
    if isinstance(query, (str, os.PathLike)):
        return open_image(query), f"query\n{_name(os.fspath(query))}", None
    raise QueryError(f"a query is an id, a path or a PIL image, not a {type(query).__name__}")


def _axes(rows: int, columns: int, title: str | None, named: bool = False):
    """A figure of square tiles, each with room for its caption of two lines, and the axes as rows of columns."""
    top = 0.12 + (0.3 if title else 0) + (0.38 if named else 0)
    width, height = columns * TILE + 0.2, rows * (TILE + 0.32) + 0.1 + top
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    plt.close(figure)  # or a notebook would draw it twice, and keep it
    figure.subplots_adjust(
        left=0.1 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - top / height, wspace=0.08, hspace=0.32
    )
    for axis in axes.flat:
        axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top", parse_math=False)
    return figure, axes


def _tile(axis, image: Image.Image, caption: str, frame: str) -> None:
    """A picture in its own shape in the middle of a square with a frame, and its caption below."""
    image.thumbnail((320, 320))
    width, height = image.size
    side = max(width, height)
    axis.imshow(image, extent=(-width / 2, width / 2, -height / 2, height / 2), interpolation="antialiased")
    axis.set_xlim(-side / 2, side / 2)
    axis.set_ylim(-side / 2, side / 2)
    thick = 1 if frame == OTHER else 2.5
    square = Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=frame, linewidth=thick)
    square.set_clip_on(False)
    axis.add_patch(square)
    axis.text(
        0.5, -0.03, caption, transform=axis.transAxes, ha="center", va="top", fontsize=6.5, color="#333333",
        linespacing=1.15, parse_math=False,
    )  # fmt: skip


def _name(id: str, most: int = 26) -> str:
    """The picture's file name without its ending, in one line, shortened in the middle."""
    name = PurePosixPath(id).stem
    if not name.isprintable():
        name = name.encode("unicode_escape").decode()
    return name if len(name) <= most else f"{name[: most - 11]}…{name[-10:]}"


def _wrapped(name: str, most: int = 20) -> str:
    """A title in two lines where it is long and has a place to break."""
    if len(name) <= most:
        return name
    breaks = [place for place, char in enumerate(name) if char in " _-/" and 0 < place < len(name) - 1]
    if not breaks:
        return name
    middle = min(breaks, key=lambda place: abs(place - len(name) / 2))
    keep = name[middle] != " "
    return f"{name[: middle + keep]}\n{name[middle + 1 :]}"


def _number(value: float) -> str:
    """A distance or score with three digits that matter."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
