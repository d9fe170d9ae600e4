"""`Model`, the record of a network: everything that is known of it before it is built. And the names of layers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ModelError
from .preprocess import Preprocess
from .weights import Downloaded, HuggingFace, InMemory, Packaged

NOT_DECIDING = ("build", "rename", "penultimate", "fixed_size", "licence", "source")
"""Fields of a record that do not decide a vector, or only what the identity of the weights says as well."""

POOLING_VERSION = 3
"""Part of every network's fingerprint: raise it when `layers.pool`, the place where a layer is read (`Tap`), or the way
in which a network is built changes what it returns."""

VECTORS = ("logits", "penultimate", "cls")
"""Layers that are vectors and take no pooling."""


@dataclass(frozen=True)
class Model:
    """The record of a network; `get` and `own` make them."""

    name: str
    build: Callable[[], Any]
    """Makes the `torch.nn.Module`, with random weights."""
    weights: Packaged | Downloaded | HuggingFace | InMemory
    preprocess: Preprocess
    penultimate: int | None = None
    """Width of the penultimate layer, the input of the classifier; None if it is known only once built."""
    classes: int | None = None
    """Width of the classifier; 0 for a network without one, whose output is its penultimate layer; None as above."""
    head: str | None = None
    """Name of the classifier module, whose input is the penultimate layer; None to find it automatically."""
    feature_map: str | None = None
    """Name of the module that outputs the last feature map, the layer "last"; None to find it automatically."""
    rename: Callable[[dict, dict], dict] | None = None
    """Converts the state dict of the file to the names of the module, given both state dicts."""
    fixed_size: bool = False
    """Whether the network is built for one size of input: another size needs another position embedding."""
    licence: str = "not known"
    source: str = ""
    """Where the weights come from, for the table of networks."""

    @property
    def ready(self) -> bool:
        """Whether the weights are on this machine."""
        return self.weights.find() is not None

    @property
    def versioned(self) -> bool:
        """Whether a fingerprint knows the code; that of `own` it knows by its version only."""
        return getattr(self.weights, "versioned", True)

    def describe(self) -> dict:
        """Everything but the picture and the layer that determines a vector, for the fingerprint of features.

        Every field counts unless `NOT_DECIDING` names it, so that a new one cannot be forgotten. A missing file of
        weights is downloaded.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in NOT_DECIDING}
        described = {"weights": self.weights.identity, "preprocess": self.preprocess.describe()}
        return {"model": values.pop("name"), **values, **described, "pooling": POOLING_VERSION}


def canonical_layer(layer: str) -> str:
    """The full name of a layer: feature maps without a pooling get ":mean", as in "last:mean"."""
    if not isinstance(layer, str):
        raise ModelError(f"a layer must be a name (a string) such as penultimate, not {type(layer).__name__}")
    return layer if layer in VECTORS or ":" in layer else f"{layer}:mean"


def layer_names(layers: str | Iterable[str]) -> list[str]:
    """One layer or several as a list; ModelError for what is no name."""
    if not isinstance(layers, Iterable):
        raise ModelError(f"layers must be names (strings) such as penultimate, not {type(layers).__name__}")
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        canonical_layer(name)
    return names
