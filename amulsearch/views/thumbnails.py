"""Thumbnails: decoded in parallel, reduced, laid out on a sheet, and encoded for a page."""

import base64
import io
import os
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from ..errors import MissingKeyError, PictureError, QueryError, check_path
from ..features import Words
from ..intake import Collection, decoding_threads, open_image
from .captions import room_for

CHUNK = 16
SHOWN = 320
"""The longest side, in pixels, of the picture of a query."""
MARKS = {"No such file": "missing", "changed since": "changed"}
"""What stands in place of a picture that can no longer be read, by words of the reason; otherwise "unreadable"."""


def thumbnails(
    collection: Collection, ids: Sequence[str], side: int, *, progress: bool = True
) -> Iterator[Image.Image]:
    """Yield pictures of the collection reduced to a square of `side` pixels, in the order of the ids; for a picture
    that can no longer be read, a square that says so."""
    ids = list(ids)
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]

    def small(chunk: list[str]) -> list[Image.Image]:
        # One at a time, so that large pictures are not in memory together.
        return [_shrunk(collection, id, side) for id in chunk]

    bar = tqdm(total=len(ids), desc="thumbnails", unit="picture", delay=2, disable=not progress or None)
    with bar, decoding_threads() as pool:
        for images in pool.map(small, chunks):
            yield from images
            bar.update(len(images))


def data_uri(image: Image.Image, quality: int = 70) -> str:
    """Encode a picture as WebP in a data URI, so that a page can show it without a file."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return webp_uri(file.getvalue())


def jpeg(image: Image.Image, side: int) -> bytes:
    """A picture as JPEG, reduced to a square of `side` pixels."""
    file, image = io.BytesIO(), image.copy()
    image.thumbnail((side, side))
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def webp_uri(content: bytes) -> str:
    """The data URI of the content of a WebP file."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def as_base64(values: ArrayLike, dtype: str) -> str:
    """Numbers, as a page reads them."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def query_picture(collection: Collection, query) -> tuple[Image.Image, str, str | None]:
    """The picture of a query, its name ("" if it has none), and its label (None if it has none).

    The query is an id of the collection, a PIL image, a path, or words, which are written on a white square.
    """
    if isinstance(query, Words):
        return written(query), "", None
    if isinstance(query, str) and query in collection:
        (id,), (label,) = collection[[query]].ids, collection[[query]].labels
        (image,) = thumbnails(collection, [id], SHOWN, progress=False)
        return image, id, label
    if isinstance(query, Image.Image):
        return open_image(query, background=collection.background), "", None
    if isinstance(query, (str, os.PathLike)):
        if not (path := check_path(query)).is_file():
            raise MissingKeyError(f"{os.fspath(query)!r} is neither an id of the collection nor a file")
        return open_image(path, **collection.opening), os.fspath(query), None
    raise QueryError(f"a query must be an id, a path or a PIL image, not {type(query).__name__}")


def written(words: Words, side: int = 320) -> Image.Image:
    """The words of a query on a white square."""
    image, text = Image.new("RGB", (side, side), "white"), words.text + words.avoid
    font, most = ImageFont.load_default(side // 10), room_for(text, 17)
    if not text.isascii():
        from .drawing import font_file

        font = ImageFont.truetype(font_file(text), side // 10)
    lines = textwrap.wrap(words.text, most)[:7]
    lines += textwrap.wrap(f"without {words.avoid}", most)[:2] if words.avoid else []
    ImageDraw.Draw(image).multiline_text(
        (side / 2, side / 2), "\n".join(lines), "black", font, anchor="mm", align="center", spacing=side // 32
    )
    return image


def _shrunk(collection: Collection, id: str, side: int) -> Image.Image:
    try:
        image = collection.open(id, 2 * side)
    except PictureError as error:
        return _marked(str(error), side)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _marked(reason: str, side: int) -> Image.Image:
    """A grey square with a word that says why there is no picture; the word is in its `info` too."""
    mark = next((mark for words, mark in MARKS.items() if words in reason), "unreadable")
    image = Image.new("RGB", (side, side), "#dddddd")
    ImageDraw.Draw(image).text((side / 2, side / 2), mark, "#8a3300", ImageFont.load_default(side / 6), "mm")
    image.info["mark"] = mark
    return image
