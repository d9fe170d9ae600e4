"""A network ready to run: built, with its weights loaded and checked, and with access to any of its layers."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isqrt
from threading import RLock

import numpy as np
import pandas as pd
import torch

from ..errors import AmulsearchError, ModelError, QueryError, first_line
from ..intake import Decoded
from . import registry
from .architectures import LOADING, import_torchvision
from .checkpoints import fill
from .devices import DEVICES, device, products
from .preprocess import OwnTransform
from .record import VECTORS, Model, canonical_layer, layer_names

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
POOLINGS = ("mean", "gem")
GEM_P = 3.0
"""The exponent p of generalised-mean (GeM) pooling, see `pool`."""


@lru_cache(maxsize=1)
def categories() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, in the order of the logits of networks trained on them.

    The names come from the metadata of torchvision's weights.

    Returns
    -------
    tuple of 1,000 str
    """
    return tuple(import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def load(model: str | Model, precision: str = "float32") -> Network:
    """Load the network of a record with its weights, in evaluation mode.

    The last 12 networks are cached. A weights file that has changed is read again, and so are the weights of a network
    whose module was changed after it was loaded.

    Parameters
    ----------
    model : str or Model
        A name, see `get`, or a record, see `own`.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        The type of weights and activations. "tf32" is float32 whose products an NVIDIA GPU computes with 10 bits of
        mantissa; float32 never does, whatever torch's own default is.

    Returns
    -------
    Network

    Raises
    ------
    ModelError
        If the weights are missing and cannot be downloaded, are damaged, or do not fit the architecture.
    QueryError
        If the precision is unknown.
    """
    model = registry.get(model)
    if precision not in PRECISIONS:
        raise QueryError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")
    with _told(model):
        identity = model.weights.identity
    with LOADING, torch.inference_mode(False):  # in that mode, no network for gradients can be made
        network = _load(model, precision, identity)
        if network.changed:
            _load.cache_clear()
            network = _load(model, precision, identity)
        return network


@lru_cache(maxsize=12)
def _load(model: Model, precision: str, identity: str) -> Network:
    with _told(model):
        state = model.weights.read()  # before building, so that a missing file is reported at once
    module = model.build()
    if state is not None:
        fill(module, state, model.name, model.source, model.rename)
    return Network(
        model, module, torch.float32 if precision == "tf32" else getattr(torch, precision), precision == "tf32"
    )


@contextmanager
def _told(model: Model) -> Iterator[None]:
    """Name the model in an error about its weights, and the networks that can be used instead."""
    try:
        yield
    except ModelError as error:
        # Without this model: the damaged file may be its own.
        ready = [name for name in registry.ready() if registry.TABLE[name] != model]
        raise ModelError(f"{model.name}: {error}. Ready on this machine: {', '.join(ready)}") from None


@dataclass(frozen=True)
class Tap:
    """Where a layer is read, the input or the output of a module, and how a feature map or tokens are pooled."""

    module: str  # "" is the network itself
    side: str  # "in" or "out"
    pooling: str = "mean"  # or "gem", or "cls": the first token


class Network:
    """A network in evaluation mode that computes the vectors of its layers; `load` makes one from a record.

    Parameters
    ----------
    model : Model
        The record.
    module : torch.nn.Module
        The network with its weights. In float32 it is used itself, else a copy.
    dtype : torch.dtype, default torch.float32
        The type of weights and activations.
    tf32 : bool, default False
        Let an NVIDIA GPU compute products of float32 with 10 bits of mantissa.

    Attributes
    ----------
    model : Model
    module : torch.nn.Module
        The module in evaluation mode, on `device`, without gradients.
    modules : dict of str to torch.nn.Module
        All inner modules by name.
    device : torch.device
        See `device`.
    dtype : torch.dtype
    tf32 : bool
    config : DeviceConfig
    lock : threading.RLock
        Held while hooks read a pass: what one thread reads must not be what another thread's pictures gave.
    prefix : int
        How many tokens a transformer puts before those of the places in the picture: its class token and registers.
    """

    def __init__(self, model: Model, module: torch.nn.Module, dtype: torch.dtype = torch.float32, tf32: bool = False):
        self.model, self.dtype, self.tf32, self.device = model, dtype, tf32, device()
        self.config = DEVICES[self.device.type]
        self._format = torch.channels_last if self.config.channels_last else torch.contiguous_format
        if dtype != torch.float32:
            module = copy.deepcopy(module)  # the user's module stays unchanged
        module.eval()
        for value in module.parameters():  # not by the module, which cannot do it if it is a script
            value.detach_()
        self.module = module.to(self.device, dtype, memory_format=self._format)
        self.modules = dict(module.named_modules())
        self.prefix = getattr(module, "num_prefix_tokens", None) or int(self._has_class_token)
        self._taps: dict[str, Tap] = {}
        self.lock = RLock()
        self._loaded = self._state()

    def _state(self) -> list[tuple]:
        """What differs once a module was replaced, a hook was added, or weights were changed in place."""
        values = (*self.module.parameters(), *self.module.buffers())
        hooks = [(id(module), *module._forward_hooks, *module._forward_pre_hooks) for module in self.module.modules()]
        return [*hooks, *((id(value), 0 if value.is_inference() else value._version) for value in values)]

    @property
    def changed(self) -> bool:
        """Whether the module was changed since the network was made; `load` then makes another one."""
        with self.lock:
            return self._state() != self._loaded

    def __call__(self, batch: np.ndarray, layers: str | list[str]) -> dict[str, np.ndarray]:
        """Compute the vectors of a batch of pictures.

        Parameters
        ----------
        batch : ndarray of shape (B, size, size, 3), uint8
            Pictures as `model.preprocess.pixels` returns them.
        layers : str or list of str
            The names of layers, see `tap`.

        Returns
        -------
        dict of str to ndarray of shape (B, D), float32
            The vectors by layer; D depends on the layer.

        Raises
        ------
        ModelError
            For an unknown layer, and for a layer that outputs no tensor.
        QueryError
            If `batch` is no such array.
        """
        own = isinstance(self.model.preprocess, OwnTransform)
        form = "(B, 3, H, W) float32" if own else "(B, size, size, 3) uint8"
        fits = isinstance(batch, np.ndarray) and batch.ndim == 4 and batch.shape[1 if own else 3] == 3
        if not fits or batch.dtype != form.split()[-1]:
            what = f"{batch.shape} {batch.dtype}" if isinstance(batch, np.ndarray) else type(batch).__name__
            raise QueryError(f"{self.model.name} takes an array {form}, not {what}: see model.preprocess.pixels")
        layers = layer_names(layers)
        with torch.inference_mode():
            vectors = self.vectors(torch.from_numpy(batch).to(self.device), layers)
            return {layer: values.cpu().numpy() for layer, values in vectors.items()}

    def vectors(self, batch: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """Compute the vectors of a batch of pictures as tensors, see `__call__`.

        Parameters
        ----------
        batch : torch.Tensor of shape (B, size, size, 3), uint8
            On the network's device.
        layers : list of str

        Returns
        -------
        dict of str to torch.Tensor of shape (B, D), float32
            On the network's device.
        """
        values = self.model.preprocess.normalise(batch)
        seen = self.run(values.to(self.dtype, memory_format=self._format), layers)
        return {layer: self.pooled(seen[layer].float(), layer) for layer in layers}

    def pooled(self, values: torch.Tensor, layer: str) -> torch.Tensor:
        """Pool the output of a layer to one vector per picture, without the class token and the registers.

        Parameters
        ----------
        values : torch.Tensor
            What `run` returns for the layer.
        layer : str

        Returns
        -------
        torch.Tensor of shape (B, D)
        """
        pooling = self.tap(layer).pooling
        if pooling == "cls":
            return values[:, 0]
        grid = self.grid(values.shape[1:]) if values.ndim == 3 else None
        return pool(values[:, grid[0] :] if grid else values, pooling)

    def grid(self, shape: tuple[int, int]) -> tuple[int, int] | None:
        """Find the places of the picture among tokens.

        Parameters
        ----------
        shape : tuple of 2 int
            The shape (T, D) of the tokens of one picture.

        Returns
        -------
        tuple of 2 int, or None
            How many tokens come before the grid, and its side; None if the tokens form no square grid.
        """
        for before in (self.prefix, 0):  # some networks add the class token in their last blocks
            side = isqrt(max(int(shape[0]) - before, 0))
            if side > 1 and side * side == shape[0] - before:
                return before, side
        return None

    def run(self, values: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """Compute the output of layers before pooling.

        Parameters
        ----------
        values : torch.Tensor of shape (B, 3, H, W)
            Normalised pictures of the network's `dtype`, on its device.
        layers : list of str

        Returns
        -------
        dict of str to torch.Tensor
            At least the given layers: vectors (B, D), tokens (B, T, D) or feature maps (B, D, H, W).

        Raises
        ------
        ModelError
            If the network fails on pictures of this size or does not return one (B, classes) tensor, or a layer outputs
            no tensor that can be pooled.
        """
        seen: dict[str, torch.Tensor] = {}
        taps = {layer: self.tap(layer) for layer in layers}
        with self.lock:
            self.module.eval()  # who trains it may have left it in the other mode
            handles = [self._watch(layer, tap, seen) for layer, tap in taps.items() if tap.module]
            try:
                with products(self.device, self.tf32), torch.autocast(self.device.type, enabled=False):
                    output = self.module(values)
            except Exception as error:  # transformers refuse other sizes than their own; one's own module, anything
                if isinstance(error, AmulsearchError) or "memory" in str(error):
                    raise
                told = f"{self.model.name} takes no pictures of {values.shape[-1]} pixels: {first_line(error)}"
                raise ModelError(told) from error
            finally:
                for handle in handles:
                    handle.remove()
        if not _usable(output, len(values)) or output.ndim != 2:
            raise ModelError(f"{self.model.name}: the network must return one (B, classes) tensor")
        seen |= {layer: output for layer, tap in taps.items() if not tap.module}
        for layer in layers:
            if not _usable(seen.get(layer), len(values)):
                raise ModelError(f"{self.model.name}: {layer} outputs no tensor to pool: choose another layer")
        return seen

    def _watch(self, layer: str, tap: Tap, seen: dict):
        module = self.modules[tap.module]
        if tap.side == "in":

            def take(_, inputs, named):  # some are called with the name of their argument
                seen[layer] = next(iter((*inputs, *named.values())), None)

            return module.register_forward_pre_hook(take, with_kwargs=True)

        def keep(_, inputs, output):  # a copy, because many networks next apply ReLU to the map in place
            seen[layer] = output.clone() if isinstance(output, torch.Tensor) else output

        return module.register_forward_hook(keep)

    def tap(self, layer: str) -> Tap:
        """Find where a layer is read.

        Parameters
        ----------
        layer : str
            "logits" (the output of its classifier), "penultimate" (the input of its classifier, or the output of a
            network without one), "last" (its last feature map, or the tokens of a transformer's places), "cls" (a
            transformer's class token, read where "last" is), or the name of an inner module (its output). The name of
            a feature map or of tokens may end in ":mean" (the default) or ":gem", its pooling.

        Returns
        -------
        Tap
            The module, its side ("in" or "out") and the pooling.

        Raises
        ------
        ModelError
            If the network has no such layer, or the pooling is unknown.
        """
        canonical_layer(layer)  # refuses what is no name
        if layer not in self._taps:
            self._taps[layer] = self._find_tap(layer)
        return self._taps[layer]

    def _find_tap(self, layer: str) -> Tap:
        node, pooled, pooling = layer.partition(":")
        if pooled and pooling not in POOLINGS:
            raise ModelError(f"unknown pooling {pooling!r} in {layer!r}: use {' or '.join(POOLINGS)}")
        if node in VECTORS and pooling:
            raise ModelError(f"{node} is already a vector: write it without :{pooling}")
        if node == "logits" and self.model.classes != 0:
            return Tap("", "out")
        if node == "penultimate":
            return Tap("", "out") if self.model.classes == 0 else Tap(self.model.head or self._find_head(), "in")
        if node == "last":
            return Tap(self.model.feature_map or self._find_feature_map(), "out", pooling or "mean")
        if node == "cls" and self._has_class_token:
            return Tap(self.tap("last").module, "out", "cls")
        if node in self.modules and node:
            return Tap(node, "out", pooling or "mean")
        usual = [*registry.main_layers(self.model), *(["cls"] if self._has_class_token else []), "last:gem"]
        near = [name for name in self.modules if "." not in name and name]
        missing = "no classes, and therefore no layer" if node == "logits" else "no layer"
        raise ModelError(
            f"{self.model.name} has {missing} {layer!r}: use {', '.join(usual)}, or the name of a module "
            f"such as {', '.join(near[:8])} (am.models.load(model).nodes() lists all modules)"
        )

    @property
    def _has_class_token(self) -> bool:
        tokens = (getattr(self.module, name, None) for name in ("cls_token", "class_token"))
        return any(isinstance(token, torch.Tensor) for token in tokens)

    def _find_head(self) -> str:
        """Find the classifier: the last linear or convolutional module to run that is as wide as the output."""
        classes = self(self.blank(), ["logits"])["logits"].shape[1]
        modules = ((name, self.modules[name]) for name in self._nodes["node"])
        widths = {name: getattr(one, "out_features", getattr(one, "out_channels", None)) for name, one in modules}
        heads = [name for name, width in widths.items() if width == classes]
        if not heads:
            raise ModelError(f"{self.model.name}: no classifier was found: name it with head=")
        return heads[-1]

    def _find_feature_map(self) -> str:
        """Find the last module that outputs a feature map, or the tokens of a transformer's places."""
        nodes = self._nodes[(self._nodes["node"] != self.tap("penultimate").module) & (self._nodes["side"] > 1)]
        outer = nodes[~nodes["node"].str.contains(".", regex=False)]
        tokens = len(outer) and len(outer["shape"].iloc[-1]) == 2
        maps = outer if tokens else nodes[nodes["shape"].map(len) == 3]
        if maps.empty or maps.index[-1] < self._nodes.index[-1] / 2:  # an embedding at the very start is not the last
            usual = ", ".join(registry.main_layers(self.model))
            raise ModelError(f"{self.model.name} has no feature map: use {usual} or the name of a module")
        return maps["node"].iloc[-1]

    @cached_property
    def _nodes(self) -> pd.DataFrame:
        """`nodes`, each once, with the column side: that of its grid of places, 0 for a vector and within attention."""
        nodes = self.nodes().drop_duplicates("node", keep="last")
        inside = nodes["node"].str.contains(".attn.", regex=False)
        return nodes.assign(side=nodes["shape"].map(self._side).where(~inside, 0).astype(int))

    def _side(self, shape: tuple[int, ...]) -> int:
        if len(shape) == 2:
            return (self.grid(shape) or (0, 0))[1]
        return min(_spatial(shape)) if len(shape) == 3 else 0

    @property
    def blocks(self) -> list[str]:
        """The names of a transformer's blocks, in order; none for a network whose last layer is a feature map."""
        alike = set(self._alike)
        for name, module in self.modules.items() if alike else ():
            if name and isinstance(module, (torch.nn.Sequential, torch.nn.ModuleList)):
                inner = [f"{name}.{child}" for child, _ in module.named_children()]
                if len(inner) > 1 and alike.issuperset(inner):
                    return inner
        return []

    @property
    def attended(self) -> list[str]:
        """The module that gives what a transformer's last attention reads, in a list; none without blocks."""
        last = f"{(self.blocks or [''])[-1]}."
        return [node for node in self._alike if node.startswith(last)][:1]

    @property
    def _alike(self) -> list[str]:
        """The modules that give tokens as the layer "last" does, in the order in which they finish."""
        found = zip(self._nodes["node"], self._nodes["shape"], self._nodes["side"], strict=True)
        kinds = {node: (side, shape[1]) for node, shape, side in found if len(shape) == 2}
        last = kinds.get(self.tap("last").module)
        return [node for node, kind in kinds.items() if kind == last and last is not None]

    def inner_layer(self) -> str:
        """Name the layer that a preset takes below the last one, where there is meaning but not yet the classes.

        Returns
        -------
        str
            Of a network of feature maps, the last of the next larger size, GeM-pooled, among the outermost modules that
            have this size; "last:gem" if there is none. Of a transformer, the block at three quarters of its depth,
            averaged: unlike the maps after a rectifier, its values are negative half the time, which GeM would drop.
        """
        if blocks := self.blocks:
            return f"{blocks[-(-3 * len(blocks) // 4) - 1]}:mean"
        maps = self._nodes[self._nodes["shape"].map(len) == 3]
        larger = maps[maps["side"] > maps["side"][maps["node"] == self.tap("last").module].max()]
        larger = larger[larger["side"] == larger["side"].min()]["node"]
        depth = larger.str.count(r"\.")
        return f"{larger[depth == depth.min()].iloc[-1]}:gem" if len(larger) else "last:gem"

    def nodes(self) -> pd.DataFrame:
        """List the inner modules in the order in which they finish; each is a layer.

        Returns
        -------
        DataFrame
            Columns: node (the layer's name), kind (the class), shape (of the output for one picture, tuple of int),
            width (D of the pooled vector).
        """
        rows = []

        def note(name):
            def hook(module, inputs, output):
                if _usable(output, 1):
                    shape = tuple(output.shape[1:])
                    rows.append((name, type(module).__name__, shape, pool(output, "mean").shape[1]))

            return hook

        with self.lock:
            handles = [module.register_forward_hook(note(name)) for name, module in self.modules.items() if name]
            try:
                self(self.blank(), [])
            finally:
                for handle in handles:
                    handle.remove()
        return pd.DataFrame(rows, columns=["node", "kind", "shape", "width"])

    def stages(self) -> pd.DataFrame:
        """List the last feature map of each size, in the order in which they finish, or every third block.

        The blocks are those of a transformer, whose tokens are as many at every depth.

        Returns
        -------
        DataFrame
            Columns node and shape, as in `nodes`. The last row is the layer "last", under this name.
        """
        last, blocks = self.tap("last").module, self.blocks
        nodes = self._nodes[: int(np.argmax(self._nodes["node"] == last)) + 1]  # what comes after it is no feature map
        if blocks:
            stages = nodes[nodes["node"].isin([*blocks[:-1][::3], last])]
        else:
            maps = nodes[nodes["shape"].map(len).eq(3) & (nodes["side"] > 1) | (nodes["node"] == last)]
            stages = maps[~maps["side"].duplicated(keep="last")]
        return stages[["node", "shape"]].replace({"node": {last: "last"}}).reset_index(drop=True)

    def blank(self) -> np.ndarray:
        """Return a batch of one black picture, as `model.preprocess.pixels` prepares it: (1, size, size, 3) uint8."""
        black = Decoded(np.zeros((64, 64, 3), dtype=np.uint8), (64, 64))
        return self.model.preprocess.pixels(black, "squash", "white")[None]


def _usable(output, count: int) -> bool:
    """Whether this is a tensor of numbers for each of so many pictures."""
    tensor = isinstance(output, torch.Tensor) and output.ndim >= 2 and output.is_floating_point()
    return tensor and output.shape[0] == count


def pool(values: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool the output of a layer to one vector per picture.

    Parameters
    ----------
    values : torch.Tensor
        Feature maps (B, D, H, W) or (B, H, W, D), tokens (B, T, D), or vectors (B, D), which stay as they are.
    pooling : {"mean", "gem"}
        The mean over all positions, or the generalised mean: the p-th root of the mean of the p-th powers, p = 3.

    Returns
    -------
    torch.Tensor of shape (B, D)

    Raises
    ------
    ModelError
        For an unknown pooling.

    References
    ----------
    Radenović, Tolias & Chum 2018, Fine-tuning CNN image retrieval with no human annotation.
    """
    if pooling not in POOLINGS:
        raise ModelError(f"unknown pooling {pooling!r}: use {' or '.join(POOLINGS)}")
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
    peak = values.amax(places, keepdim=True)  # powers of large values would overflow in float16
    return (values / peak).pow(GEM_P).mean(places).pow(1 / GEM_P) * peak.flatten(1)


def spatial_dims(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the spatial dimensions of a batch of feature maps.

    Inputs are square, so the spatial dimensions are the two of equal size; in doubt, channels come first.

    Parameters
    ----------
    shape : tuple of 3 int
        The shape of one feature map, without the batch.

    Returns
    -------
    tuple of 2 int
        (2, 3) for (B, D, H, W), or (1, 2) for (B, H, W, D).
    """
    channels_last = shape[0] == shape[1] and shape[1] != shape[2]
    return (1, 2) if channels_last else (2, 3)


def _spatial(shape: tuple[int, int, int]) -> tuple[int, int]:
    return tuple(shape[dim - 1] for dim in spatial_dims(shape))


logging.getLogger("timm").setLevel(logging.ERROR)
