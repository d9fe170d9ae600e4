"""What was there before networks: descriptors computed from pixels, as records that `extract` takes like a network's.

They have one layer, "descriptor". "colour" and "hog" learn nothing and go by their names; a vocabulary of SIFT words
is learned from pictures (`learn_sift`) and kept in a file of its own (`save`, `load`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from tqdm.auto import tqdm

from .collection import Collection
from .errors import ModelError, PictureError, StoreError
from .files import replacing
from .inputs import prepared
from .optional import library
from .preprocess import Preprocess
from .record import Model
from .search import check_whole
from .vectors import blocks
from .weights import InMemory

LAYER = "descriptor"
BINS = 8
LOCAL = 300
"""How many SIFT descriptors of a picture are kept, those of the clearest corners."""


@dataclass(frozen=True, eq=False)
class Descriptor(Model):
    """A record whose `build` gives a function from pixels (size, size, 3) uint8 to a vector (D,) float32.

    words: the vocabulary (W, 128) float32 and the weight of each word (W,), where there is one.
    learned: what the vocabulary was learned from, for a reader.
    """

    words: np.ndarray | None = field(default=None, repr=False)
    weights_of_words: np.ndarray | None = field(default=None, repr=False)
    learned: str = ""

    def __call__(self, batch: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors of pictures (B, size, size, 3) uint8, as a network gives them: layer -> (B, D) float32."""
        for layer in layers:
            if layer != LAYER:
                raise ModelError(f"{self.name} is no network and has no layer {layer!r}: its only one is {LAYER!r}")
        describe = self.build()
        made = np.stack([_never_zero(describe(pixels)) for pixels in batch])
        return dict.fromkeys(layers, made)


def _never_zero(values: np.ndarray) -> np.ndarray:
    """The vector at length 1, and after it a number that is 1 where nothing was found, else 0.

    So blank pictures are near each other and at a right angle to all others, where a vector of zeros has no angle.
    """
    length = np.linalg.norm(values)
    return np.append(values / length if length else values, length == 0).astype(np.float32)


def _colour() -> Callable[[np.ndarray], np.ndarray]:
    def describe(pixels: np.ndarray) -> np.ndarray:
        cells = (pixels // (256 // BINS)).astype(np.int64) @ (BINS * BINS, BINS, 1)
        return np.sqrt(np.bincount(cells.ravel(), minlength=BINS**3))

    return describe


def _hog() -> Callable[[np.ndarray], np.ndarray]:
    hog = library("skimage.feature", "scikit-image").hog

    def describe(pixels: np.ndarray) -> np.ndarray:
        return hog(pixels, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2), channel_axis=-1)

    return describe


COLOUR = Descriptor(
    "colour",
    _colour,
    InMemory("root of the counts in 8 x 8 x 8 cells of RGB"),
    Preprocess(128, (0.0,) * 3, (1.0,) * 3),
    source="Swain & Ballard 1991, Color indexing",
)
"""How often each colour is there: (513,). The cosine of two is the Bhattacharyya coefficient of their histograms."""

HOG = Descriptor(
    "hog",
    _hog,
    InMemory("scikit-image hog, 9 orientations, cells of 16 pixels, blocks of 2 x 2 by L2-Hys"),
    Preprocess(128, (0.0,) * 3, (1.0,) * 3),
    source="Dalal & Triggs 2005, Histograms of oriented gradients for human detection",
)
"""Which way edges run in each part of the picture: (1765,)."""

TABLE = {"colour": COLOUR, "hog": HOG}


_INPUT = Preprocess(224, (0.0,) * 3, (1.0,) * 3)


