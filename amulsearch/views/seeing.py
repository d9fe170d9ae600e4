"""What a page needs to find pictures like a new one by itself: a network, and what new vectors are compared with.

The network is SqueezeNet up to its last feature map, which web/src/network.ts computes.
"""

import json
from collections.abc import Mapping

import numpy as np

from ..errors import QueryError
from ..features import PCA, l2_normalize, opening_of
from ..index import Index, System
from ..intake import Collection, colour_of
from ..models import get
from .thumbnails import as_base64

NETWORK, CLASSIFIER = "squeezenet1_1", "conv10"
POOLINGS = {"penultimate": "mean", "last:mean": "mean", "last:gem": "gem"}
"""The layers that the page computes, and how each is pooled from the last feature map."""
MOST = 4_000_000
"""Bytes that this may add to a page unless it is asked for: of 512 values, some 3,000 pictures."""
SAMPLE = 1000
"""With how many pictures of the collection a new one is compared."""


def seeing_data(
    collection: Collection, systems: Mapping[str, System], sees: bool | None
) -> tuple[dict | None, dict[str, dict]]:
    """The network, None if the page is not to see, and what is compared, by the names of the systems that can see.

    sees: None for a page that sees if this takes at most `MOST` bytes. QueryError if it is to see and nothing can.
    """
    layers = {} if sees is False else {name: _layer(system, collection) for name, system in systems.items()}
    layers = {name: layer for name, layer in layers.items() if layer}
    if sees and not layers:
        what = f"the layer penultimate or last:gem of {NETWORK}, whose weights are on this machine"
        raise QueryError(f"the page cannot see: give an index with the metric angular of {what}")
    if not layers:
        return None, {}
    network, compared = _network(collection), {name: _compared(systems[name], layers[name]) for name in layers}
    return (None, {}) if sees is None and len(json.dumps([network, compared])) > MOST else (network, compared)


def _layer(system: System, collection: Collection) -> str | None:
    """The layer of the network that a system compares, perhaps reduced by a PCA; None if the page cannot compute it."""
    if not isinstance(system, Index) or system.metric != "angular" or not system.fingerprint:
        return None
    made = system.fingerprint["of"][0] if "fitted" in system.fingerprint else system.fingerprint
    if made.get("model") != NETWORK or made.get("layer") not in POOLINGS or not get(NETWORK).ready:
        return None
    known = {**get(NETWORK).describe(), "framing": "pad"}
    as_here = opening_of(made) == collection.opening and not collection.opening["frame"]
    return made["layer"] if as_here and {name: made.get(name) for name in known} == known else None


def _network(collection: Collection) -> dict:
    """The weights in float16, and how a picture becomes the input."""
    model, opening = get(NETWORK), collection.opening
    layers = [layer for name, layer in model.weights.read().items() if name != CLASSIFIER]  # in the order of their use
    weights = [part for kernel, bias in layers for part in (kernel.reshape(-1, len(bias)).T.ravel(), bias)]
    return {
        "weights": as_base64(np.concatenate(weights), "<f2"),
        "size": model.preprocess.size,
        "mean": model.preprocess.mean,
        "background": colour_of(opening["background"]),
        "most": opening["max_pixels"],
    }


def _compared(index: Index, layer: str) -> dict:
    """The vectors of an index in 8 bits, low + step * code, and what its distances mean."""
    vectors = l2_normalize(index.take(np.arange(len(index))))
    low = vectors.min(axis=0)
    step = np.maximum((vectors.max(axis=0) - low) / 255, 1e-12)
    fitted = [maker for maker in index.makers if isinstance(maker, PCA) and "fitted" in index.fingerprint]
    return {
        "pooling": POOLINGS[layer],
        "low": as_base64(low, "<f4"),
        "step": as_base64(step, "<f4"),
        "codes": as_base64(np.rint((vectors - low) / step), "<u1"),
        "mean": as_base64(np.concatenate([pca.mean for pca in fitted] or [[]]), "<f4"),
        "axes": as_base64(np.concatenate([pca.axes for pca in fitted] or [[]]), "<f4"),
        "odds": [index.calibration.slope, index.calibration.intercept] if index.calibration else None,
        "spacing": as_base64([] if fitted else index.spacing(SAMPLE), "<f4"),
    }
