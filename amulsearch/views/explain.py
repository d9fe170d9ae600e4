"""Heat maps: how much each place of a picture contributes to a similarity.

A place is one of a feature map, or the token of a patch in a transformer. Its contribution is its activations times the
gradient of the number with respect to them, summed over the channels. For vectors pooled by the mean this is the
similarity map of Stylianou, Souvenir & Pless 2019 ("Visualizing deep similarity networks"), and in general HiResCAM
(Draelos & Carin 2020). If scaling the map scales the vector, as with the mean, GeM and rectifiers, the contributions
add up to the number (Euler's theorem on homogeneous functions). If layers with a bias lie in between, a rest remains;
so do the contributions of a transformer's class token and registers, which have no place. Where only the class token
decides, as in many transformers, what the attention of the last block reads is explained: the tokens after the block's
first normalisation. (Before it they would contribute nothing: scaling a token does not change what a normalisation
returns.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..errors import ModelError, QueryError
from ..features import Features, l2_normalize, pixels_of
from ..models import Model, Network, canonical_layer, load, spatial_dims


@dataclass(frozen=True, eq=False)
class HeatMap:
    """How much each place of a picture contributes to a number.

    Attributes
    ----------
    picture : ndarray of shape (S, S, 3), uint8
        The picture in RGB, as it was framed for the network.
    values : ndarray of shape (H, W), float32
        The contribution of each place of the feature map, or of each patch of a transformer; negative if it lowers the
        number.
    total : float
        The number that is explained.
    quantity : str
        What that number is, for captions.
    """

    picture: np.ndarray
    values: np.ndarray
    total: float
    quantity: str

    @property
    def rest(self) -> float:
        """The part of `total` that no place contributes; 0 up to rounding if the map explains all of it."""
        return self.total - float(self.values.sum(dtype=np.float64))

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"HeatMap({self.quantity} {self.total:.3f}: {height} x {width} places, rest {self.rest:.3f})"


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
    """Show which places make two pictures similar.

    Parameters
    ----------
    query, match : PIL.Image.Image
        The two pictures.
    model : str or Model
        The network.
    layer : str, default "penultimate"
        "penultimate", "logits", "cls", "last:gem" or any feature map or tokens, as for `extract`. The contributions are
        those of the map itself; for a layer that is a vector, those of the last map.
    against : Features, optional
        The features of a collection, of the same model and layer. Without them, each map adds up to the cosine of the
        two pictures, and a large part of that is common to all pictures. With them, each map adds up to that cosine
        minus the mean cosine of its own picture with the collection: what makes this pair more similar than most.
    framing : {"pad", "crop", "squash"}, default "pad"
        As for `extract`.
    background : str, default "white"
        Colour behind transparent parts, as for `Collection.from_folder`.

    Returns
    -------
    query_map, match_map : HeatMap
        The heat maps of the query and of the match. `rest` is not 0 if the layer has a bias after the map.

    Raises
    ------
    ModelError
        If the model or the layer is unknown, or the layer has no feature map.
    QueryError
        If `query` or `match` is not a PIL image, or `against` is of another model or layer.

    References
    ----------
    Stylianou, Souvenir & Pless 2019, Visualizing deep similarity networks.
    """
    network, layer = load(model), canonical_layer(layer)
    pixels = np.stack([pixels_of(image, network.model, framing, background) for image in (query, match)])

    def cosines(vectors: torch.Tensor) -> torch.Tensor:
        """The cosine of each picture with the other, minus the mean; differentiable in its own vector only."""
        units = vectors / vectors.detach().norm(dim=1, keepdim=True)
        others = units.detach().flip(0)
        if against is not None:
            others = others - others.new_tensor(_mean_unit(against, network, layer, vectors.shape[1]))
        return (units * others).sum(1)

    for module in _explained_modules(network, layer):
        values, totals = _contributions(module, network, pixels, layer, cosines)
        if values.any():  # else only the class token decides
            break
    quantity = "cosine" if against is None else "cosine above the mean"
    first, second = (HeatMap(_shown(network, pixels[row]), values[row], float(totals[row]), quantity) for row in (0, 1))
    return first, second


def _shown(network: Network, pixels: np.ndarray) -> np.ndarray:
    """The input of a network as an RGB picture (S, S, 3) uint8."""
    return np.ascontiguousarray(pixels[..., ::-1]) if network.model.preprocess.channels == "BGR" else pixels


def _mean_unit(against: Features, network: Network, layer: str, width: int) -> np.ndarray:
    """The mean of the unit vectors, (D,): its product with a unit vector is the mean cosine with the collection."""
    source = {"model": network.model.name, "layer": layer}
    if against.vectors.shape[1] != width or any(
        against.fingerprint.get(key, name) != name for key, name in source.items()
    ):
        raise QueryError(f"against= must be features of {network.model.name} {layer}, not of {against.name}")
    return l2_normalize(against.vectors).mean(axis=0, dtype=np.float64).astype(np.float32)


def _explained_modules(network: Network, layer: str) -> list[str]:
    """The modules whose output may be explained, the first choice first: the layer itself, or the last map if the layer
    is a vector; for logits, the map of classes if the classifier is a convolution."""
    if layer not in ("logits", "penultimate", "cls"):
        return [network.tap(layer).module]
    head = network.tap("penultimate").module
    if layer == "logits" and isinstance(network.modules[head], torch.nn.Conv2d):
        return [head]
    return [network.tap("last").module, *network.attended]


def _contributions(
    module: str, network: Network, pixels: np.ndarray, layer: str, score: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """The contributions (B, H, W) of the places of a module's output to the scores of a layer's vectors, and the scores
    (B,)."""
    maps: list[torch.Tensor] = []

    def restart(_, inputs, output):
        """Keep the map for the gradient and pass on a copy, which later modules may change in place."""
        tokens = isinstance(output, torch.Tensor) and output.ndim == 3 and network.grid(output.shape[1:])
        if not isinstance(output, torch.Tensor) or not (output.ndim == 4 or tokens):
            raise ModelError(f"{network.model.name}: {module} gives no feature map: choose another layer")
        maps[:] = [output.detach().requires_grad_()]
        return maps[0].clone()

    with network.lock, torch.enable_grad():
        handle = network.modules[module].register_forward_hook(restart)
        try:
            values = network.model.preprocess.normalise(torch.from_numpy(pixels).to(network.device))
            output = network.run(values.contiguous(memory_format=torch.channels_last), [layer])[layer]
        finally:
            handle.remove()
        scores = score(network.pooled(output, layer))
        (gradient,) = torch.autograd.grad(scores.sum(), maps[0], allow_unused=True)
    if gradient is None:
        raise ModelError(f"{network.model.name}: {layer} does not depend on the map {module}: choose another layer")
    shares = maps[0].detach() * gradient
    if shares.ndim == 3:
        before, side = network.grid(shares.shape[1:])
        shares = shares[:, before:].sum(2).unflatten(1, (side, side))
    else:
        (channels,) = {1, 2, 3} - set(spatial_dims(tuple(shares.shape[1:])))
        shares = shares.sum(channels)
    return shares.cpu().numpy(), scores.detach().cpu().numpy()
