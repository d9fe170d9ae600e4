"""Known-item search, a test without labels: an edited picture must find its original."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm.auto import tqdm

from ..errors import QueryError, check_integer
from ..index import Index
from ..intake import Collection


def _crop(image: Image.Image) -> Image.Image:
    """The middle 70% of each side."""
    width, height = image.size
    left, top = round(0.15 * width), round(0.15 * height)
    return image.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


def _recompress(image: Image.Image) -> Image.Image:
    """JPEG of quality 15."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=15)
    return Image.open(file).convert("RGB")


def _colour(image: Image.Image) -> Image.Image:
    """All hues rotated by 90 degrees."""
    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda h: (h + 64) % 256), saturation, value)).convert("RGB")


def _caption(image: Image.Image) -> Image.Image:
    """White text on black over the bottom fifth."""
    width, height = image.size
    edited, band = image.copy(), max(1, height // 5)
    draw = ImageDraw.Draw(edited)
    draw.rectangle((0, height - band, width, height), fill="black")
    font = ImageFont.load_default(size=max(6, min(band // 2, width // 9)))
    draw.text((width / 2, height - band / 2), "Once upon a time", fill="white", font=font, anchor="mm")
    return edited


def _border(image: Image.Image) -> Image.Image:
    """A dark red border, a tenth of the longer side wide."""
    return ImageOps.expand(image, max(1, max(image.size) // 10), fill=(120, 0, 0))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "crop": _crop,
    "flip": ImageOps.mirror,
    "rotate": lambda image: image.rotate(15, Image.Resampling.BICUBIC, expand=True, fillcolor="white"),
    "recompress": _recompress,
    "colour": _colour,
    "greyscale": lambda image: image.convert("L").convert("RGB"),
    "caption": _caption,
    "border": _border,
}
"""The default edits of `known_items`, by name: functions from an RGB picture to an RGB picture.

crop: the middle 70% of each side. flip: mirrored. rotate: by 15 degrees. recompress: JPEG of quality 15. colour: hues
rotated by 90 degrees. greyscale. caption: text over the bottom fifth. border: a tenth of the longer side.
"""


def known_items(
    collection: Collection,
    index: Index,
    *,
    edits: Mapping[str, Callable[[Image.Image], Image.Image]] = EDITS,
    sample: int = 50,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Query an index with edited pictures of its collection, and find the rank of each original.

    Parameters
    ----------
    collection : Collection
    index : Index
        Built from features of this collection.
    edits : mapping of name to function, default EDITS
        Functions from an RGB picture to an RGB picture.
    sample : int, default 50
        How many pictures are edited: a random sample, or all if there are fewer.
    seed : int, default 0
    progress : bool, default True

    Returns
    -------
    DataFrame
        Columns edit, id, rank (of the original, from 1); one row for each edit of each picture. Pictures as near as
        the original to within 1e-6, such as its duplicates, do not lower its rank.

    Raises
    ------
    QueryError
        If the index was built from another collection, or from vectors without a model.

    See Also
    --------
    mean_reciprocal_rank : The mean over the pictures.
    """
    if sorted(index.ids) != sorted(collection.ids):
        raise QueryError(
            "the index holds other pictures than the collection: build it from features of this collection"
        )
    chosen = np.random.default_rng(seed).permutation(len(index))[: check_integer("sample", sample)]
    ids, ranks = index.ids, []
    for own in tqdm(chosen, desc="known items", unit="picture", delay=1, disable=not progress or None):
        image = collection.open(ids[own])
        rows, distances = index.search(index.encode([edit(image) for edit in edits.values()]), len(index))
        nearer = distances < distances[rows == own][:, None] - 1e-6
        ranks += zip(edits, [ids[own]] * len(edits), (1 + nearer.sum(axis=1)).tolist(), strict=True)
    return pd.DataFrame(ranks, columns=["edit", "id", "rank"])


def mean_reciprocal_rank(found: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean reciprocal rank for each edit.

    Parameters
    ----------
    found : DataFrame
        The result of `known_items`.

    Returns
    -------
    DataFrame
        Indexed by edit, with the columns MRR and recall@1 (the fraction of originals at rank 1), both from 0 to 1.
    """
    measures = found.assign(**{"MRR": 1 / found["rank"], "recall@1": (found["rank"] == 1).astype(float)})
    return measures.groupby("edit", sort=False)[["MRR", "recall@1"]].mean()
