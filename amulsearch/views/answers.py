"""What the page that answers needs: neighbours by system, maps and thumbnails, as a browser reads them.

The script is answers.js, built from web/src by `npm ci && npm run build` in web/.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..errors import QueryError
from ..index import Index
from ..intake import Collection, note_outputs
from ..store import replacing
from .mapping import Map
from .thumbnails import thumbnails, webp_uri

SIDE, QUALITY = 96, 55
"""The side of a thumbnail in pixels, and the quality of its WebP."""
WHOLE = 4000
"""Up to this many pictures, the thumbnails are in the page; beyond, in files beside it."""
ACROSS = 32
"""How many thumbnails stand side by side on a sheet, which is square if it is full."""


System = Index | tuple
"""What answers: an index, or rows, distances (or minus scores) and perhaps probabilities, each (N, k)."""


def answers_data(
    collection: Collection,
    systems: Mapping[str, System],
    maps: Mapping[str, Map],
    *,
    k: int,
    folder: Path | None,
) -> dict:
    """Collect the data of a page that answers.

    Parameters
    ----------
    collection : Collection
    systems : mapping of str to Index or tuple
        See `Page.answers`.
    maps : mapping of str to Map
    k : int
    folder : Path, optional
        Where the sheets of thumbnails are written as files; without it, they are in the data.

    Returns
    -------
    dict
        For `json.dumps`; arrays are in base64, little-endian.

    Raises
    ------
    QueryError
        If a system or a map is of other pictures than the collection.
    """
    ids, labels = collection.ids, collection.labels
    names = list(dict.fromkeys(label for label in labels if label is not None))
    code = {name: place for place, name in enumerate(names)}
    keywords = collection.keywords.values() if "keywords" in collection.table else ()
    found = {name: _found(name, system, ids, k) for name, system in systems.items()}
    return {
        "query": _opening(
            [rows for rows, _, _, _ in found.values()], np.array([code.get(label, -1) for label in labels])
        ),
        "names": ids,
        "labels": [code.get(label, -1) for label in labels],
        "labelNames": names,
        "words": [" ".join(words) for words in keywords],
        "side": SIDE,
        "sheets": _sheets(collection, folder),
        "systems": [_system(name, *lists) for name, lists in found.items()],
        "maps": [_map(name, map, ids) for name, map in maps.items()],
    }


def _found(name: str, system: System, ids: list[str], k: int) -> tuple:
    """The neighbours of all pictures: rows (N, k), values (N, k), probabilities in per cent, what the values are."""
    likely = np.zeros((0, 0), dtype=np.uint8)
    if isinstance(system, Index):
        if system.ids != ids:
            raise QueryError(f"the index {name} is not of the pictures of the page, in the same order")
        rows, values = system.all_neighbours(min(k, len(ids) - 1))
        measure = "distance"
        if system.calibration:
            likely = np.rint(100 * system.calibration.probability(values)).astype(np.uint8)
    else:
        rows, values, measure = np.asarray(system[0])[:, :k], np.asarray(system[1])[:, :k], "score"
        if len(rows) != len(ids):
            raise QueryError(f"{name} has the neighbours of {len(rows)} pictures, but the page shows {len(ids)}")
    return rows, np.nan_to_num(values), likely, measure


def _opening(lists: list[np.ndarray], codes: np.ndarray) -> int:
    """A picture that shows what the first system can do."""
    hits = [((codes[rows] == codes[:, None]) & (rows >= 0) & (codes[:, None] >= 0)).sum(axis=1) for rows in lists]
    return most_telling(np.array(hits))


def most_telling(hits: np.ndarray) -> int:
    """Choose the query for which the first system is right most often; of several, that on which the others are least.

    Parameters
    ----------
    hits : ndarray of shape (S, Q)
        How many neighbours of each of Q queries each of S systems has right.

    Returns
    -------
    int
        The column of the query, the first of several.
    """
    return int(np.lexsort((hits[1:].sum(axis=0), -hits[0]))[0])


def _system(name: str, rows: np.ndarray, values: np.ndarray, likely: np.ndarray, measure: str) -> dict:
    short, least, most = len(rows) < 2**16 - 1, float(values.min()), float(values.max())
    return {
        "name": name,
        "k": rows.shape[1],
        "measure": measure,
        "rows": _base64(np.where(rows < 0, 2 ** (16 if short else 32) - 1, rows), "<u2" if short else "<u4"),
        "values": _base64(np.rint((values - least) / max(most - least, 1e-12) * 65535), "<u2"),
        "least": least,
        "most": most,
        "likely": _base64(likely, "<u1"),
    }


def _map(name: str, map: Map, ids: list[str]) -> dict:
    if map.ids != ids:
        raise QueryError(f"the map {name} is not of the pictures of the page, in the same order")
    return {"name": name, "columns": map.columns, "rows": map.rows, "cells": _base64(map.cells, "<u4")}


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _sheets(collection: Collection, folder: Path | None) -> list[dict]:
    """The sheets of thumbnails, in the page or as files: source, columns and rows of each."""
    found = []
    for rows, content in thumbnail_sheets(collection, collection.ids):
        if folder is None:
            src = webp_uri(content)
        else:
            with replacing(folder / f"sheet-{len(found):03}.webp") as temporary:
                temporary.write_bytes(content)
            note_outputs([folder / f"sheet-{len(found):03}.webp"])
            src = f"{quote(os.fsencode(folder.name))}/sheet-{len(found):03}.webp"
        found.append({"src": src, "columns": ACROSS, "rows": rows})
    return found


def thumbnail_sheets(collection: Collection, ids: list[str], *, progress: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield sheets of `ACROSS` x `ACROSS` thumbnails, `SIDE` pixels each, the last one shorter.

    Parameters
    ----------
    collection : Collection
    ids : list of str
    progress : bool, default True

    Yields
    ------
    rows : int
        How many rows of thumbnails the sheet has.
    content : bytes
        A WebP file.
    """
    images = thumbnails(collection, ids, SIDE, progress=progress)
    for part in iter(lambda: list(islice(images, ACROSS * ACROSS)), []):
        rows, file = -(-len(part) // ACROSS), io.BytesIO()
        sheet = Image.new("RGB", (ACROSS * SIDE, rows * SIDE), "white")
        for place, image in enumerate(part):
            row, column = divmod(place, ACROSS)
            corner = column * SIDE + (SIDE - image.width) // 2, row * SIDE + (SIDE - image.height) // 2
            sheet.paste(image, corner)
        sheet.save(file, "WEBP", quality=QUALITY, method=4)
        yield rows, file.getvalue()


def as_script(data: dict) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
