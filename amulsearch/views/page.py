"""A results page in one HTML file that opens without a server or a network and displays itself in a notebook.

The markup is in templates/page.html, the style of what is still in page.css; what lives, the answers and the maps, has
the style front.css and the script front.js, which `npm ci && npm run build` in web/ makes of web/src.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import MissingKeyError, QueryError, check_integer, check_path, one_line
from ..index import System, unlikely_from
from ..intake import Collection
from ..store import replacing
from .answers import answers_data
from .captions import neighbour_caption, short_name
from .mapping import Map
from .thumbnails import data_uri, query_picture, thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE, QUERY = 200, 320
"""Longest side, in pixels, of a picture in a grid and of a query."""
SHEET_PIXELS = 3_000_000
"""Approximate total pixels of all pictures on a contact sheet, which make one megabyte."""
KEYS = {
    "label": "Blue frame: same label as the query.",
    "distance": "Below a picture: its distance, the smaller, the more similar.",
    "score": "Score: the larger, the more similar.",
    "probability": "Per cent: how probable it is, by the labels, that the picture is relevant.",
}


class Page:
    """A results page, built part by part.

    Each method except `html` and `save` appends a part and returns the page, so calls can be chained. A notebook
    displays a page that is the last value of a cell. Titles, names, labels and texts appear as plain text, even if they
    contain HTML.

    Parameters
    ----------
    title : str
        Title of the page and its first heading.
    """

    def __init__(self, title: str):
        self.title = str(title)
        self._parts = []
        self._alive = False  # whether a part needs the script

    def heading(self, text: str) -> Page:
        """Append a section heading."""
        return self._add("heading", text=text)

    def text(self, text: str) -> Page:
        """Append one or more paragraphs of plain text, which an empty line separates."""
        return self._add("text", paragraphs=str(text).split("\n\n"))

    def table(self, table: pd.DataFrame | pd.Series) -> Page:
        """Append a table; its index is shown unless it is a RangeIndex, and missing values are left blank."""
        table = table.to_frame() if isinstance(table, pd.Series) else table
        if not isinstance(table.index, pd.RangeIndex):
            table = table.reset_index(allow_duplicates=True)
        numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
        rows = [[_cell(value) for value in row] for row in table.itertuples(index=False, name=None)]
        return self._add("table", names=table.columns, numeric=numeric, rows=rows)

    def grid(self, collection: Collection, query, lists: Mapping[str, pd.DataFrame]) -> Page:
        """Append a query and its neighbours, one column per list.

        With a single query that has a label, a blue frame marks the neighbours with the same label. If a table has
        probabilities, a line marks where they fall below 0.1.

        Parameters
        ----------
        collection : Collection
        query : str, path, PIL.Image.Image or mapping
            An id of the collection, the path of an image file or an image; or a mapping of captions to several such
            queries.
        lists : mapping of str to DataFrame
            Column title -> neighbours, as `Panel.query` or `System.query` return them.
        """
        if not lists:
            raise QueryError("the grid has nothing to show: pass at least one list of neighbours")
        queries = query if isinstance(query, Mapping) else {"query": query}
        examples, label = [], None
        for words, one in queries.items():
            image, name, label = query_picture(collection, one)
            image.thumbnail((QUERY, QUERY))
            caption = f"{words}\n{short_name(name)}" if name else words
            examples.append(_tile(image, caption, f"{words} {name}", kind="am-query"))
        label = label if len(queries) == 1 else None
        ids = list(dict.fromkeys(id for table in lists.values() for id in table["id"]))
        image_of = dict(zip(ids, thumbnails(collection, ids, TILE), strict=True))

        def tile(row) -> dict:
            kind = "am-same" if label is not None and row.label == label else ""
            return _tile(image_of[row.id], neighbour_caption(row), f"{row.rank}: {row.id}", kind=kind)

        columns = {
            name: {"tiles": [tile(row) for row in table.itertuples()], "unlikely": unlikely_from(table)}
            for name, table in lists.items()
        }
        shown = {name for table in lists.values() for name in table if name != "label"}
        keys = [text for name, text in KEYS.items() if name in shown or (name == "label" and label is not None)]
        return self._add("grid", queries=examples, columns=columns, keys=keys)

    def contact_sheet(
        self, collection: Collection, ids: Sequence[str] | None = None, *, captions: Mapping[str, str] | None = None
    ) -> Page:
        """Append pictures side by side, by default all; the more, the smaller each one. captions: id -> text below the
        picture, by default the file name."""
        ids = collection.ids if ids is None else list(ids)
        if not ids:
            raise QueryError("the contact sheet has no pictures to show: pass at least one id")
        captions = captions or {}
        side = int(min(TILE, max(64, (SHEET_PIXELS / len(ids)) ** 0.5)))
        images = zip(ids, thumbnails(collection, ids, side), strict=True)
        tiles = [_tile(image, captions.get(id, short_name(id)), id) for id, image in images]
        return self._add("contact_sheet", pictures=tiles)

    def figure(self, figure: Figure, alt: str) -> Page:
        """Append a matplotlib figure, with a text for readers who cannot see it."""
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=130)
        image = Image.open(file).convert("RGB")
        return self._add("figure", src=data_uri(image, 85), alt=alt)

    def answers(
        self,
        collection: Collection,
        systems: Mapping[str, System],
        maps: Mapping[str, Map] | None = None,
        *,
        query: str | None = None,
        k: int = 8,
        sees: bool | None = None,
    ) -> Page:
        """Append a part that answers: any picture can be clicked and becomes the query.

        Its neighbours stand in columns, one for each system, beside a map that can be zoomed, dragged and selected
        from. Pictures are found by name, label and keyword, and a link keeps the view. All of this needs no server: the
        neighbours and the thumbnails are in the page, some 20 megabytes for 10,000 pictures.

        A page that sees finds pictures like a new one too, which a person drops, pastes or chooses, and which stays in
        the browser: SqueezeNet is in the page (1.9 megabytes), with 8-bit vectors of the systems that compare its last
        feature map (the layers penultimate, last and last:gem, or a PCA of one).

        Parameters
        ----------
        collection : Collection
        systems : Panel, or mapping of str to System
            Of the same pictures in the same order.
        maps : mapping of str to Map, optional
            Of the same pictures in the same order; the page shows one at a time.
        query : str, optional
            The id to open with; by default one on which the first system is right more often than the others.
        k : int, default 8
            How many neighbours each system shows.
        sees : bool, optional
            Whether the page sees; by default if a system can and this adds at most 4 megabytes.
        """
        k = check_integer("k", k)
        if not systems:
            raise QueryError("there is nothing that could answer: give at least one system")
        if len(collection) < 2:
            raise QueryError("a page that answers needs at least two pictures: one to ask with, and one to find")
        if query is not None and query not in collection:
            raise MissingKeyError(f"there is no picture {query!r} on the page")
        data = answers_data(collection, systems, maps or {}, k, sees)
        if query is not None:
            data["query"] = collection[[query]].ids[0]
        return self._add_living(data)

    def html(self) -> str:
        """Render the page as HTML (str), with all pictures, style and script in it; its Content-Security-Policy blocks
        everything else."""
        return str(_macros().document(self.title, self._parts, self._alive))

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page to an HTML file, completely or not at all; missing folders are created. Returns its path."""
        path = check_path(path)
        with replacing(path) as temporary:
            temporary.write_bytes(self.html().encode("utf-8", "backslashreplace"))
        return path

    def _repr_html_(self) -> str:
        return str(_macros().body(self.title, self._parts, self._alive))

    def _add(self, macro: str, **values) -> Page:
        self._parts.append(getattr(_macros(), macro)(**values))
        return self

    def _add_living(self, data: dict) -> Page:
        """Append a part that front.js brings to life; its data cannot end the script element that holds them."""
        self._alive = True
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return self._add("living", data=text.replace("<", "\\u003c"))


@lru_cache(maxsize=1)
def _macros():
    """The macros of templates/page.html, which can use the styles, the script and its digest."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    files = {"style": "page.css", "living_style": "front.css", "script": "front.js"}
    known = {name: Path(__file__).with_name(file).read_text(encoding="utf-8") for name, file in files.items()}
    known["digest"] = base64.b64encode(hashlib.sha256(known["script"].encode()).digest()).decode()
    loader, layout = PackageLoader(__package__), {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **layout)
    environment.filters["one_line"] = one_line
    return environment.get_template("page.html", globals=known).module


def _cell(value: object) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else one_line(value)


def _tile(image: Image.Image, caption: str, alt: str, *, kind: str = "") -> dict[str, str]:
    """A picture with its caption, for the macro `tile`."""
    alt += f" ({image.info['mark']})" if "mark" in image.info else ""
    return {"src": data_uri(image), "caption": caption, "alt": one_line(alt), "kind": kind}
