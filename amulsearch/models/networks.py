"""A network ready to run: built, its weights loaded and checked, and any of its layers tapped."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from ..errors import ModelError
from ..intake import Decoded
from . import registry
from .architectures import import_torchvision
from .record import Model
from .weights import OwnFile

POOLINGS = ("mean", "gem")
GEM_P = 3.0
"""The exponent of generalised-mean pooling (Radenovic, Tolias & Chum 2018, "Fine-tuning CNN image retrieval")."""


@lru_cache(maxsize=1)
def categories() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the logits of every network trained on them.

    Source: the metadata of torchvision's weights.
    """
    return tuple(import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def load(model: Model, precision: str = "float32") -> Network:
    """The network of a record with its weights, in evaluation mode, kept for the next call.

    precision: "float32", "bfloat16" or "float16", of weights and activations.

    Raises ModelError where the weights are missing and cannot be fetched, are damaged, or do not fit.
    """
    path = model.weights.find() if isinstance(model.weights, OwnFile) else None
    return _load(model, precision, path.stat().st_mtime_ns if path else 0)  # a checkpoint saved anew is loaded anew


@lru_cache(maxsize=12)
def _load(model: Model, precision: str, saved_at: int) -> Network:
    try:
        state = model.weights.read()  # before building: a missing file is told at once
    except ModelError as error:
        ready = [
            name for name in registry.ready() if registry.TABLE[name] != model
        ]  # its own file may be the damaged one
        raise ModelError(f"{model.name}: {error}. Ready on this machine: {', '.join(ready)}") from None
    module = model.build()
    if state is not None:
        _fill(module, state, model)
    return Network(model, module, getattr(torch, precision))


def device() -> torch.device:
    """Where networks run: a CUDA or Apple GPU where there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _fill(module: torch.nn.Module, state: dict, model: Model) -> None:
    own = module.state_dict()
    try:
        module.load_state_dict(model.rename(state, own) if model.rename else state)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(f"{model.name}: the checkpoint is of another network: {' '.join(lines[:3])[:300]}") from None
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"{model.name}: the checkpoint holds NaN or infinite values in {name}")


@dataclass(frozen=True)
class Tap:
    """Where a layer is read: what goes into a module or what comes out of it, and how a map becomes a vector."""

    module: str
    side: str  # "in" or "out"
    pooling: str = "mean"


class Network:
    """A network in evaluation mode that gives the vectors of its layers for a batch of prepared pictures."""

    def __init__(self, model: Model, module: torch.nn.Module, dtype: torch.dtype = torch.float32):
        self.model, self.dtype, self.device = model, dtype, device()
        if dtype != torch.float32:
            module = copy.deepcopy(module)  # a module of the user's own stays as it is
        module.eval().requires_grad_(False)
        self.module = module.to(self.device, dtype, memory_format=torch.channels_last)
        self.modules = dict(module.named_modules())
        self._taps: dict[str, Tap] = {}

    def __call__(self, batch: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
        """Vectors of the layers, layer -> (B, D) float32, of a batch of what `preprocess.pixels` gives."""
        with torch.inference_mode():
            vectors = self.vectors(torch.from_numpy(batch).to(self.device), layers)
            return {layer: values.cpu().numpy() for layer, values in vectors.items()}

    def vectors(self, batch: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """What calling the network gives, as tensors on its device."""
        values = self.model.preprocess.normalise(batch)
        seen = self.run(values.to(self.dtype, memory_format=torch.channels_last), layers)
        return {layer: pool(seen[layer].float(), self.tap(layer).pooling) for layer in layers}

    def run(self, values: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """What the layers give for normalised pictures (B, 3, H, W), before pooling."""
        seen: dict[str, torch.Tensor] = {}
        handles = [self._watch(layer, seen) for layer in layers if layer != "logits"]
        try:
            seen["logits"] = self.module(values)
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(seen["logits"], torch.Tensor) or seen["logits"].ndim != 2:
            raise ModelError(f"{self.model.name}: the network must give one (B, classes) tensor")
        for layer in layers:
            if not isinstance(seen.get(layer), torch.Tensor) or seen[layer].ndim < 2:
                raise ModelError(f"{self.model.name}: {layer} gives no tensor to pool; choose another layer")
        return seen

    def _watch(self, layer: str, seen: dict):
        tap = self.tap(layer)
        module = self.modules[tap.module]
        if tap.side == "in":
            return module.register_forward_pre_hook(lambda _, inputs: seen.__setitem__(layer, inputs[0]))

        def keep(_, inputs, output):  # a copy: many networks rectify a map in place right after
            seen[layer] = output.clone() if isinstance(output, torch.Tensor) else output

        return module.register_forward_hook(keep)

    def tap(self, layer: str) -> Tap:
        """What a layer's name stands for.

        "logits": the network's output; "penultimate": what goes into its classifier; "last": its last feature map;
        any other name: the output of the module of that name. ":mean" (default) or ":gem" after a map's name says
        how it is pooled. Raises ModelError for a name that the network does not have.
        """
        if layer not in self._taps:
            self._taps[layer] = self._find_tap(layer)
        return self._taps[layer]

    def _find_tap(self, layer: str) -> Tap:
        node, _, pooling = layer.partition(":")
        if pooling and pooling not in POOLINGS:
            raise ModelError(f"unknown pooling {pooling!r} in {layer!r}: use {' or '.join(POOLINGS)}")
        if node in ("logits", "penultimate") and pooling:
            raise ModelError(f"{node} is a vector already: write it without :{pooling}")
        if node == "logits":
            return Tap("", "out")
        if node == "penultimate":
            return Tap(self.model.head or self._find_head(), "in")
        if node == "last":
            return Tap(self.model.feature_map or self._find_feature_map(), "out", pooling or "mean")
        if node in self.modules and node:
            return Tap(node, "out", pooling or "mean")
        near = [name for name in self.modules if "." not in name and name]
        raise ModelError(
            f"{self.model.name} has no layer {layer!r}: use logits, penultimate, last:gem, or a module's name "
            f"such as {', '.join(near[:8])} (all of them: am.networks.load(...).nodes())"
        )

    def _find_head(self) -> str:
        """The last linear or convolutional module as wide as the output: what classifies."""
        classes = self(self.blank(), ["logits"])["logits"].shape[1]
        widths = {
            name: getattr(module, "out_features", getattr(module, "out_channels", None))
            for name, module in self.modules.items()
        }
        heads = [name for name, width in widths.items() if width == classes]
        if not heads:
            raise ModelError(f"{self.model.name}: no classifying layer was found; name it with head=")
        return heads[-1]

    def _find_feature_map(self) -> str:
        nodes = self.nodes()
        maps = nodes[nodes["shape"].map(lambda shape: len(shape) == 3 and min(_spatial(shape)) > 1)]
        head = self.model.head or self._find_head()
        maps = maps[maps["node"] != head]
        # In a vision transformer only the embedding of the patches is a map, at the very start.
        if maps.empty or maps.index[-1] < len(nodes) / 2:
            raise ModelError(f"{self.model.name} has no feature map; use logits, penultimate or a module's name")
        return maps["node"].iloc[-1]

    def nodes(self) -> pd.DataFrame:
        """The inner modules in the order they finish: node, kind, shape (of one picture), width once pooled."""
        rows = []

        def note(name):
            def hook(module, inputs, output):
                if isinstance(output, torch.Tensor) and output.ndim >= 2:
                    shape = tuple(output.shape[1:])
                    rows.append((name, type(module).__name__, shape, pool(output, "mean").shape[1]))

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in self.modules.items() if name]
        try:
            self(self.blank(), ["logits"])
        finally:
            for handle in handles:
                handle.remove()
        return pd.DataFrame(rows, columns=["node", "kind", "shape", "width"])

    def blank(self) -> np.ndarray:
        """A prepared batch of one black picture."""
        black = Decoded(np.zeros((64, 64, 3), dtype=np.uint8), (64, 64))
        return self.model.preprocess.pixels(black, "squash", "white")[None]


def pool(values: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector a picture, (B, D), from a feature map (B, D, H, W) or (B, H, W, D), tokens (B, T, D), vectors.

    pooling: "mean", or "gem", the mean of the p-th powers under the p-th root with p = 3.
    """
    if values.ndim == 2:
        return values
    if values.ndim == 4:
        places = spatial_dims(tuple(values.shape[1:]))
    elif values.ndim == 3:
        places = (1,)
    else:
        return values.flatten(1)
    if pooling == "mean":
        return values.mean(places)
    values = values.clamp(min=1e-6)
    peak = values.amax(places, keepdim=True)  # powers of large values are beyond float16
    return (values / peak).pow(GEM_P).mean(places).pow(1 / GEM_P) * peak.flatten(1)


def spatial_dims(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Which dimensions of (B, ...) are places: inputs are square, so the two equal ones; channels first if in doubt."""
    channels_last = shape[0] == shape[1] and shape[1] != shape[2]
    return (1, 2) if channels_last else (2, 3)


def _spatial(shape: tuple[int, int, int]) -> tuple[int, int]:
    return tuple(shape[dim - 1] for dim in spatial_dims(shape))


logging.getLogger("timm").setLevel(logging.ERROR)
