"""Presets: complete recipes from pictures to vectors, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import QueryError
from ..intake import Collection
from .extraction import extract
from .features import Features
from .transforms import PCA, Expansion, concatenate

WHITENED = (0.5, 1.0)
"""The powers of the whitenings of `Preset.parts`."""


@dataclass(frozen=True)
class Preset:
    """A recipe: layers of several networks, concatenated, reduced and whitened by PCA, and expanded.

    `BEST` is one.

    Parameters
    ----------
    name : str
    layers : mapping of str to tuple of str
        The layers of each network.
    width, whiten
        See `PCA.fit`.
    k, alpha
        See `Expansion.fit`.

    Examples
    --------
    >>> import amulsearch as am
    >>> for network, layers in am.BEST.layers.items():
    ...     print(network, layers)
    squeezenet1_1 ('last:gem', 'features.9:gem')
    tf_efficientnet_lite0 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite1 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite2 ('last:gem', 'blocks.5:gem')
    """

    name: str
    layers: Mapping[str, tuple[str, ...]]
    width: int
    whiten: float
    k: int
    alpha: float

    def features(self, collection: Collection, **options) -> Features:
        """Compute the vectors of a collection.

        In a small collection, the vectors have at most N - 1 components, and the expansion uses fewer neighbours (one
        per 50 pictures, none below 50): among few pictures, the nearest are often unrelated.

        Parameters
        ----------
        collection : Collection
        **options
            `framing`, `precision`, `store`, `runner` and `progress` of `extract`.

        Returns
        -------
        Features
            Vectors of shape (N, width), float32.

        Raises
        ------
        QueryError
            For fewer than 3 pictures.
        """
        joined = concatenate(self._extracted(collection, options))
        reduced = _reduced(joined, self.width, self.whiten)
        k = min(self.k, len(joined) // 50)
        return Expansion.fit(reduced, k, alpha=self.alpha)(reduced) if k else reduced

    def parts(self, collection: Collection, **options) -> list[Features]:
        """Compute the vectors of each layer of each network by itself, for a graph on which they agree.

        Each is reduced to at most 256 components, twice: whitened by the power 0.5, which is better on drawings, and
        fully, which is better elsewhere.

        Parameters
        ----------
        collection : Collection
        **options
            As for `features`.

        Returns
        -------
        list of Features
            For `indexes.DiffusionIndex.build` and `indexes.NeighbourGraph.build`.

        Raises
        ------
        QueryError
            For fewer than 3 pictures.
        """
        parts = self._extracted(collection, options)
        return [_reduced(part, 256, whiten) for part in parts for whiten in WHITENED]

    def _extracted(self, collection: Collection, options: Mapping) -> list[Features]:
        """The layers of all networks, each with the pictures that all could use."""
        if len(collection) < 3:
            raise QueryError(f"the preset {self.name} needs at least 3 pictures, not {len(collection)}")
        parts = {}
        for layers in dict.fromkeys(self.layers.values()):
            names = [name for name, of in self.layers.items() if of == layers]
            made = extract(collection, names, layers, **options)
            collection = made.collection  # without the pictures that could not be decoded
            parts |= {(name, layer): made[name, layer] for name in names for layer in layers}
        return [parts[name, layer] for name, layers in self.layers.items() for layer in layers]


def _reduced(features: Features, width: int, whiten: float) -> Features:
    width = min(width, len(features) - 1, features.vectors.shape[1])
    return PCA.fit(features, width, whiten=whiten)(features)


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
"""The recipe that was best on half of the categories of the bundled cartoons; notebook 7 tests it on the other half."""

PRESETS = {preset.name: preset for preset in (BEST,)}
"""All presets by name."""
