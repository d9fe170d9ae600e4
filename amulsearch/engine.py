"""Running a network over many batches: with torch, or on a CPU about three times faster with OpenVINO.

An engine takes batches with a tag each and gives back (tag, vectors) pairs, sooner or later.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .extraction import BATCH
from .networks import Network, load, pool
from .record import Model

WORTH_CONVERTING = 200
"""From how many pictures on the ten seconds that a conversion takes come back."""

Result = tuple[Any, dict[str, np.ndarray]]


def engine_for(
    model: Model, layers: list[str], pictures: int, announce: Callable[[str], None]
) -> TorchEngine | OpenVinoEngine:
    """The fastest engine for a network on this machine, for so many pictures; `announce` is told of long work."""
    network = load(model)
    for layer in layers:
        network.tap(layer)  # an unknown layer is told now
    if network.device.type == "cpu" and importlib.util.find_spec("openvino"):
        path = _converted_path(model, network.blank().shape[-1], layers)
        if path.exists():
            return OpenVinoEngine(network, layers, path)
        if pictures >= WORTH_CONVERTING:
            announce(f"preparing {model.name}")
            try:
                return OpenVinoEngine(network, layers, path)
            finally:
                announce("")
    return TorchEngine(network, layers)


class TorchEngine:
    """Each batch runs at once, on CUDA where there is one."""

    def __init__(self, network: Network, layers: list[str]):
        self.network, self.layers = network, layers
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Run a batch (B, 3, H, W) float32, B at most BATCH."""
        self._done.append((tag, self.network(batch, self.layers)))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """What is done: (tag, layer -> (B, D) float32). With `wait`, all that was submitted."""
        while self._done:
            yield self._done.popleft()


class OpenVinoEngine:
    """Batches run beside each other in OpenVINO's streams, in float32; results may come in another order.

    The converted network is kept in the user's cache folder: converting takes seconds, loading a tenth.
    """

    def __init__(self, network: Network, layers: list[str], path: Path):
        openvino = _import_openvino()
        core = openvino.Core()
        if path.exists():
            graph = core.read_model(path)
        else:
            graph = _convert(openvino, network, layers, path)
        self.layers = layers
        compiled = core.compile_model(
            graph, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        )
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(self._collect)
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Start a batch (B, 3, H, W) float32, B at most BATCH; waits while all streams are busy."""
        full = batch
        if len(batch) < BATCH:  # the graph's batch is fixed
            full = np.concatenate([batch, np.zeros((BATCH - len(batch), *batch.shape[1:]), np.float32)])
        self._queue.start_async({0: np.ascontiguousarray(full)}, (tag, len(batch)))

    def _collect(self, request, userdata) -> None:
        tag, count = userdata
        outputs = [request.get_output_tensor(place).data[:count].copy() for place in range(len(self.layers))]
        self._done.append((tag, dict(zip(self.layers, outputs, strict=True))))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """What is done: (tag, layer -> (B, D) float32). With `wait`, all that was submitted."""
        if wait:
            self._queue.wait_all()
        while self._done:
            yield self._done.popleft()


class _Tapped(torch.nn.Module):
    """A network as a module whose outputs are the pooled layers, for tracing."""

    def __init__(self, network: Network, layers: list[str]):
        super().__init__()
        self.module, self.network, self.layers = network.module, network, layers

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen = self.network.run(batch, self.layers)
        return tuple(pool(seen[layer], self.network.tap(layer).pooling) for layer in self.layers)


def _convert(openvino, network: Network, layers: list[str], path: Path):
    size = network.blank().shape[-1]
    shape = [BATCH, 3, size, size]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces the network in a way that torch calls outdated
        graph = openvino.convert_model(_Tapped(network, layers), example_input=torch.zeros(shape), input=shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{os.getpid()}-{path.name}")
        openvino.save_model(graph, temporary, compress_to_fp16=False)
        # The description is moved last: with it in place, its weights are as well.
        os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(temporary, path)
    except (OSError, RuntimeError):
        pass  # a cache that cannot be written costs the next run some seconds
    return graph


def _converted_path(model: Model, size: int, layers: list[str]) -> Path:
    from importlib.metadata import version

    name = model.name.partition("@")[0]  # a mirrored view is the same graph
    made_of = {"model": name, "weights": model.weights.identity, "size": size, "layers": layers}
    made_of |= {"batch": BATCH, "openvino": version("openvino")}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "amulsearch" / f"{name.replace('/', '-')}-{key}.xml"


def _import_openvino():
    # Without this module OpenVINO takes its own stub, and sends nothing about its use.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino
