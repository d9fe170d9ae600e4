"""Which network, layer or fusion to use for a folder of pictures, and how sure that is."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm.auto import tqdm

from ..errors import QueryError, check_integer
from ..features import BEST, FeatureSet, embed, encode_each, extract
from ..index import DiffusionIndex, ExactIndex, Index
from ..intake import Collection
from ..models import BUNDLED, canonical_layer, get_all
from ..store import Store
from .advice import with_labels, without_labels
from .comparison import compare
from .ensemble import fuse_all
from .neighbour_measures import overlap
from .relevance import Relevance

LAYERS = ("logits", "penultimate", "last:gem")
FUSIONS = ("vote", "rrf", "combsum")
EDITED, SHARED, DRAWS = 40, 500, 1000
"""How many pictures are edited, how many query for the agreement, and how many bootstrap samples are drawn."""
LEAST = 5
"""The fewest labels, and the fewest pictures, from which something is recommended."""


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
"""What `recommend` does to pictures without labels, by name: functions from an RGB picture to an RGB picture.

crop: the middle 70% of each side. flip: mirrored. rotate: by 15 degrees. recompress: JPEG of quality 15. colour: hues
rotated by 90 degrees. greyscale. caption: text over the bottom fifth. border: a tenth of the longer side.
"""


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What `recommend` returns.

    Attributes
    ----------
    table : DataFrame
        One row per system, best first; see `recommend`.
    measure : str
        "mAP" with labels, else "MRR" of edited copies.
    system : str
        The one to use.
    advice : str
        Why, and how sure that is, in a few sentences.
    pictures : Collection
        The pictures that were compared: all, or a sample.
    indexes : dict of str to Index
        The networks, layers and the preset, for queries.
    scores : DataFrame
        The measure of each query (rows) by system (columns).
    """

    table: pd.DataFrame
    measure: str
    system: str
    advice: str
    pictures: Collection
    indexes: dict[str, Index]
    scores: pd.DataFrame

    def __repr__(self) -> str:
        return f"{self.table.to_string(index=False, float_format='%.3f')}\n\n{self.advice}"

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="%.3f") + f"<p>{self.advice}</p>"


