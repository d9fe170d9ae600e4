"""`load` and `Network`: a network ready to run, with its weights loaded and checked, and any of its layers."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import cached_property, lru_cache
from threading import RLock

import numpy as np
import pandas as pd
import torch

from ..errors import AmulsearchError, ModelError, QueryError, first_line
from .architectures import LOADING, import_torchvision
from .catalogue import get, main_layers
from .checkpoints import fill
from .devices import DEVICES, device, full_products
from .layers import POOLINGS, Node, Tap, blocks_of, grid, inner_map, last_map, like, pool, side_of, stages_of
from .model import VECTORS, Model, canonical_layer, layer_names

PRECISIONS = ("float32", "bfloat16", "float16")

logging.getLogger("timm").setLevel(logging.ERROR)


@lru_cache(maxsize=1)
def categories() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the logits of networks trained on them."""
    return tuple(import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def load(model: str | Model, precision: str = "float32") -> Network:
    """Load the network of a record with its weights, in evaluation mode.

    The last 12 networks are cached. A weights file that has changed is read again, and so are the weights of a network
    whose module was changed after it was loaded.

    Parameters
    ----------
    model : str or Model
        A name, see `get`, or a record, see `own`.
    precision : {"float32", "bfloat16", "float16"}
        The type of weights and activations. float32 is never TF32, whatever torch's own default is.

    Raises
    ------
    ModelError
        If the weights are missing and cannot be downloaded, are damaged, or do not fit the architecture.
    """
    model = get(model)
    if precision not in PRECISIONS:
        raise QueryError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")
    with LOADING, torch.inference_mode(False):  # in that mode, no network for gradients can be made
        try:
            network = _load(model, precision, model.weights.identity)
            if network.changed:
                _load.cache_clear()
                network = _load(model, precision, model.weights.identity)
        except ModelError as error:
            raise ModelError(f"{model.name}: {error}") from None
        return network


@lru_cache(maxsize=12)
def _load(model: Model, precision: str, identity: str) -> Network:
    state = model.weights.read()  # before building, so that a missing file is reported at once
    module = model.build()
    if state is not None:
        fill(module, state, model.rename)
    return Network(model, module, getattr(torch, precision))


class Network:
    """A network in evaluation mode that computes the vectors of its layers; `load` makes one from a record.

    lock: held while hooks read a pass, so that no thread reads what another thread's pictures gave. prefix: how many
    tokens a transformer puts before those of the places in the picture, its class token and registers.
    """

    def __init__(self, model: Model, module: torch.nn.Module, dtype: torch.dtype = torch.float32):
        self.model, self.dtype, self.device = model, dtype, device()
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
        """Compute the vectors (B, D), float32, of a batch of pictures by layer.

        Parameters
        ----------
        batch : ndarray of shape (B, size, size, 3), uint8
            Pictures as `model.preprocess.pixels` returns them.
        layers : str or list of str
            The names of layers, see `tap`.
        """
        if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
            raise QueryError(f"{self.model.name} takes an array (B, size, size, 3) uint8: see model.preprocess.pixels")
        layers = layer_names(layers)
        with torch.inference_mode():
            vectors = self.vectors(torch.from_numpy(batch).to(self.device), layers)
            return {layer: values.cpu().numpy() for layer, values in vectors.items()}

    def vectors(self, batch: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """The vectors (B, D) float32 of a batch on the network's device, see `__call__`."""
        outputs = self.run(self._input(batch), layers)
        return {layer: self.pooled(outputs[layer].float(), layer) for layer in layers}

    def _input(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model.preprocess.normalise(batch).to(self.dtype, memory_format=self._format)

    def pooled(self, values: torch.Tensor, layer: str) -> torch.Tensor:
        """What `run` returns for a layer, pooled to a vector per picture without the class token and the registers."""
        pooling = self.tap(layer).pooling
        if pooling == "cls":
            return values[:, 0]
        tokens = self.grid(values.shape[1:]) if values.ndim == 3 else None
        return pool(values[:, tokens[0] :] if tokens else values, pooling)

    def grid(self, shape: tuple[int, int]) -> tuple[int, int] | None:
        """How many of the tokens (T, D) of a picture come before its places, and the side of their grid, if any."""
        return grid(shape, self.prefix)

    def run(self, values: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        """The outputs of layers before pooling: vectors (B, D), tokens (B, T, D) or feature maps (B, D, H, W).

        values: normalised pictures (B, 3, H, W) of the network's `dtype`, on its device. ModelError if the network
        fails on them or does not return one (B, classes) tensor, or a layer outputs no tensor that can be pooled.
        """
        outputs: dict[str, torch.Tensor] = {}

        def keep(layer: str, side: str) -> Callable:
            def hook(module, inputs, named, output):  # some are called with the name of their argument
                value = output if side == "out" else next(iter((*inputs, *named.values())), None)
                # A copy, because many networks next apply ReLU to the map in place.
                outputs[layer] = value.clone() if isinstance(value, torch.Tensor) else value

            return hook

        taps = {layer: self.tap(layer) for layer in layers}
        hooks = [(tap.module, keep(layer, tap.side)) for layer, tap in taps.items() if tap.module]
        output = self._pass(values, hooks)
        outputs |= {layer: output for layer, tap in taps.items() if not tap.module}
        for layer in layers:
            if not _usable(outputs.get(layer), len(values)):
                raise ModelError(f"{self.model.name}: {layer} outputs no tensor to pool: choose another layer")
        return outputs

    def _pass(self, values: torch.Tensor, hooks: list[tuple[str, Callable]]) -> torch.Tensor:
        """The output of the network, while hooks read what its modules take and give."""
        with self.lock:
            self.module.eval()  # who trains it may have left it in the other mode
            handles = [self.modules[name].register_forward_hook(hook, with_kwargs=True) for name, hook in hooks]
            try:
                with full_products(self.device), torch.autocast(self.device.type, enabled=False):
                    output = self.module(values)
            except Exception as error:  # transformers refuse other sizes than their own; one's own module, anything
                if isinstance(error, AmulsearchError) or "memory" in str(error):
                    raise
                what = f"{self.model.name} takes no pictures of {values.shape[-1]} pixels"
                raise ModelError(f"{what}: {first_line(error)}") from error
            finally:
                for handle in handles:
                    handle.remove()
        if not _usable(output, len(values)) or output.ndim != 2:
            raise ModelError(f"{self.model.name}: the network must return one (B, classes) tensor")
        return output

    def tap(self, layer: str) -> Tap:
        """Where a layer is read: "logits" (the output of the classifier), "penultimate" (the input of the classifier,
        or the output of a network without one), "last" (the last feature map, or the tokens of a transformer's places),
        "cls" (a transformer's class token, read where "last" is), or an inner module (its output), with its pooling."""
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
        if node == "last" and self._last:
            return Tap(self._last, "out", pooling or "mean")
        if node == "cls" and self._has_class_token:
            return Tap(self.tap("last").module, "out", "cls")
        if node in self.modules and node:
            return Tap(node, "out", pooling or "mean")
        usual, name = ", ".join(main_layers(self.model)), self.model.name
        listed = f"the name of a module (am.models.load({name!r}).nodes() lists them)"
        raise ModelError(f"{name} has no layer {layer!r}: use {usual}, last:gem, or {listed}")

    @property
    def _has_class_token(self) -> bool:
        tokens = (getattr(self.module, name, None) for name in ("cls_token", "class_token"))
        return any(isinstance(token, torch.Tensor) for token in tokens)

    def _find_head(self) -> str:
        """The classifier: the last linear or convolutional module to run that is as wide as the output."""
        nodes, classes = self._probe
        for node in reversed(nodes):
            module = self.modules[node.name]
            if getattr(module, "out_features", getattr(module, "out_channels", None)) == classes:
                return node.name
        raise ModelError(f"{self.model.name}: no classifier was found: name it with head=")

    @cached_property
    def _last(self) -> str | None:
        return self.model.feature_map or last_map(self._probe[0], self.tap("penultimate").module)

    @cached_property
    def _probe(self) -> tuple[list[Node], int]:
        """What the inner modules give for a blank picture, in the order in which they finish, and its classes."""
        nodes: dict[str, Node] = {}

        def note(name: str) -> Callable:
            def hook(module, inputs, named, output):
                if _usable(output, 1):
                    nodes.pop(name, None)  # of a module that runs several times, the last
                    shape, width = tuple(output.shape[1:]), pool(output, "mean").shape[1]
                    nodes[name] = Node(name, type(module).__name__, shape, width, side_of(name, shape, self.prefix))

            return hook

        with torch.inference_mode():
            values = self._input(torch.from_numpy(self.blank()).to(self.device))
            output = self._pass(values, [(name, note(name)) for name in self.modules if name])
        return list(nodes.values()), output.shape[1]

    @property
    def blocks(self) -> list[str]:
        """The names of a transformer's blocks, in order; none for a network whose last layer is a feature map."""
        return blocks_of(self.module, like(self._probe[0], self.tap("last").module))

    def inner_layer(self) -> str:
        """The layer that a preset takes below the last one, where there is meaning but not yet the classes.

        Of a network of feature maps, the last of the next larger size, GeM-pooled, among the outermost modules that
        have this size; "last:gem" if there is none. Of a transformer, the block at three quarters of its depth,
        averaged: unlike the maps after a rectifier, its values are negative half the time, which GeM would drop.
        """
        if blocks := self.blocks:
            return f"{blocks[-(-3 * len(blocks) // 4) - 1]}:mean"
        return f"{inner_map(self._probe[0], self.tap('last').module) or 'last'}:gem"

    def nodes(self) -> pd.DataFrame:
        """The inner modules in the order in which they finish, each of them a layer: DataFrame with the columns node
        (its name), kind (the class), shape (of the output for one picture), width (D of the pooled vector)."""
        rows = [(node.name, node.kind, node.shape, node.width) for node in self._probe[0]]
        return pd.DataFrame(rows, columns=["node", "kind", "shape", "width"])

    def stages(self) -> pd.DataFrame:
        """The last feature map of each size, or every third block of a transformer, whose tokens are as many at every
        depth: the columns node and shape of `nodes`. The last row is the layer "last", under this name."""
        last = self.tap("last").module
        stages = stages_of(self._probe[0], last, self.blocks)
        rows = [("last" if node.name == last else node.name, node.shape) for node in stages]
        return pd.DataFrame(rows, columns=["node", "shape"])

    def blank(self) -> np.ndarray:
        """A batch of one black picture."""
        return np.zeros((1, self.model.preprocess.size, self.model.preprocess.size, 3), dtype=np.uint8)


def _usable(output, count: int) -> bool:
    """Whether this is a tensor of numbers for each of so many pictures."""
    tensor = isinstance(output, torch.Tensor) and output.ndim >= 2 and output.is_floating_point()
    return tensor and output.shape[0] == count
