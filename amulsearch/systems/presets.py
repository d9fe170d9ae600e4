"""Presets: complete recipes, by name, of what several networks see in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import QueryError
from ..features import PCA, Features, extract
from ..intake import Collection
from ..models import BUNDLED, INNER, TABLE, Model, get_all
from .diffusion import Diffusion


@dataclass(frozen=True)
class Preset:
    """A recipe: layers of several networks, each reduced and whitened by PCA, and a diffusion over their graph.

    `BEST` is one.

    Parameters
    ----------
    name : str
    layers : mapping of str to tuple of str
        The layers of each network.
    width : int
        The greatest number of components that are kept of a layer.
    whiten : tuple of float
        The powers of the whitening; a layer is taken once for each. See `PCA.fit`.

    Examples
    --------
    >>> import amulsearch as am
    >>> for network, layers in am.systems.BEST.layers.items():
    ...     print(network, layers)
    squeezenet1_1 ('last:gem', 'features.9:gem')
    tf_efficientnet_lite0 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite1 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite2 ('last:gem', 'blocks.5:gem')
    """

    name: str
    layers: Mapping[str, tuple[str, ...]]
    width: int
    whiten: tuple[float, ...]

    def build(self, collection: Collection, **options) -> Diffusion:
        """Extract the layers of a collection and build the diffusion.

        Parameters
        ----------
        collection : Collection
        **options
            `framing`, `precision`, `store`, `runner` and `progress` of `extract`.

        Returns
        -------
        Diffusion

        Raises
        ------
        QueryError
            For fewer than 3 pictures.
        """
        return self.diffusion(self.layers_of(collection, **options))

    def layers_of(self, collection: Collection, **options) -> list[Features]:
        """Extract the layers as the networks give them.

        Parameters
        ----------
        collection : Collection
        **options
            As for `build`.

        Returns
        -------
        list of Features
            One for each layer, of the pictures that could be decoded.

        Raises
        ------
        QueryError
            For fewer than 3 pictures.
        """
        if len(collection) < 3:
            raise QueryError(f"the preset {self.name} needs at least 3 pictures, not {len(collection)}")
        features = extract(collection, list(self.layers), self.layers, **options)
        return [features[key] for key in self.keys]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The networks and layers, in the order of `layers_of`."""
        return [(name, layer) for name, layers in self.layers.items() for layer in layers]

    def reduced(self, layers: Sequence[Features]) -> list[Features]:
        """Reduce and whiten layers, each by every power: the parts of the graph.

        Parameters
        ----------
        layers : sequence of Features
            As `layers_of` returns them.

        Returns
        -------
        list of Features
            Each (N, width), or as wide as the layer or as `PCA.fit` allows if that is less.
        """
        return [pca(layer) for layer in layers for pca in PCA.fit_all(layer, self.width, self.whiten)]

    def diffusion(self, layers: Sequence[Features]) -> Diffusion:
        """The diffusion over layers that are extracted already."""
        return Diffusion.build(self.reduced(layers))


BEST = Preset(
    "best",
    {name: ("last:gem", INNER[name]) for name in BUNDLED},
    width=256,
    whiten=(0.5, 1.0),
)
"""The recipe that was best on half of the categories of the bundled cartoons; lesson 7 tests it on the other half.

Whitening by the power 0.5 is better on drawings, full whitening elsewhere."""


def preset(models: str | Sequence[str] = BUNDLED) -> Preset:
    """Return the recipe of `BEST` with other networks.

    Of a network of feature maps, the recipe takes the last map and an inner one, both GeM-pooled; of a transformer, the
    penultimate layer, which the network was trained to fill with meaning, and the patches of an inner block, averaged.
    `models.INNER` names the inner layers of the networks in the table. For others, the rule of `Network.inner_layer`
    does, which loads the network. Only the layers of the bundled networks were chosen by measurements: see with
    `compare` whether the recipe suits other networks.

    Parameters
    ----------
    models : str or sequence of str, default: the four bundled networks
        Names, as for `extract`.

    Returns
    -------
    Preset
        For the bundled networks, that is `BEST`.

    Raises
    ------
    ModelError
        For an unknown model, and if the weights of one that is not in the table cannot be loaded.
    QueryError
        Without a model.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.preset("alexnet,dinov2_small").layers["alexnet"]
    ('last:gem', 'features.11:gem')
    >>> am.preset("alexnet,dinov2_small").layers["dinov2_small"]
    ('penultimate', 'blocks.8:mean')
    >>> am.preset("bundled") == am.systems.BEST
    True
    """
    layers = {record.name: _layers_of(record) for record in get_all(models)}
    if not layers:
        raise QueryError("a preset needs at least one network")
    return replace(BEST, layers=layers)


def _layers_of(model: Model) -> tuple[str, ...]:
    if TABLE.get(model.name) == model:
        inner = INNER[model.name]
    else:
        from ..models import load  # imports torch

        inner = load(model).inner_layer()
    first = "last:gem" if inner.endswith(":gem") else "penultimate"
    return tuple(dict.fromkeys((first, inner)))
