"""What the living part of a page needs: neighbours by system, maps and thumbnails, as a browser reads them."""

import io
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import QueryError
from ..index import System
from ..intake import Collection
from .mapping import Map
from .seeing import seeing_data
from .thumbnails import as_base64, thumbnails, webp_uri

SIDE, QUALITY = 96, 55
"""The side of a thumbnail in pixels, and the quality of its WebP."""
PIXELS = 100_000_000
"""Of all thumbnails of a page, which make some thirteen megabytes; those of more pictures are smaller."""
ACROSS = 32
"""How many thumbnails stand side by side on a sheet, which is square if it is full."""


def answers_data(
    collection: Collection, systems: Mapping[str, System], maps: Mapping[str, Map], k: int, sees: bool | None
) -> dict:
    """The data of a part, for `json.dumps`; arrays are in base64."""
    ids, labels = collection.ids, collection.labels
    side = int(min(SIDE, max(8, (PIXELS / len(ids)) ** 0.5)))
    answered = [_system(name, system, ids, k) for name, system in systems.items()]
    network, compared = seeing_data(collection, systems, sees)
    keywords = collection.keywords.values() if "keywords" in collection.table else ()
    return {
        "query": ids[_opening([rows for rows, _ in answered], labels)],
        "ids": ids,
        "labels": labels,
        "words": [" ".join(words) for words in keywords],
        "side": side,
        "across": ACROSS,
        "sheets": [webp_uri(content) for content in thumbnail_sheets(collection, ids, side)],
        "systems": [about | {"compared": compared.get(about["name"])} for _, about in answered],
        "network": network,
        "maps": [_map(name, map, ids) for name, map in maps.items()],
    }


def _system(name: str, system: System, ids: list[str], k: int) -> tuple[np.ndarray, dict]:
    """The rows of the neighbours of all pictures (N, k), and what the page needs of a system."""
    if system.ids != ids:
        raise QueryError(f"{name} is not of the pictures of the page, in the same order")
    rows, values = system.all_neighbours(min(k, len(ids) - 1))
    likely = np.rint(100 * system.calibration.probability(values)) if system.calibration else ()
    arrays = {"rows": as_base64(rows, "<i4"), "values": as_base64(np.nan_to_num(values), "<f4")}
    about = {"name": name, "k": rows.shape[1], "measure": system.quantity, "likely": as_base64(likely, "<u1")}
    return rows, about | arrays


def _map(name: str, map: Map, ids: list[str]) -> dict:
    if map.ids != ids:
        raise QueryError(f"the map {name} is not of the pictures of the page, in the same order")
    return {"name": name, "columns": map.columns, "rows": map.rows, "cells": as_base64(map.cells, "<u4")}


def _opening(lists: list[np.ndarray], labels: list[str | None]) -> int:
    """The row of a picture that shows what the first system can do."""
    codes = pd.factorize(np.array(labels, dtype=object))[0]  # -1: no label
    known = (codes >= 0)[:, None]
    hits = [((codes[rows] == codes[:, None]) & (rows >= 0) & known).sum(axis=1) for rows in lists]
    return most_telling(np.array(hits))


def most_telling(hits: np.ndarray) -> int:
    """Choose of Q queries that for which the first system is right most often; of several, that on which the others
    are least; `hits` (S, Q) is how many neighbours each of S systems has right."""
    return int(np.lexsort((hits[1:].sum(axis=0), -hits[0]))[0])


def thumbnail_sheets(
    collection: Collection, ids: list[str], side: int = SIDE, *, progress: bool = True
) -> Iterator[bytes]:
    """Yield sheets of `ACROSS` x `ACROSS` thumbnails as WebP files; the last one is shorter."""
    images = thumbnails(collection, ids, side, progress=progress)
    for part in iter(lambda: list(islice(images, ACROSS * ACROSS)), []):
        sheet = Image.new("RGB", (ACROSS * side, -(-len(part) // ACROSS) * side), "white")
        for place, image in enumerate(part):
            row, column = divmod(place, ACROSS)
            sheet.paste(image, (column * side + (side - image.width) // 2, row * side + (side - image.height) // 2))
        file = io.BytesIO()
        sheet.save(file, "WEBP", quality=QUALITY, method=4)
        yield file.getvalue()
