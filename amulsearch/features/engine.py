"""Running a network over many batches: with torch, or on a CPU about three times faster with OpenVINO.

An engine takes batches with a tag each and gives back (tag, vectors) pairs, sooner or later. The vectors of a picture
do not depend on the others in its batch: batches are filled up to one size.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import QueryError
from ..models import Descriptor, Model, Network, device, load

BATCH = 8
"""Pictures that go through a network together; larger batches leave the processor's caches and are slower."""

WORTH_CONVERTING = 100
"""From how many pictures on the seconds that a conversion takes come back."""

PRECISIONS = ("float32", "bfloat16", "float16")

Result = tuple[Any, dict[str, np.ndarray]]


def resolve_precision(precision: str) -> str:
    """One of PRECISIONS; for "auto" the fastest that this machine computes in without emulating it."""
    if precision == "auto":
        if device().type != "cpu":
            return "float16"
        return "bfloat16" if "bfloat16" in _openvino_precisions() else "float32"
    if precision not in PRECISIONS:
        raise QueryError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}, auto")
    return precision


def engine_for(
    model: Model, layers: list[str], precision: str, pictures: int, announce: Callable[[str], None]
) -> TorchEngine | OpenVinoEngine | DescriptorEngine:
    """The fastest engine for a network on this machine; `announce` is told of long work.

    pictures: how many the collection has. For a small one a conversion does not pay.
    """
    if isinstance(model, Descriptor):
        return DescriptorEngine(model, layers)
    if device().type == "cpu" and precision in _openvino_precisions():
        path = _converted_path(model, layers)
        if path.exists():
            with contextlib.suppress(RuntimeError):  # a damaged file is made anew
                return OpenVinoEngine(path, layers, precision)
        if pictures >= WORTH_CONVERTING:
            announce(f"preparing {model.name}")
            try:
                return OpenVinoEngine(_convert(load(model), layers, path), layers, precision)
            finally:
                announce("")
    network = load(model, precision)
    for layer in layers:
        network.tap(layer)  # an unknown layer is told now
    return TorchEngine(network, layers)


def filled(batch: np.ndarray) -> np.ndarray:
    """The batch with black pictures after its own, BATCH in all."""
    rest = np.zeros((BATCH - len(batch), *batch.shape[1:]), batch.dtype)
    return np.concatenate([batch, rest]) if len(rest) else batch


class TorchEngine:
    """On a CPU each batch runs at once; a GPU computes one while the next is prepared."""

    def __init__(self, network: Network, layers: list[str]):
        self.network, self.layers = network, layers
        self._running: deque[tuple[Any, int, dict[str, torch.Tensor]]] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Run a batch of at most BATCH pictures, as `Preprocess.pixels` gives them."""
        with torch.inference_mode():
            values = torch.from_numpy(filled(batch)).to(self.network.device)
            self._running.append((tag, len(batch), self.network.vectors(values, self.layers)))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """What is done: (tag, layer -> (B, D) float32). With `wait`, all that was submitted."""
        while len(self._running) > (0 if wait or self.network.device.type == "cpu" else 2):
            tag, count, vectors = self._running.popleft()
            yield tag, {layer: values[:count].cpu().numpy() for layer, values in vectors.items()}


class OpenVinoEngine:
    """Batches run beside each other in OpenVINO's streams; results may come in another order.

    graph: a converted network, or where it is kept.
    """

    def __init__(self, graph, layers: list[str], precision: str):
        self.layers = layers
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": _OPENVINO_NAMES[precision][0]}
        import openvino

        self._queue = openvino.AsyncInferQueue(openvino.Core().compile_model(graph, "CPU", hints))
        self._queue.set_callback(self._collect)
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Start a batch of at most BATCH pictures; waits while all streams are busy."""
        self._queue.start_async({0: filled(batch)}, (tag, len(batch)))

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


class DescriptorEngine:
    """Each batch is described at once, while the next pictures are decoded."""

    def __init__(self, descriptor: Descriptor, layers: list[str]):
        self.descriptor, self.layers = descriptor, layers
        self._done: deque[Result] = deque()

    def submit(self, tag, batch: np.ndarray) -> None:
        """Describe pictures, as `Preprocess.pixels` gives them."""
        self._done.append((tag, self.descriptor(batch, self.layers)))

    def results(self, wait: bool = False) -> Iterator[Result]:
        """What is done: (tag, layer -> (B, D) float32)."""
        while self._done:
            yield self._done.popleft()


class _Tapped(torch.nn.Module):
    """A network as a module whose outputs are the pooled layers, for tracing."""

    def __init__(self, network: Network, layers: list[str]):
        super().__init__()
        self.module, self.network, self.layers = network.module, network, layers

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network.vectors(batch, self.layers).values())


def _convert(network: Network, layers: list[str], path: Path):
    """The network as OpenVINO's graph, from prepared pictures to vectors, kept in `path` for the next time."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    for layer in layers:
        network.tap(layer)  # found by running the network: not while it is traced
    shape = network.blank().shape[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces the network in a way that torch calls outdated
        example = torch.from_numpy(np.repeat(network.blank(), 2, axis=0))
        # `openvino.convert_model` does the same, and reports its use over the network.
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(_Tapped(network, layers), example_input=example)
        graph = front_end.convert(front_end.load(decoder))
        graph.reshape([BATCH, *shape])
    temporary = path.with_name(f"{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, temporary, compress_to_fp16=False)
        # The description is moved last: with it in place, its weights are as well.
        os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(temporary, path)
    except (OSError, RuntimeError):
        for suffix in (".xml", ".bin"):  # a cache that cannot be written costs the next run some seconds
            with contextlib.suppress(OSError):
                temporary.with_suffix(suffix).unlink()
    return graph


def _converted_path(model: Model, layers: list[str]) -> Path:
    """Where the graph is kept, in the user's cache folder: converting takes seconds, reading a tenth of one."""
    from importlib.metadata import version

    name = model.name.partition("@")[0]  # a mirrored view is the same graph
    preprocess = {**model.preprocess.describe(), "mirror": None}
    made_of = {"model": name, "weights": model.weights.identity, "preprocess": preprocess, "layers": layers}
    made_of |= {"batch": BATCH, "openvino": version("openvino")}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "amulsearch" / f"{name.replace('/', '-')}-{key}.xml"


_OPENVINO_NAMES = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}


@lru_cache(maxsize=1)
def _openvino_precisions() -> tuple[str, ...]:
    """What OpenVINO computes in on this CPU without emulating it; nothing where it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision, (_, name) in _OPENVINO_NAMES.items() if name in able)
