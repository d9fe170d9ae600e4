"""Networks converted to OpenVINO graphs: kept in the user's cache folder, and run without torch.

A conversion takes seconds. A graph goes from prepared pictures to the pooled vectors of its layers, which name its
outputs. It is saved for one picture at a time; what OpenVINO compiles for queries, it keeps beside the graph itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from ..models import Model

if TYPE_CHECKING:
    from ..models import Network

BATCH = 8
"""Number of pictures per batch of an extraction; larger batches exceed the processor's caches and are slower."""

UNCONVERTED: set[Path] = set()
"""The paths of graphs that OpenVINO could not make in this process."""

Result = tuple[Sequence[int], dict[str, np.ndarray]]
"""The rows of pictures, and their vectors by layer."""

_NAMES = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}


class ConversionError(ModelError):
    """OpenVINO cannot run a network, but torch can."""


@lru_cache(maxsize=1)
def openvino_precisions() -> tuple[str, ...]:
    """The precisions that OpenVINO supports on this CPU without emulation; none if it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(precision for precision, (_, name) in _NAMES.items() if name in able)


def filled(batch: np.ndarray, size: int = BATCH) -> np.ndarray:
    """Pad a batch with black pictures to `size` pictures."""
    rest = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
    return np.concatenate([batch, rest]) if len(rest) else batch


class OpenVinoEngine:
    """Runs batches in parallel in OpenVINO's streams; the order of the results may differ.

    graph: a converted network, or the path of one.
    """

    batch = BATCH

    def __init__(self, graph, layers: list[str], precision: str):
        import openvino

        compiled = _compiled_file(graph, precision) if isinstance(graph, Path) else _for_batches(graph, precision)
        self._queue = openvino.AsyncInferQueue(compiled)
        self._done = done = deque()

        def collect(request, rows) -> None:
            done.append((rows, {layer: request.get_tensor(layer).data[: len(rows)].copy() for layer in layers}))

        # Not a method: the queue would keep the engine alive, the engine the queue, and neither would ever be freed.
        self._queue.set_callback(collect)

    def submit(self, rows: Sequence[int], batch: np.ndarray) -> None:
        """Start a batch of at most `batch` pictures; wait while all streams are busy."""
        self._queue.start_async({0: filled(batch)}, rows)

    def results(self, wait: bool = False) -> Iterator[Result]:
        """Yield what is done: (rows, layer -> (B, D) float32). With `wait`, everything that was submitted."""
        if wait:
            self._queue.wait_all()
        while self._done:
            yield self._done.popleft()


def _compiled(graph, precision: str, hint: str, **more: str):
    import openvino

    hints = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": _NAMES[precision][0], **more}
    return openvino.Core().compile_model(graph, "CPU", hints)


def _for_batches(graph, precision: str):
    graph.reshape([BATCH, *list(graph.inputs[0].shape)[1:]])
    return _compiled(graph, precision, "THROUGHPUT")


@lru_cache(maxsize=8)
def _compiled_file(path: Path, precision: str):
    """A graph that stays compiled for the next extraction: of 160 pictures, that is a fifth of the time."""
    import openvino

    return _for_batches(openvino.Core().read_model(path), precision)


def query_graph(model: Model, layers: list[str], precision: str):
    """A compiled graph with these layers of a network, perhaps among others; None if none was converted here."""
    if precision not in openvino_precisions():
        return None
    for path in sorted(_folder().glob(f"{_stem(model)}-*.xml")):
        with contextlib.suppress(RuntimeError, OSError):  # a damaged file is not used
            if set(layers) <= _layers_in(path):
                return _compiled_for_one(path, precision)
    return None


def run_one(compiled, layers: list[str], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The vectors (1, D) of one picture by layer."""
    request = compiled.create_infer_request()  # not shared by threads
    request.infer({0: pixels[None]})
    return {layer: request.get_tensor(layer).data.copy() for layer in layers}


@lru_cache
def _layers_in(path: Path) -> set[str]:
    """The layers of a graph, from its text: reading the whole graph takes 40 times as long."""
    return set(re.findall(r'output_names="([^"]*)"', path.read_text(encoding="utf-8", errors="replace")))


@lru_cache(maxsize=24)
def _compiled_for_one(path: Path, precision: str):
    """A graph for single pictures, compiled in this process, or in a fifth of the time by an earlier one."""
    return _compiled(path, precision, "LATENCY", CACHE_DIR=str(path.parent))


def convert(network: Network, layers: list[str], path: Path):
    """Convert a network to a graph, and save it: its path, or the graph itself if it cannot be saved."""
    try:
        graph = _traced(network, layers)
    except Exception as error:  # those of torch's tracing and of OpenVINO have no class in common
        UNCONVERTED.add(path)
        why = " ".join(str(error).split())[-150:]
        raise ConversionError(f"torch runs {network.model.name}, which OpenVINO cannot run: {why}") from None
    for output, layer in zip(graph.outputs, layers, strict=True):
        output.get_tensor().set_names({layer})
    if not network.model.versioned:  # another process could not tell whether the graph is of the same code
        return graph
    return path if _save(graph, path) else graph  # in every run from the file: the graph in memory rounds differently


def _traced(network: Network, layers: list[str]):
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    class Tapped(torch.nn.Module):
        """A module whose outputs are the pooled layers of the network."""

        def __init__(self):
            super().__init__()
            self.module = network.module

        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(network.vectors(batch, layers).values())

    for layer in layers:
        network.tap(layer)  # runs the network, which is not possible while it is traced
    blank = network.blank()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO's way of tracing is deprecated in torch
        # `openvino.convert_model` does the same, but sends usage statistics over the network.
        front_end = FrontEndManager().load_by_framework("pytorch")
        example = torch.from_numpy(np.repeat(blank, 2, axis=0))
        decoder = TorchScriptPythonDecoder(Tapped(), example_input=example)  # the graph does not keep it alive
        graph = front_end.convert(front_end.load(decoder))
    for size in (BATCH, 1):  # what was traced for two pictures only is refused
        graph.reshape([size, *blank.shape[1:]])
    return graph


def _save(graph, path: Path) -> bool:
    """Whether a graph could be saved; if not, the next run takes some seconds longer."""
    import openvino

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            openvino.save_model(graph, temporary, compress_to_fp16=False)
            for suffix in (".bin", ".xml"):  # if the .xml is there, its weights are too
                os.replace(temporary.with_suffix(suffix), path.with_suffix(suffix))
    except (OSError, RuntimeError):
        return False
    return True


def path_of(model: Model, layers: list[str]) -> Path:
    """Where the graph of some layers of a network is saved."""
    key = hashlib.sha256(json.dumps(layers).encode()).hexdigest()[:8]
    return _folder() / f"{_stem(model)}-{key}.xml"


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "amulsearch"


def _stem(model: Model) -> str:
    """What the names of all graphs of a network begin with."""
    name = model.name.partition("@")[0]  # a mirrored view has the same graph
    preprocess = {**model.preprocess.describe(), "mirror": None}
    made_of = {**model.describe(), "model": name, "preprocess": preprocess, "batch": 1}
    made_of |= {"openvino": version("openvino")}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    return f"{name.replace('/', '-')}-{key}"
