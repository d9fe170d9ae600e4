"""Running a network over many batches: with torch, or about three times faster on a CPU with OpenVINO.

An engine accepts batches, each with a tag, and returns (tag, vectors) pairs later, in any order. The vectors of a
picture do not depend on the others in its batch: all batches are padded to one size.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import AmulsearchError, QueryError
from ..models import PRECISIONS, Descriptor, Model, Network, device, load

BATCH = 8
"""Number of pictures per batch; larger batches exceed the processor's caches and are slower."""

WORTH_CONVERTING = 100
"""The number of pictures from which a conversion, which takes seconds, saves time."""

Result = tuple[Any, dict[str, np.ndarray]]


def resolve_precision(precision: str) -> str:
    """Check a precision; replace "auto" by the fastest one that this machine supports without emulation."""
    if precision == "auto":
        if device().type != "cpu":
            return "float16"
        return "bfloat16" if "bfloat16" in _openvino_precisions() else "float32"
    if precision not in PRECISIONS:
        raise QueryError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}, auto")
    return precision


def backends(model: Model, layers: list[str], precision: str) -> dict[str, tuple[float, float]]:
    """List what can run a network on this machine: the library, its version and the device.

    For each, the time of a picture and the time to start, in pictures of the fastest.
    """
    if isinstance(model, Descriptor):
        return {"cpu": (1, 0)}
    where, found = device().type, {}
    if where == "cpu" and precision in _openvino_precisions():
        start = 0 if _converted_path(model, layers).exists() else WORTH_CONVERTING
        found[f"openvino {version('openvino')} cpu"] = (1, start)
    return {**found, f"torch {version('torch')} {where}": (2, 0)}


def engine_for(
    model: Model, layers: list[str], precision: str, backend: str, announce: Callable[[str], None]
) -> TorchEngine | OpenVinoEngine | DescriptorEngine:
    """Make the engine of a backend for a network.

    announce: called with a message before long work, and with "" after it. Raises AmulsearchError if this machine does
    not have the backend, as another machine of a cluster may.
    """
    if backend not in backends(model, layers, precision):
        raise AmulsearchError(f"{backend} is not on this machine: install the same versions on all machines")
    if isinstance(model, Descriptor):
        return DescriptorEngine(model, layers)
    if backend.startswith("openvino"):
        path = _converted_path(model, layers)
        if path.exists():
            with contextlib.suppress(RuntimeError):  # a damaged file is not used
                return OpenVinoEngine(path, layers, precision)
        announce(f"preparing {model.name}")
        try:
            return OpenVinoEngine(_convert(load(model), layers, path), layers, precision)
        finally:
            announce("")
    network = load(model, precision)
    for layer in layers:
        network.tap(layer)  # so that an unknown layer is reported now
    return TorchEngine(network, layers)


def filled(batch: np.ndarray) -> np.ndarray:
    """Pad a batch with black pictures to BATCH pictures."""
    rest = np.zeros((BATCH - len(batch), *batch.shape[1:]), batch.dtype)
    return np.concatenate([batch, rest]) if len(rest) else batch


