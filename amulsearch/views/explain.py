"""Why two pictures are alike, and why a picture has a class: what each place of a feature map brings to the number.

The share of a place is its activations times the gradient of the number with respect to them, summed over the channels.
For vectors pooled by the mean this is the similarity map of Stylianou, Souvenir & Pless 2019 ("Visualizing deep
similarity networks"), for logits of pooled maps the class activation map of Zhou et al. 2016 ("Learning deep features
for discriminative localization"), and in general HiResCAM (Draelos & Carin 2020). Where scaling the map scales the
vector, as with the mean, GeM and rectifiers, the shares add up to the number (Euler). Where layers with a bias lie
between, a rest remains, and it is stated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .. import models
from ..errors import ModelError, QueryError
from ..features import Features, l2_normalize, pixels_of
from ..index import find_class
from ..models import Model, Preprocess, canonical_layer

if TYPE_CHECKING:
    import torch

    from ..models import Network


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What each place of a picture brings to a number.

    picture: (S, S, 3) uint8 RGB, the picture as it was framed for the network.
    values: (H, W) float32, one for each place of the feature map; negative where it speaks against.
    total: the number that is explained; of: what that is, in words.
    """

    picture: np.ndarray
    values: np.ndarray
    total: float
    of: str

    @property
    def rest(self) -> float:
        """The part of the number that no place brings: 0 but for rounding where the map explains it in full."""
        return self.total - float(self.values.sum(dtype=np.float64))

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"HeatMap({self.of} {self.total:.3f}: {height} x {width} places, rest {self.rest:.3f})"


def similarity_maps(
    query: Image.Image,
    match: Image.Image,
    model: str | Model,
    layer: str = "penultimate",
    *,
    against: Features | None = None,
    framing: str = "pad",
    background: str = "white",
) -> tuple[HeatMap, HeatMap]:
    """Which places make two pictures similar: the heat maps of the query and of the match.

    layer: "penultimate", "logits", "last:gem" or any map, as for `extract`. The shares are those of its own map, or of
        the last feature map for the first two.
    against: the features of a collection. Without it both maps add up to the cosine of the two pictures, of which a
        large part is what all pictures have in common. With it a map adds up to that cosine minus the mean cosine of
        its own picture with the collection: what makes this pair more alike than any.
    framing, background: as the features were made, see `extract`.
    """
    network, layer = _network(model), canonical_layer(layer)
    framed = np.stack([pixels_of(image, network.model, framing, background) for image in (query, match)])

    def cosines(vectors: torch.Tensor) -> torch.Tensor:
        """Each picture's cosine with the other, less the usual; only its own vector counts as a variable."""
        units = vectors / vectors.detach().norm(dim=1, keepdim=True)
        others = units.detach().flip(0)
        if against is not None:
            others = others - others.new_tensor(_usual(against, network, layer, vectors.shape[1]))
        return (units * others).sum(1)

    values, totals = _shares(network, framed, layer, _map_of(network, layer), cosines)
    of = "cosine" if against is None else "cosine above the usual"
    first, second = (HeatMap(_shown(network, framed[row]), values[row], float(totals[row]), of) for row in (0, 1))
    return first, second


def class_map(
    image: Image.Image,
    model: str | Model,
    category: str | int,
    *,
    framing: str = "pad",
    background: str = "white",
) -> HeatMap:
    """Which places make a network take a picture for a class: a class activation map, which explains its logit.

    category: the class, by name or number, see `find_class`. For a network whose classes are not ImageNet's a number.
    """
    network = _network(model)
    pixels = pixels_of(image, network.model, framing, background)
    found: list[tuple[int, str]] = []

    def logit(logits: torch.Tensor) -> torch.Tensor:
        found[:] = [find_class(category, logits.shape[1])]
        return logits[:, found[0][0]]

    values, totals = _shares(network, pixels[None], "logits", _map_of(network, "logits"), logit)
    return HeatMap(_shown(network, pixels), values[0], float(totals[0]), f"logit of {found[0][1]}")


def _network(model: str | Model) -> Network:
    from ..models import load

    return load(models.get(model))


def _shown(network: Network, pixels: np.ndarray) -> np.ndarray:
    """A network's input as an RGB picture (S, S, 3) uint8."""
    if isinstance(network.model.preprocess, Preprocess):
        return np.ascontiguousarray(pixels[..., ::-1]) if network.model.preprocess.channels == "BGR" else pixels
    values = pixels.transpose(1, 2, 0)  # of a transform of the user's own only the result is known
    spread = max(float(np.ptp(values)), 1e-12)
    return np.uint8((values - values.min()) / spread * 255)


def _usual(against: Features, network: Network, layer: str, width: int) -> np.ndarray:
    """The mean of the unit vectors (D,): its product with a unit vector is the mean cosine with the collection."""
    made = {"model": network.model.name, "layer": layer}
    if against.vectors.shape[1] != width or any(against.fingerprint.get(key, of) != of for key, of in made.items()):
        raise QueryError(f"against= must be features of {network.model.name} {layer}, not of {against.name}")
    return l2_normalize(against.vectors).mean(axis=0, dtype=np.float64).astype(np.float32)


def _map_of(network: Network, layer: str) -> str:
    """The module whose output has the places: of a layer that is no map, the last map; for logits the map of classes
    where the classifier gives one."""
    if layer not in ("logits", "penultimate"):
        return network.tap(layer).module
    head = network.tap("penultimate").module
    if layer == "logits" and type(network.modules[head]).__name__ == "Conv2d":
        return head
    return network.tap("last").module


def _shares(
    network: Network,
    pixels: np.ndarray,
    layer: str,
    place: str,
    numbers: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[np.ndarray, np.ndarray]:
    """What each place of the module's map brings to `numbers` of the layer's vectors, from (B, D) to (B,), of prepared
    pictures (B, ...): (B, H, W) float32; and the numbers."""
    import torch

    from ..models import pool, spatial_dims

    maps: list[torch.Tensor] = []

    def restart(module, inputs, output):
        """The gradient is taken with respect to the map as it is here; a copy goes on and may be changed in place."""
        if not isinstance(output, torch.Tensor) or output.ndim != 4:
            raise ModelError(f"{network.model.name}: {place} gives no map of places; explain another layer")
        maps[:] = [output.detach().requires_grad_()]
        return maps[0].clone()

    handle = network.modules[place].register_forward_hook(restart)
    try:
        with torch.enable_grad():
            values = network.model.preprocess.normalise(torch.from_numpy(pixels).to(network.device))
            seen = network.run(values.contiguous(memory_format=torch.channels_last), [layer])[layer]
            explained = numbers(pool(seen, network.tap(layer).pooling))
            (gradient,) = torch.autograd.grad(explained.sum(), maps[0], allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        raise ModelError(f"{network.model.name}: {layer} does not depend on the map {place}; explain another layer")
    shares = maps[0].detach() * gradient
    channels = ({1, 2, 3} - set(spatial_dims(tuple(shares.shape[1:])))).pop()
    return shares.sum(channels).cpu().numpy(), explained.detach().cpu().numpy()
