"""Whole recipes from pictures to vectors, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import QueryError
from ..intake import Collection
from .extraction import extract
from .features import Features
from .transforms import PCA, Expansion, concatenate


@dataclass(frozen=True)
class Preset:
    """Layers of several networks joined, reduced and whitened, and moved towards their neighbours.

    layers: network -> its layers; width, whiten: see `PCA.fit`; k, alpha: see `Expansion.fit`.
    """

    name: str
    layers: Mapping[str, tuple[str, ...]]
    width: int
    whiten: float
    k: int
    alpha: float

    def features(self, collection: Collection, **options) -> Features:
        """The vectors of a collection, (N, width) float32; options: framing, precision, store, progress of `extract`.

        In a small collection the vectors are narrower (one less than the pictures) and fewer neighbours are added
        (one for every 50 pictures; none below 50): the neighbours of a picture among few are often no kin of it.

        Raises QueryError for fewer than three pictures.
        """
        if len(collection) < 3:
            raise QueryError(f"the preset {self.name} needs at least 3 pictures, and there are {len(collection)}")
        parts = {}
        for layers in dict.fromkeys(self.layers.values()):
            names = [name for name, of in self.layers.items() if of == layers]
            made = extract(collection, names, layers, **options)
            collection = made.collection  # without the pictures that could not be decoded
            parts |= {(name, layer): made[name, layer] for name in names for layer in layers}
        joined = concatenate([parts[name, layer] for name, layers in self.layers.items() for layer in layers])
        width = min(self.width, len(joined) - 1, joined.vectors.shape[1])
        reduced = PCA.fit(joined, width, whiten=self.whiten)(joined)
        k = min(self.k, len(joined) // 50)
        return Expansion.fit(reduced, k, alpha=self.alpha)(reduced) if k else reduced


_LITE = ("last:gem", "blocks.5:gem")

BEST = Preset(
    "best",
    {
        "squeezenet1_1": ("last:gem", "features.9:gem"),
        **{f"tf_efficientnet_lite{number}": _LITE for number in (0, 1, 2)},
    },
    width=512,
    whiten=0.5,
    k=5,
    alpha=2.0,
)
"""What did best on half of the categories of the bundled cartoons; notebook 7 shows it on the other half."""

PRESETS = {preset.name: preset for preset in (BEST,)}
