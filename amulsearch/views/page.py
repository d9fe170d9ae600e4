"""A page of results in one file of HTML: it opens from a disk, without a server or a network, and shows itself in a
notebook. Pictures lie in it as WebP; its looks and its few lines of script are in page.css and page.js."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import QueryError, one_line
from ..intake import Collection
from ..measure import Comparison, Evaluation
from ..store import replacing
from .captions import duplicate_caption, neighbour_caption, short_name
from .mapping import Map
from .palette import group_frames
from .thumbnails import data_uri, map_sheet, query_picture, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE, QUERY = 200, 320
"""Pixels of a picture in a grid, and of a query."""

MAP_PIXELS, SHEET_PIXELS = 6_000_000, 3_000_000
"""About how many pixels all pictures of a map, and of a contact sheet, have together: a megabyte or two."""


class Page:
    """A page that is put together piece by piece; each method adds one and returns the page.

    In a notebook, a page that a cell ends with is displayed. Names, labels and texts are shown as they are: what looks
    like HTML in them stays text.
    """

    def __init__(self, title: str):
        self.title = str(title)
        self._parts = [f"<h1>{_text(self.title)}</h1>"]

    def heading(self, text: str) -> Page:
        """A heading of a part of the page."""
        return self._add(f"<h2>{_text(text)}</h2>")

    def text(self, text: str) -> Page:
        """A paragraph, or several with an empty line between them."""
        return self._add("".join(f"<p>{escape(part.strip())}</p>" for part in str(text).split("\n\n")))

    def table(self, table: pd.DataFrame | pd.Series, *, digits: int = 3) -> Page:
        """A table, with its index where that is not just counted; fractions with so many digits after the point."""
        table = table.to_frame() if isinstance(table, pd.Series) else table
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index(allow_duplicates=True)
        numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
        kinds = [' class="am-number"' if kind else "" for kind in numeric]
        head = "".join(f"<th{kind}>{_text(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
        rows = (
            "".join(f"<td{kind}>{_cell(value, digits)}</td>" for kind, value in zip(kinds, row, strict=True))
            for row in table.itertuples(index=False, name=None)
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return self._add(
            f'<div class="am-wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def grid(self, collection: Collection, query, lists: Mapping[str, pd.DataFrame]) -> Page:
        """A query, and a column for each of several lists of its neighbours, as in the 2019 post's figure.

        query: an id of the collection, a PIL image or a path; or several, by the words that stand below each.
        lists: column title -> table of neighbours, as `query_all`, `fuse` and `Index.query` give it. A blue frame
            marks neighbours with the label of the query.
        """
        if not lists:
            raise QueryError("there is nothing to show: give at least one list of neighbours")
        asked = query if isinstance(query, Mapping) else {"query": query}
        shown = [(words, *query_picture(collection, one)) for words, one in asked.items()]
        label = shown[0][3] if len(shown) == 1 else None
        top = ""
        for words, image, name, _ in shown:
            image.thumbnail((QUERY, QUERY))
            top += _tile(image, f"{words}\n{short_name(name)}" if name else words, f"{words} {name}", "am-query")
        ids = list(dict.fromkeys(id for table in lists.values() for id in table["id"]))
        image_of = dict(zip(ids, thumbnails(collection, ids, TILE), strict=True))
        columns = ""
        for name, table in lists.items():
            columns += f"<div><h3>{_breaking(one_line(name))}</h3>"
            for row in table.itertuples():
                kind = "am-same" if label is not None and row.label == label else ""
                columns += _tile(image_of[row.id], neighbour_caption(row), f"{row.rank}: {row.id}", kind)
            columns += "</div>"
        key = '<p class="am-key"><b>Blue frame</b>: the label of the query.</p>' if label is not None else ""
        return self._add(
            f'<div class="am-queries">{top}</div><div class="am-wide"><div class="am-columns" '
            f'style="--columns: {len(lists)}">{columns}</div></div>{key}'
        )

    def contact_sheet(
        self, collection: Collection, ids: Sequence[str] | None = None, *, captions: Mapping[str, str] | None = None
    ) -> Page:
        """Pictures of the collection side by side, all of it by default; the more they are, the smaller.

        captions: id -> words below the picture; its name where there are none.
        """
        ids = collection.ids if ids is None else list(ids)
        if not ids:
            raise QueryError("there is no picture to show")
        captions = captions or {}
        side = int(min(TILE, max(64, (SHEET_PIXELS / len(ids)) ** 0.5)))
        tiles = (
            _tile(image, captions.get(id, short_name(id)), id)
            for id, image in zip(ids, thumbnails(collection, ids, side), strict=True)
        )
        return self._add(f'<div class="am-sheet">{"".join(tiles)}</div>')

    def duplicates(self, collection: Collection, table: pd.DataFrame, *, most: int = 12, each: int = 8) -> Page:
        """The first `most` groups of duplicates, and of each as many pictures as `each`.

        table: as `near_duplicates` or `Collection.duplicates` give it.
        """
        for _, group in list(table.groupby("group", sort=False))[:most]:
            captions = {row.id: duplicate_caption(row) for row in group.itertuples()}
            self.contact_sheet(collection, group["id"].head(each), captions=captions)
            if len(group) > each:
                self.text(f"and {len(group) - each:,} more like these")
        return self

    def map(self, collection: Collection, map: Map, *, groups: Sequence[str | None] | None = None) -> Page:
        """A map to drag and to zoom, each picture in a frame of the colour of its group; without script, a picture.

        groups: (N,) what decides the colours; by default see `label_groups`.
        """
        frames, colour_of = group_frames(map.labels, groups)
        side = int(min(80, max(8, (MAP_PIXELS / (map.columns * map.rows)) ** 0.5)))
        sheet = map_sheet(collection, map, frames, side)
        names = [""] * (map.columns * map.rows)
        for id, (column, row) in zip(map.ids, map.cells, strict=True):
            names[row * map.columns + column] = one_line(id)
        legend = "".join(f'<li><i style="background: {c}"></i>{_text(name)}</li>' for name, c in colour_of.items())
        buttons = "".join(
            f'<button type="button" data-key="{key}" aria-label="{does}" title="{does}">{shown}</button>'
            for key, does, shown in (("+", "zoom in", "+"), ("-", "zoom out", "&minus;"), ("0", "show all", "all"))
        )
        return self._add(
            f'<figure class="am-map" data-columns="{map.columns}" data-rows="{map.rows}" '
            f'data-names="{escape(dumps(names, ensure_ascii=False))}"><div class="am-view" tabindex="0" '
            f'style="max-width: {sheet.width}px" '
            f'aria-label="map: + and - zoom, arrows move"><img draggable="false" src="{data_uri(sheet, 60)}" '
            f'alt="map of {len(map):,} pictures: those that are alike lie near each other"></div>'
            f'<div class="am-tools">{buttons}<span class="am-named">Zoom with two fingers, Ctrl and the wheel, or a '
            f'double click; drag to move.</span></div><ul class="am-legend">{legend}</ul></figure>'
        )

    def figure(self, figure: Figure, alt: str) -> Page:
        """A figure of matplotlib; alt: what it shows, for those who cannot see it."""
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=130)
        image = Image.open(file).convert("RGB")
        return self._add(f'<img class="am-figure" src="{data_uri(image, 85)}" alt="{_text(alt)}">')

    def evaluation(self, result: Evaluation | Comparison) -> Page:
        """What `evaluate` or `compare` measured: the means with the interval of mAP, and of one system each label."""
        if isinstance(result, Comparison):
            about = ["model", "layer", "transform", "fusion", "width"]
            table = result.table.drop(columns=about).dropna(axis="columns", how="all")
            return self.table(table.rename(columns={"low": "95% low", "high": "95% high"}))
        low, high = result.interval("AP")
        self.text(f"{len(result.per_query):,} queries; to {result.excluded:,} more pictures nothing is relevant.")
        self.table(pd.DataFrame([{**result.mean(), "95% low": low, "95% high": high}]))
        by_label = result.by_label()
        return self.table(by_label.rename("mAP").reset_index()) if len(by_label) else self

    def html(self) -> str:
        """The whole page."""
        _, script = _assets()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{_text(self.title)}</title><link rel="icon" href="data:,">'
            "<style>:root { color-scheme: light dark } body { margin: 0; background: #ffffff }"
            "@media (prefers-color-scheme: dark) { body { background: #17181a } }</style>"
            f"</head><body><main>{self._repr_html_()}</main></body></html>"
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page to a file, whole or not at all; returns its path."""
        path = Path(path)
        with replacing(path) as (temporary,):
            temporary.write_bytes(self.html().encode("utf-8", "backslashreplace"))
        return path

    def _add(self, part: str) -> Page:
        self._parts.append(part)
        return self

    def _repr_html_(self) -> str:
        style, script = _assets()
        return f'<div class="am-page"><style>{style}</style>{"".join(self._parts)}<script>{script}</script></div>'


@lru_cache(maxsize=1)
def _assets() -> tuple[str, str]:
    return tuple(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))


def _text(text: object) -> str:
    return escape(one_line(text))


def _breaking(text: str) -> str:
    """Text whose lines may end after an underscore."""
    return escape(text).replace("_", "_<wbr>")


def _cell(value: object, digits: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else _text(value)


def _tile(image: Image.Image | None, caption: str, alt: str, kind: str = "") -> str:
    """A picture in its frame with a caption."""
    alt = _text(alt)
    inside = f'<img src="{data_uri(image)}" alt="{alt}">' if image is not None else f"{alt} cannot be read"
    return (
        f'<figure class="am-tile {kind}"><div class="am-frame" title="{alt}">{inside}</div>'
        f"<figcaption>{_breaking(caption)}</figcaption></figure>"
    )
