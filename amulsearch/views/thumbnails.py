"""Thumbnails: decoded in parallel, reduced, laid out on a sheet, and encoded for a page."""

from __future__ import annotations

import base64
import io
import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from ..errors import MissingKeyError, PictureError, QueryError
from ..features import Words
from ..intake import Collection, decoding_threads, open_image

if TYPE_CHECKING:
    from .mapping import Map

CHUNK = 16


def thumbnails(
    collection: Collection, ids: Sequence[str], side: int, *, strict: bool = False, progress: bool = True
) -> Iterator[Image.Image | None]:
    """Yield pictures of the collection reduced to a square of `side` pixels, in the order of the ids; for a picture
    that can no longer be read, yield None or, if `strict`, raise its PictureError."""
    ids = list(ids)
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]

    def small(chunk: list[str]) -> list[Image.Image | None]:
        # One at a time, so that large pictures are not in memory together.
        return [_shrunk(collection.open_all([id], 2 * side)[0], side, strict) for id in chunk]

    bar = tqdm(total=len(ids), desc="thumbnails", unit="picture", delay=2, disable=not progress)
    with bar, decoding_threads() as pool:
        for images in pool.map(small, chunks):
            yield from images
            bar.update(len(images))


def data_uri(image: Image.Image, quality: int = 70) -> str:
    """Encode a picture as WebP in a data URI, so that a page can show it without a file."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def query_picture(collection: Collection, query) -> tuple[Image.Image, str, str | None]:
    """The picture of a query, its name ("" if it has none), and its label (None if it has none).

    The query is an id of the collection, a PIL image, a path, or words, which are written on a white square.
    """
    if isinstance(query, Words):
        return written(query), "", None
    if isinstance(query, str) and query in collection:
        return collection.open(query), query, collection.table["label"].iat[collection.ids.index(query)]
    if isinstance(query, Image.Image):
        return open_image(query), "", None
    if isinstance(query, (str, os.PathLike)):
        if not Path(query).expanduser().is_file():
            raise MissingKeyError(f"{os.fspath(query)!r} is neither an id of the collection nor a file")
        how = {"background": collection.background, "max_pixels": collection.max_pixels}
        return open_image(Path(query).expanduser(), **how), os.fspath(query), None
    raise QueryError(f"a query must be an id, a path or a PIL image, not {type(query).__name__}")


def written(words: Words, side: int = 320) -> Image.Image:
    """The words of a query on a white square."""
    image, font = Image.new("RGB", (side, side), "white"), ImageFont.load_default(side // 10)
    lines = textwrap.wrap(words.text, 17)[:7] + (textwrap.wrap(f"without {words.avoid}", 17)[:2] if words.avoid else [])
    ImageDraw.Draw(image).multiline_text(
        (side / 2, side / 2), "\n".join(lines), "black", font, anchor="mm", align="center", spacing=side // 32
    )
    return image


def map_sheet(collection: Collection, map: Map, frames: Sequence[str], side: int) -> Image.Image:
    """Draw all pictures of a map in their cells of `side` pixels, each in a frame of its colour; an RGBA image that is
    transparent in empty cells."""
    sheet = Image.new("RGBA", (map.columns * side, map.rows * side), (255, 255, 255, 0))
    thick = max(1, side // 30)
    inside = max(1, side - 1 - 2 * thick)
    for image, (column, row), frame in zip(thumbnails(collection, map.ids, inside), map.cells, frames, strict=True):
        cell = Image.new("RGB", (side - 1, side - 1), frame)
        cell.paste("white", (thick, thick, thick + inside, thick + inside))
        if image is not None:
            cell.paste(image, ((side - 1 - image.width) // 2, (side - 1 - image.height) // 2))
        sheet.paste(cell, (int(column) * side, int(row) * side))
    return sheet


def _shrunk(image: Image.Image | PictureError, side: int, strict: bool) -> Image.Image | None:
    if isinstance(image, PictureError):
        if strict:
            raise image
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
