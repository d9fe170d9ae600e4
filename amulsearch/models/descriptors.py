"""What was there before networks: descriptors computed from pixels, as records that `extract` takes like a network's.

They have one layer, "descriptor". "colour" and "hog" learn nothing and are known by name; a vocabulary of SIFT words
is learned from pictures, see `learning.vocabulary`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError, import_optional
from .preprocess import Preprocess
from .record import Model
from .weights import InMemory

LAYER = "descriptor"
BINS = 8


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
    hog = import_optional("skimage.feature", "scikit-image").hog

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
