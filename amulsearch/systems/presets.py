"""Presets: complete recipes, by name, of what several networks see in a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import QueryError
from ..features import PCA, Features, concatenate, extract
from ..index import ExactIndex
from ..intake import Collection
from ..models import BUNDLED, INNER, TABLE, Model, get_all
from .diffusion import Diffusion

HUBS = 10
"""The neighbours of each picture by which a preset of joined layers corrects hubs."""


@dataclass(frozen=True)
class Preset:
    """A recipe: layers of several networks, each reduced and whitened by PCA, and how they are searched together.

    `SAME_KIND` and `SAME_THING` are the presets.

    Parameters
    ----------
    name : str
    question : str
        What it looks for, in words.
    layers : mapping of str to tuple of str
        The layers of each network.
    width : int
        The greatest number of components that are kept of a layer.
    whiten : tuple of float
        The powers of the whitening; a layer is taken once for each. See `PCA.fit`.
    view : str, default ""
        What the networks get of each picture, as at the end of a name, see `models.get`; "@blur5" for example.
    joined : int, default 0
        If 0, a diffusion over the graph of all layers ranks the pictures. Otherwise the layers are joined into one
        vector of so many components, whitened by 0.5, which is searched exactly with hub correction.

    Examples
    --------
    >>> import amulsearch as am
    >>> for network, layers in am.systems.SAME_KIND.layers.items():
    ...     print(network, layers)
    squeezenet1_1 ('last:gem', 'features.9:gem')
    tf_efficientnet_lite0 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite1 ('last:gem', 'blocks.5:gem')
    tf_efficientnet_lite2 ('last:gem', 'blocks.5:gem')
    >>> am.systems.SAME_THING.keys[0]
    ('squeezenet1_1@blur3', 'last:gem')
    """

    name: str
    question: str
    layers: Mapping[str, tuple[str, ...]]
    width: int
    whiten: tuple[float, ...]
    view: str = ""
    joined: int = 0

    def build(self, collection: Collection, **options) -> Diffusion | ExactIndex:
        """Extract the layers of a collection, at least 3 pictures, and build the system.

        Parameters
        ----------
        collection : Collection
        **options
            `framing`, `precision`, `store`, `runner` and `progress` of `extract`.
        """
        return self.system(self.layers_of(collection, **options))

    def layers_of(self, collection: Collection, **options) -> list[Features]:
        """Extract the layers as the networks give them, in the order of `keys`; parameters as for `build`."""
        if len(collection) < 3:
            raise QueryError(f"the preset {self.name} needs at least 3 pictures, not {len(collection)}")
        features = extract(collection, list(self.viewed), self.viewed, **options)
        return [features[key] for key in self.keys]

    @property
    def viewed(self) -> dict[str, tuple[str, ...]]:
        """The layers of each network, by its name with the view."""
        return {f"{name}{self.view}": layers for name, layers in self.layers.items()}

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The networks, with the view, and layers, in the order of `layers_of`."""
        return [(name, layer) for name, layers in self.viewed.items() for layer in layers]

    def reduced(self, layers: Sequence[Features]) -> list[Features]:
        """Reduce and whiten layers (N, D), each by every power: parts (N, width) of the graph, or one (N, joined)."""
        parts = [pca(layer) for layer in layers for pca in PCA.fit_all(layer, self.width, self.whiten)]
        if not self.joined:
            return parts
        together = concatenate(parts)
        return [PCA.fit(together, self.joined, whiten=0.5)(together)]

    def system(self, layers: Sequence[Features]) -> Diffusion | ExactIndex:
        """The system over layers that are extracted already."""
        return self.search(self.reduced(layers))

    def search(self, parts: Sequence[Features]) -> Diffusion | ExactIndex:
        """The system over the parts that `reduced` makes."""
        return ExactIndex.build(parts[0], hubs=HUBS) if self.joined else Diffusion.build(parts)

    def fingerprint(self, parts: Sequence[Features]) -> Mapping:
        """That of `search`, which need not be called."""
        return parts[0].fingerprint if self.joined else Diffusion.fingerprint_of(parts)


SAME_KIND = Preset(
    "same-kind",
    "pictures of the same kind",
    {name: ("last:gem", INNER[name]) for name in BUNDLED},
    width=256,
    whiten=(0.5, 1.0),
)
"""Finds pictures of the same kind, such as other animals. The recipe that was best on half of the categories of the
bundled cartoons; lesson 7 tests it on the other half. Whitening by the power 0.5 is better on drawings, full whitening
elsewhere."""

SAME_THING = Preset(
    "same-thing",
    "the same thing, whoever drew it",
    SAME_KIND.layers,
    width=256,
    whiten=(1.0,),
    view="@blur3",
    joined=512,
)
"""Finds the same thing, whoever drew it: the networks see it blurred, so that they compare shapes and not a maker's
line and shading. Chosen on emoji of one pair of makers and on cartoons drawn anew by `course.redrawn`;
`benchmarks/another_hand.py` measures it on others."""

PRESETS = {one.name: one for one in (SAME_KIND, SAME_THING)}


def preset(models: str | Sequence[str] = BUNDLED, name: str = "same-kind") -> Preset:
    """Return the recipe of a preset with other networks; for the bundled ones, `SAME_KIND` or `SAME_THING`.

    Of a network of feature maps, the recipe takes the last map and an inner one, both GeM-pooled; of a transformer, the
    penultimate layer, which the network was trained to fill with meaning, and the patches of an inner block, averaged.
    `models.INNER` names the inner layers of the networks in the table. For others, the rule of `Network.inner_layer`
    does, which loads the network. Only the layers of the bundled networks were chosen by measurements: see with
    `compare` whether the recipe suits other networks.

    Parameters
    ----------
    models : str or sequence of str, default: the four bundled networks
        Names, as for `extract`.
    name : {"same-kind", "same-thing"}
        The question: pictures of the same kind, or of the same thing, whoever drew it.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.preset("alexnet,dinov2_small").layers["alexnet"]
    ('last:gem', 'features.11:gem')
    >>> am.preset("alexnet,dinov2_small").layers["dinov2_small"]
    ('penultimate', 'blocks.8:mean')
    >>> am.preset("bundled", "same-thing") == am.systems.SAME_THING
    True
    """
    if name not in PRESETS:
        raise QueryError(f"there is no preset {name!r}: use one of {', '.join(PRESETS)}")
    layers = {record.name: _layers_of(record) for record in get_all(models)}
    if not layers:
        raise QueryError("a preset needs at least one network")
    return replace(PRESETS[name], layers=layers)


def _layers_of(model: Model) -> tuple[str, ...]:
    if TABLE.get(model.name) == model:
        inner = INNER[model.name]
    else:
        from ..models import load  # imports torch

        inner = load(model).inner_layer()
    first = "last:gem" if inner.endswith(":gem") else "penultimate"
    return tuple(dict.fromkeys((first, inner)))
