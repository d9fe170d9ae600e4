"""What is known of a network before it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .preprocess import OwnTransform, Preprocess
from .weights import Downloaded, HuggingFace, InMemory, OwnFile, Packaged


@dataclass(frozen=True)
class Model:
    """What is known of a network before it is built.

    build: makes the `torch.nn.Module` with random weights.
    weights: which weights exactly, where they are, how they are read (see `weights.py`).
    rename: turns the state dict of the file into the module's, given both.
    penultimate: width of the vector under the classifier; None where it is known only once built.
    head: name of the classifying module, whose input is the penultimate layer; found by itself where None.
    feature_map: name of the module that gives the last feature map, the layer "last"; found by itself where None.
    """

    name: str
    build: Callable[[], Any]
    weights: Packaged | Downloaded | HuggingFace | OwnFile | InMemory
    preprocess: Preprocess | OwnTransform
    penultimate: int | None = None
    head: str | None = None
    feature_map: str | None = None
    rename: Callable[[dict, dict], dict] | None = None
    licence: str = "not known"
    source: str = ""

    @property
    def ready(self) -> bool:
        """Whether the weights are on this machine."""
        return self.weights.find() is not None

    def describe(self) -> dict:
        """What decides the vectors, besides the picture: part of a fingerprint."""
        return {
            "model": self.name,
            "weights": self.weights.identity,
            "preprocess": self.preprocess.describe(),
        }


def canonical_layer(layer: str) -> str:
    """The full name of a layer: a map without a pooling is pooled by its mean."""
    return layer if layer in ("logits", "penultimate", "descriptor") or ":" in layer else f"{layer}:mean"