def learn_sift(
    collection: Collection,
    words: int = 500,
    *,
    ids: Sequence[str] | None = None,
    sample: int = 300,
    seed: int = 0,
    progress: bool = True,
) -> Descriptor:
    """A bag of visual words (Sivic & Zisserman 2003, "Video Google"): which patches occur how often, (words + 1,).

    Patches are those of SIFT (Lowe 2004, "Distinctive image features from scale-invariant keypoints") by OpenCV, the
    square root of each descriptor (Arandjelovic & Zisserman 2012, "Three things everyone should know to improve object
    retrieval"), up to 300 a picture. The words are their means (k-means); words that many pictures have weigh less.

    ids: the pictures to learn from, by default `sample` of the collection, drawn with `seed`; seed: also of the means.
        Pictures that are evaluated later may be among them: no label is used.

    Raises ModelError where the pictures have fewer patches than words.
    """
    words, sample = check_whole("words", words, least=2), check_whole("sample", sample)
    seed = check_whole("seed", seed, least=0)
    part = collection.subset(collection.sample(sample, seed) if ids is None else ids)
    cv2, local, found = library("cv2", "opencv-python-headless"), _local(), []
    unlearned = Model("sift", _local, InMemory(""), _INPUT)
    with tqdm(total=len(part), desc="SIFT", unit="picture", delay=2, disable=not progress) as bar:
        for _, chunk in prepared(part, [unlearned], "pad"):
            found += [local(inputs["sift"]) for inputs in chunk if not isinstance(inputs, PictureError)]
            bar.update(len(chunk))
    patches = np.concatenate([np.zeros((0, 128), np.float32), *found])
    if len(patches) < words:
        raise ModelError(
            f"{len(found)} pictures have {len(patches)} SIFT patches, too few for {words} words: give more pictures or "
            "fewer words"
        )
    few = patches[np.random.default_rng(seed).permutation(len(patches))[: 30 * words]]  # more do not move the means
    cv2.setRNGSeed(seed)
    until = (cv2.TERM_CRITERIA_MAX_ITER, 15, 0)
    means = cv2.kmeans(few, words, None, until, 1, cv2.KMEANS_PP_CENTERS)[2]
    has = np.stack([np.bincount(_nearest(one, means), minlength=words) > 0 for one in found])
    weights = np.log((1 + len(has)) / (1 + has.sum(axis=0))).astype(np.float32)
    about = f"{len(found)} pictures, {len(patches)} patches, seed {seed}, opencv {cv2.__version__}"
    return _sift(means, weights, about)


def _nearest(patches: np.ndarray, means: np.ndarray) -> np.ndarray:
    """For each patch (N, 128) the row of the nearest mean, (N,)."""
    squares = (means * means).sum(axis=1)
    rows = [np.argmin(squares - 2 * (block @ means.T), axis=1) for _, block in blocks(patches)]
    return np.concatenate([np.zeros(0, np.int64), *rows])


@lru_cache(maxsize=1)
def _local() -> Callable[[np.ndarray], np.ndarray]:
    """A function from pixels to the root-SIFT descriptors of a picture, (P, 128) float32."""
    cv2 = library("cv2", "opencv-python-headless")
    sift = cv2.SIFT_create(nfeatures=LOCAL)

    def describe(pixels: np.ndarray) -> np.ndarray:
        found = sift.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)[1]
        if found is None:
            return np.zeros((0, 128), np.float32)
        return np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)

    return describe


def _sift(means: np.ndarray, weights: np.ndarray, learned: str) -> Descriptor:
    means, weights = np.ascontiguousarray(means, np.float32), np.ascontiguousarray(weights, np.float32)
    sha = hashlib.sha256(means.tobytes() + weights.tobytes()).hexdigest()

    def build() -> Callable[[np.ndarray], np.ndarray]:
        local = _local()

        def describe(pixels: np.ndarray) -> np.ndarray:
            return np.sqrt(np.bincount(_nearest(local(pixels), means), minlength=len(means)) * weights)

        return describe

    return Descriptor(
        "sift",
        build,
        InMemory(f"{len(means)} words sha256:{sha} of {learned}"),
        _INPUT,
        source="Sivic & Zisserman 2003, Video Google",
        words=means,
        weights_of_words=weights,
        learned=learned,
    )


def save(descriptor: Descriptor, path: str | os.PathLike) -> Path:
    """Keep a vocabulary as a .npz file, without pickle; the path of the file."""
    if descriptor.words is None:
        raise ModelError(f"{descriptor.name} has learned nothing: it needs no file")
    path = Path(path).expanduser().with_suffix(".npz")
    about = np.frombuffer(json.dumps({"learned": descriptor.learned}).encode(), dtype=np.uint8)
    with replacing(path) as (temporary,), temporary.open("wb") as file:
        np.savez(file, about=about, words=descriptor.words, weights=descriptor.weights_of_words)
    return path


def load(path: str | os.PathLike) -> Descriptor:
    """A vocabulary that `save` kept; StoreError where it is missing or damaged."""
    path = Path(path).expanduser()
    try:
        with np.load(path, allow_pickle=False) as file:
            learned = json.loads(file["about"].tobytes())["learned"]
            means, weights = file["words"], file["weights"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise StoreError(f"the vocabulary {path} cannot be read ({error}): learn it anew") from None
    if means.ndim != 2 or means.shape[1:] != (128,) or weights.shape != means.shape[:1]:
        raise StoreError(f"{path} is no vocabulary of SIFT words: learn it anew")
    return _sift(means, weights, learned)