class TorchEngine:
    """Runs batches with torch: at once on a CPU; a GPU computes one while the next is prepared."""

    def __init__(self, network: Network, layers: list[str]):
        self.network, self.layers = network, layers
        self._running: deque[tuple[Any, int, dict[str, torch.Tensor]]] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Run a batch of at most BATCH pictures, as `Preprocess.pixels` returns them."""
        with torch.inference_mode():
            values = torch.from_numpy(filled(batch)).to(self.network.device)
            self._running.append((tag, len(batch), self.network.vectors(values, self.layers)))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """Yield what is done: (tag, layer -> (B, D) float32). With `wait`, everything that was submitted."""
        while len(self._running) > (0 if wait or self.network.device.type == "cpu" else 2):
            tag, count, vectors = self._running.popleft()
            yield tag, {layer: values[:count].cpu().numpy() for layer, values in vectors.items()}


class OpenVinoEngine:
    """Runs batches in parallel in OpenVINO's streams; the order of the results may differ.

    graph: a converted network, or the path of one.
    """

    def __init__(self, graph, layers: list[str], precision: str):
        self.layers = layers
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": _OPENVINO_NAMES[precision][0]}
        import openvino

        self._queue = openvino.AsyncInferQueue(openvino.Core().compile_model(graph, "CPU", hints))
        self._queue.set_callback(self._collect)
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Start a batch of at most BATCH pictures; wait while all streams are busy."""
        self._queue.start_async({0: filled(batch)}, (tag, len(batch)))

    def _collect(self, request, userdata) -> None:
        tag, count = userdata
        outputs = [request.get_output_tensor(place).data[:count].copy() for place in range(len(self.layers))]
        self._done.append((tag, dict(zip(self.layers, outputs, strict=True))))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """Yield what is done: (tag, layer -> (B, D) float32). With `wait`, everything that was submitted."""
        if wait:
            self._queue.wait_all()
        while self._done:
            yield self._done.popleft()


class DescriptorEngine:
    """Computes classical descriptors, each batch at once, while the next pictures are decoded."""

    def __init__(self, descriptor: Descriptor, layers: list[str]):
        self.descriptor, self.layers = descriptor, layers
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Describe a batch of pictures, as `Preprocess.pixels` returns them."""
        self._done.append((tag, self.descriptor(batch, self.layers)))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """Yield what is done: (tag, layer -> (B, D) float32)."""
        while self._done:
            yield self._done.popleft()


class _Tapped(torch.nn.Module):
    """A module whose outputs are the pooled layers of a network, for tracing."""

    def __init__(self, network: Network, layers: list[str]):
        super().__init__()
        self.module, self.network, self.layers = network.module, network, layers

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network.vectors(batch, self.layers).values())


def _convert(network: Network, layers: list[str], path: Path):
    """Convert a network to an OpenVINO graph, from prepared pictures to vectors, and save it at `path`.

    Return the path, or the graph itself if it cannot be saved.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    for layer in layers:
        network.tap(layer)  # runs the network, which is not possible while it is traced
    shape = network.blank().shape[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO's way of tracing is deprecated in torch
        example = torch.from_numpy(np.repeat(network.blank(), 2, axis=0))
        # `openvino.convert_model` does the same, but sends usage statistics over the network.
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(_Tapped(network, layers), example_input=example)
        graph = front_end.convert(front_end.load(decoder))
        graph.reshape([BATCH, *shape])
    temporary = path.with_name(f"{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, temporary, compress_to_fp16=False)
        # The .xml is moved last: if it is there, its weights are too.
        os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(temporary, path)
        return path  # compiled from the file as in every later run: the graph in memory rounds differently
    except (OSError, RuntimeError):
        for suffix in (".xml", ".bin"):  # without a cache, the next run takes some seconds longer
            with contextlib.suppress(OSError):
                temporary.with_suffix(suffix).unlink()
    return graph


def _converted_path(model: Model, layers: list[str]) -> Path:
    """Return where a graph is saved, in the user's cache folder: converting takes seconds, reading a tenth of one."""
    name = model.name.partition("@")[0]  # a mirrored view has the same graph
    preprocess = {**model.preprocess.describe(), "mirror": None}
    made_of = {**model.describe(), "model": name, "preprocess": preprocess, "layers": layers}
    made_of |= {"batch": BATCH, "openvino": version("openvino")}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "amulsearch" / f"{name.replace('/', '-')}-{key}.xml"


_OPENVINO_NAMES = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}


@lru_cache(maxsize=1)
def _openvino_precisions() -> tuple[str, ...]:
    """List the precisions that OpenVINO supports on this CPU without emulation; none if it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision, (_, name) in _OPENVINO_NAMES.items() if name in able)