def recommend(
    collection: Collection,
    models: str | Sequence = BUNDLED,
    *,
    layers: Sequence[str] = LAYERS,
    sample: int = 2000,
    seed: int = 0,
    store: str | Path | Store | None = None,
    progress: bool = True,
) -> Recommendation:
    """Compare networks, layers, fusions and the preset on a collection, and say which to use.

    If at least five labels have two pictures or more, pictures of the same label are relevant to each other, and mAP
    decides. Otherwise, 40 pictures are edited in eight ways (`EDITS`), and the mean reciprocal rank (MRR) of the
    originals is measured. It says how well a system sees through edits, not what it takes for similar, so the preset is
    recommended unless it fails at that.

    Parameters
    ----------
    collection : Collection
    models : str or sequence, default BUNDLED
        See `extract`. The preset is among the systems if its networks are among the models.
    layers : sequence of str, default ("logits", "penultimate", "last:gem")
        Networks without classes have no logits and are compared by the other layers.
    sample : int, default 2000
        How many pictures are compared: a random sample, or all if there are fewer.
    seed : int, default 0
    store : str, path or Store, optional
        Keeps the features for later runs.
    progress : bool, default True

    Returns
    -------
    Recommendation
        Its table has the columns system, mAP or MRR, low and high (its 95% bootstrap interval, by label or by edited
        picture), first (the fraction of the bootstrap samples in which the system is best), agreement (the mean
        fraction of its first ten neighbours that another system shares), ms (for a new picture, once the networks are
        loaded) and kB (on disk, a picture).

    Raises
    ------
    QueryError
        For fewer than five pictures.

    References
    ----------
    Sakai 2006, Evaluating evaluation metrics based on the bootstrap.
    """
    ids = collection.sample(check_integer("sample", sample), seed)
    pictures = collection if len(ids) == len(collection) else collection.subset(ids)
    if len(pictures) < LEAST:
        raise QueryError(f"a comparison needs at least {LEAST} pictures, not {len(pictures)}")
    how = {"store": store, "progress": progress}
    records = get_all(models)
    usable = {of.name: [layer for layer in layers if layer != "logits" or of.classes != 0] for of in records}
    of_preset = BEST.layers if BEST.layers.keys() <= usable.keys() else {}
    extracted = extract(
        pictures, records, {name: [*own, *of_preset.get(name, ())] for name, own in usable.items()}, **how
    )
    pictures = extracted.collection
    parts = {(name, layer): extracted[name, layer] for name, own in of_preset.items() for layer in own}
    preset = DiffusionIndex.build(BEST.reduced(list(parts.values()))) if parts else None
    asked = {(name, canonical_layer(layer)) for name, own in usable.items() for layer in own}
    compared = {key: made for key, made in extracted.items() if key in asked or key not in parts}
    features = FeatureSet(pictures, compared, extracted.extracted)
    indexes: dict[str, Index] = {" ".join(key): ExactIndex.build(made) for key, made in features.items()}
    if preset is not None:
        indexes["preset best"] = preset
    counts = pd.Series(pictures.labels, dtype=object).value_counts()
    if (counts > 1).sum() >= LEAST:
        measure = "mAP"
        scores, groups = _by_label(features, preset, pictures, progress)
    else:
        measure = "MRR"
        scores, groups = _by_edits(features, indexes, pictures, seed, progress)
    weights, sums = _drawn(scores, groups, seed)
    means = (weights @ sums) / (weights @ np.bincount(groups))[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    table = pd.DataFrame({"system": scores.columns, measure: scores.mean().to_numpy(), "low": low, "high": high})
    table["first"] = np.bincount(means.argmax(axis=1), minlength=len(table)) / len(means)
    table["agreement"] = _agreements(features, indexes, list(scores.columns), seed)
    table = table.join(_costs(features, indexes, pictures), on="system")
    table = table.sort_values(measure, ascending=False, kind="stable", ignore_index=True)
    if measure == "MRR":
        system, advice = without_labels(table)
    else:
        system, advice = with_labels(table, pd.DataFrame(means, columns=scores.columns), scores, groups, seed)
    return Recommendation(table, measure, system, advice, pictures, indexes, scores)


def _by_label(features: FeatureSet, preset: Index | None, pictures: Collection, progress: bool) -> tuple:
    """The average precision of each query by system, and the group (Q,) of each query: its label."""
    others = {} if preset is None else {"preset best": preset}
    relevance = Relevance.from_labels(pictures.ids, pictures.labels)
    found = compare(features, relevance, fusions=FUSIONS, others=others, progress=progress)
    scores = pd.DataFrame({name: one.per_query["AP"] for name, one in found.evaluations.items()})
    labels = next(iter(found.evaluations.values())).per_query["label"]
    return scores, pd.factorize(labels)[0]


def _by_edits(features: FeatureSet, indexes: Mapping[str, Index], pictures: Collection, seed: int, progress: bool):
    """The mean reciprocal rank of each edited picture by system, and the group (Q,) of each: itself."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(pictures))[:EDITED])
    ids, scores = pictures.ids, []
    made_by = [index.fingerprint for index in indexes.values()]
    makers = [maker for index in indexes.values() for maker in index.makers]
    for row in tqdm(rows, desc="known items", unit="picture", delay=1, disable=not progress or None):
        image = pictures.open(ids[row])
        edited = [edit(image) for edit in EDITS.values()]
        vectors = zip(indexes.items(), encode_each(edited, made_by, makers), strict=True)
        found = {name: index.search(of, len(index)) for (name, index), of in vectors}
        ranked = _with_fusions(features, found, len(pictures))
        scores.append({name: _reciprocal(*lists, row).mean() for name, lists in ranked.items()})
    return pd.DataFrame(scores), np.arange(len(scores))


def _reciprocal(rows: np.ndarray, distances: np.ndarray, own: int) -> np.ndarray:
    """The reciprocal ranks (E,) of a picture in lists (E, N); 0 where it is missing. Equal distances count as equal."""
    mine = rows == own
    at = np.where(mine, distances, np.nan)
    nearer = distances < np.nanmin(at, axis=1, initial=np.inf)[:, None] - 1e-6
    return np.where(mine.any(axis=1), 1 / (1 + nearer.sum(axis=1)), 0.0)


def _with_fusions(features: FeatureSet, found: Mapping[str, tuple], k: int) -> dict[str, tuple]:
    """Lists (Q, m) of rows and distances by system, and those of the fusions.

    A distance in these is minus the score; in a vote, where most scores are equal, the rank.
    """
    ranked = {name: (rows[:, :k], far[:, :k]) for name, (rows, far) in found.items()}
    for layer in dict.fromkeys(layer for _, layer in features):
        lists = [found[f"{name} {of}"] for name, of in features if of == layer]
        for method in FUSIONS if len(lists) > 1 else ():
            rows, scores = fuse_all(lists, method, k=k)
            far = np.broadcast_to(np.arange(rows.shape[1]), rows.shape) if method == "vote" else -scores
            ranked[f"{method} of {len(lists)} {layer}"] = rows, far
    return ranked


def _agreements(features: FeatureSet, indexes: Mapping[str, Index], systems: list[str], seed: int) -> list[float]:
    """The mean overlap of each system's first ten neighbours with those of each other system."""
    count = len(features.collection)
    own = np.sort(np.random.default_rng(seed).permutation(count)[:SHARED])
    depth = min(50, count - 1)
    found = {name: index.search(index._take(own), depth, own=own) for name, index in indexes.items()}
    lists = [_with_fusions(features, found, min(10, depth))[name][0] for name in systems]
    shared = np.array([[overlap(one, other).mean() for other in lists] for one in lists])
    return ((shared.sum(axis=1) - shared.diagonal()) / max(len(lists) - 1, 1)).tolist()


def _costs(features: FeatureSet, indexes: Mapping[str, Index], pictures: Collection) -> pd.DataFrame:
    """Milliseconds for a new picture and kilobytes on disk a picture, by system."""
    images = [pictures.open(id) for id in pictures.ids[:8]]
    milliseconds = {}
    for name, model in {name: made.makers[0] for (name, _), made in features.items()}.items():
        embed(images[:1], model, "penultimate")
        start = time.perf_counter()
        embed(images, model, "penultimate")
        milliseconds[name] = 1000 * (time.perf_counter() - start) / len(images)
    rows = {
        f"{name} {layer}": (milliseconds[name], made.vectors.shape[1] * 4 / 1000)
        for (name, layer), made in features.items()
    }
    for layer in dict.fromkeys(layer for _, layer in features):
        parts = [rows[f"{name} {of}"] for name, of in features if of == layer]
        for method in FUSIONS:
            rows[f"{method} of {len(parts)} {layer}"] = tuple(map(sum, zip(*parts, strict=True)))
    if "preset best" in indexes:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows deletes no mapped file
            saved = indexes["preset best"].save(Path(folder) / "index")
            size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        rows["preset best"] = sum(milliseconds[name] for name in BEST.layers), size / len(pictures) / 1000
    return pd.DataFrame.from_dict(rows, orient="index", columns=["ms", "kB"])


def _drawn(scores: pd.DataFrame, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each group is in each bootstrap sample (B, G), and the sums (G, S) of the groups' scores."""
    count = groups.max() + 1
    drawn = np.random.default_rng(seed).integers(0, count, (DRAWS, count))
    weights = np.stack([np.bincount(one, minlength=count) for one in drawn]).astype(np.float64)
    return weights, np.stack([np.bincount(groups, scores[name], minlength=count) for name in scores], axis=1)
