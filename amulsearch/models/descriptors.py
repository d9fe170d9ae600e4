"""Classical descriptors, computed from pixels without a network; `extract` takes their records like any other.

They have one layer, "descriptor". "colour" and "hog" need no training and are available by name. SIFT needs a
vocabulary of visual words that is learned from pictures, see `learning.learn_sift`.
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

VERSION = 1
"""Part of every descriptor's fingerprint: raise it when the code here, or that of `learning.learn_sift`, changes what a
descriptor returns."""


@dataclass(frozen=True, eq=False)
class Descriptor(Model):
    """The record of a classical descriptor, such as `models.get("hog")`.

    It has the attributes of `Model`; `build` returns a function from pixels (size, size, 3) uint8 to a vector
    (D - 1,) float32.

    Attributes
    ----------
    words : ndarray of shape (W, 128), float32, or None
        The vocabulary of visual words; None for a descriptor without one.
    weights_of_words : ndarray of shape (W,), float32, or None
        The weight of each word.
    learned : str
        What the vocabulary was learned from, in words.
    library : tuple of 2 str, or None
        The module that computes the descriptor, and the package that holds it; None if numpy does.

    See Also
    --------
    learning.learn_sift : Learn a vocabulary of SIFT words.
    """

    words: np.ndarray | None = field(default=None, repr=False)
    weights_of_words: np.ndarray | None = field(default=None, repr=False)
    learned: str = ""
    library: tuple[str, str] | None = None

    def describe(self) -> dict:
        """Return what determines a vector, as `Model.describe` does; the version of the library is a part of it."""
        described = super().describe()
        del described["pooling"]  # there is none
        library = self.library and f"{self.library[0]} {import_optional(*self.library).__version__}"
        return {**described, "library": library, "version": VERSION}

    def __call__(self, batch: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Compute the vectors of a batch of pictures, in the form in which `Network` returns them.

        Parameters
        ----------
        batch : ndarray of shape (B, size, size, 3), uint8
            Pictures as `preprocess.pixels` returns them.
        layers : sequence of str
            "descriptor" is the only layer.

        Returns
        -------
        dict of str to ndarray of shape (B, D), float32
            The vectors by layer. Each has length 1; the last of the D numbers is 1 if nothing was found, else 0.

        Raises
        ------
        ModelError
            For any other layer.
        """
        for layer in layers:
            if layer != LAYER:
                raise ModelError(f"{self.name} is not a network and has no layer {layer!r}: use {LAYER!r}")
        describe = self.build()
        made = np.stack([_never_zero(describe(pixels)) for pixels in batch])
        return dict.fromkeys(layers, made)


def _never_zero(values: np.ndarray) -> np.ndarray:
    """Scale a vector to length 1 and append a number: 1 if the vector is zero, else 0.

    Blank pictures are then close to each other and orthogonal to all others; a zero vector would have no angle.
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
"""The colour histogram, (513,) float32. The cosine of two is the Bhattacharyya coefficient of their histograms."""

HOG = Descriptor(
    "hog",
    _hog,
    InMemory("scikit-image hog, 9 orientations, cells of 16 pixels, blocks of 2 x 2 by L2-Hys"),
    Preprocess(128, (0.0,) * 3, (1.0,) * 3),
    source="Dalal & Triggs 2005, Histograms of oriented gradients for human detection",
    library=("skimage", "scikit-image"),
)
"""Histograms of the edge directions in each part of the picture, (1765,) float32."""

TABLE = {"colour": COLOUR, "hog": HOG}
