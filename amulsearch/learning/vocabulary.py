"""Vocabularies of SIFT words, learned from pictures; `extract` accepts them like a network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from tqdm.auto import tqdm

from ..errors import ModelError, PictureError, StoreError, check_integer, import_optional
from ..features import prepared
from ..intake import Collection
from ..models import Descriptor, InMemory, Model, Preprocess
from ..store import blocks, replacing

LOCAL = 300
"""How many SIFT descriptors are kept of a picture: those of the strongest keypoints."""

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
    """Learn a bag of visual words: how often each kind of patch occurs in a picture.

    The patches are root-SIFT descriptors, computed by OpenCV, up to 300 per picture. The words are their k-means
    centres; words that occur in many pictures weigh less. No label is used, so pictures that are evaluated later may
    be among those that the words are learned from.

    Parameters
    ----------
    collection : Collection
        The pictures. Those that cannot be decoded are skipped.
    words : int, default 500
        Size of the vocabulary, at least 2.
    ids : sequence of str, optional
        The pictures to learn from; by default, a random sample.
    sample : int, default 300
        Size of the random sample; ignored if `ids` is given.
    seed : int, default 0
        Seed of the sample and of k-means.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    Descriptor
        A model that `extract` accepts. Its only layer, "descriptor", gives vectors of shape (words + 1,), float32.

    Raises
    ------
    ModelError
        If the pictures have fewer patches than `words`.
    AmulsearchError
        If OpenCV is not installed.
    QueryError
        If a parameter is out of range or an id is unknown.

    References
    ----------
    Sivic & Zisserman 2003, Video Google: a text retrieval approach to object matching in videos.
    Lowe 2004, Distinctive image features from scale-invariant keypoints.
    Arandjelović & Zisserman 2012, Three things everyone should know to improve object retrieval.
    """
    words, sample = check_integer("words", words, least=2), check_integer("sample", sample)
    seed = check_integer("seed", seed, least=0)
    part = collection.subset(collection.sample(sample, seed) if ids is None else ids)
    cv2, local, found = import_optional("cv2", "opencv-python-headless"), _local(), []
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
    few = patches[np.random.default_rng(seed).permutation(len(patches))[: 30 * words]]  # more would not move the means
    cv2.setRNGSeed(seed)
    until = (cv2.TERM_CRITERIA_MAX_ITER, 15, 0)
    means = cv2.kmeans(few, words, None, until, 1, cv2.KMEANS_PP_CENTERS)[2]
    has = np.stack([np.bincount(_nearest(one, means), minlength=words) > 0 for one in found])
    weights = np.log((1 + len(has)) / (1 + has.sum(axis=0))).astype(np.float32)
    about = f"{len(found)} pictures, {len(patches)} patches, seed {seed}, opencv {cv2.__version__}"
    return _sift(means, weights, about)


def _nearest(patches: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The row of the nearest mean for each patch (N, 128), (N,) int64."""
    squares = (means * means).sum(axis=1)
    rows = [np.argmin(squares - 2 * (block @ means.T), axis=1) for _, block in blocks(patches)]
    return np.concatenate([np.zeros(0, np.int64), *rows])


@lru_cache(maxsize=1)
def _local() -> Callable[[np.ndarray], np.ndarray]:
    """A function from the pixels of a picture to its root-SIFT descriptors, (P, 128) float32."""
    cv2 = import_optional("cv2", "opencv-python-headless")
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
        library=("cv2", "opencv-python-headless"),
    )


def save_vocabulary(descriptor: Descriptor, path: str | os.PathLike) -> Path:
    """Save a vocabulary as an ``.npz`` file, without pickle.

    Parameters
    ----------
    descriptor : Descriptor
        A vocabulary from `learn_sift`.
    path : path
        Where to save it; the ending becomes ``.npz``.

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    ModelError
        If the descriptor has no vocabulary.
    StoreError
        If the file cannot be written.
    """
    if descriptor.words is None:
        raise ModelError(f"{descriptor.name} has no vocabulary to save: it needs no file")
    path = Path(path).expanduser().with_suffix(".npz")
    about = np.frombuffer(json.dumps({"learned": descriptor.learned}).encode(), dtype=np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=about, words=descriptor.words, weights=descriptor.weights_of_words)
    return path


def load_vocabulary(path: str | os.PathLike) -> Descriptor:
    """Load a vocabulary that `save_vocabulary` saved.

    Parameters
    ----------
    path : path
        The ``.npz`` file.

    Returns
    -------
    Descriptor
        A model that `extract` accepts.

    Raises
    ------
    StoreError
        If the file is missing, damaged, or holds something else.
    """
    path = Path(path).expanduser()
    try:
        with np.load(path, allow_pickle=False) as file:
            learned = json.loads(file["about"].tobytes())["learned"]
            means, weights = file["words"], file["weights"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise StoreError(f"the vocabulary {path} cannot be read ({error}): run learn_sift again") from None
    if means.ndim != 2 or means.shape[1:] != (128,) or weights.shape != means.shape[:1]:
        raise StoreError(f"{path} is not a vocabulary of SIFT words: run learn_sift again")
    return _sift(means, weights, learned)
