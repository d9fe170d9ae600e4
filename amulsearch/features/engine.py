"""Running a network over many batches: with torch, or about three times faster on a CPU with OpenVINO.

An engine accepts batches of at most `batch` pictures with their rows, and returns pairs of rows and vectors later, in
any order. The vectors of a picture do not depend on the others in its batch: all batches are padded to one size.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import torch

from ..errors import AmulsearchError, QueryError
from ..models import PRECISIONS, Model, Network, device, load
from .converted import UNCONVERTED, OpenVinoEngine, Result, convert, filled, openvino_precisions, path_of

Started = tuple[Sequence[int], dict[str, torch.Tensor], torch.cuda.Event | None]
"""A batch that runs: the rows of its pictures, its vectors by layer, and what says that they have been copied."""

WORTH_CONVERTING = 100
"""The number of pictures from which a conversion, which takes seconds, saves time."""


def resolve_precision(precision: str) -> str:
    """Check a precision; replace "auto" by the fastest one that this machine supports without emulation."""
    if precision == "auto":
        if device().type != "cpu":
            return "float16"
        return "bfloat16" if "bfloat16" in openvino_precisions() else "float32"
    if precision not in PRECISIONS:
        raise QueryError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}, auto")
    return precision


def backends(model: Model, layers: list[str], precision: str) -> dict[str, tuple[float, float]]:
    """List what can run a network on this machine: the library, its version and the device.

    For each, the time of a picture and the time to start, in pictures of the fastest.
    """
    kind, able = device().type, {}
    path = path_of(model, layers) if kind == "cpu" and precision in openvino_precisions() else None
    if path and path not in UNCONVERTED:
        able[f"openvino {version('openvino')} cpu"] = 1, 0 if path.exists() else WORTH_CONVERTING
    return {**able, f"torch {version('torch')} {kind}": (2, 0)}


def engine_for(model: Model, layers: list[str], precision: str, backend: str) -> TorchEngine | OpenVinoEngine:
    """Make the engine of a backend, which another machine of a cluster may have, for a network."""
    if backend not in backends(model, layers, precision):
        raise AmulsearchError(f"{backend} is not on this machine: install the same versions on all machines")
    if backend.startswith("openvino"):
        path = path_of(model, layers)
        if path.exists():
            with contextlib.suppress(RuntimeError):  # a damaged file is not used
                return OpenVinoEngine(path, layers, precision)
        return OpenVinoEngine(convert(load(model), layers, path), layers, precision)
    network = load(model, precision)
    for layer in layers:
        network.tap(layer)  # so that an unknown layer is reported now
    return TorchEngine(network, layers)


class TorchEngine:
    """Runs batches with torch: at once on a CPU; a GPU computes some while the next is prepared and copied."""

    def __init__(self, network: Network, layers: list[str]):
        self.network, self.layers = network, layers
        self.batch = network.config.batch
        self._running: deque[Started] = deque()

    def submit(self, rows: Sequence[int], batch: np.ndarray) -> None:
        """Run a batch of at most `batch` pictures, as `Preprocess.pixels` returns them.

        If the memory of the device is too small, this batch and the next ones run in halves, or in halves of these.
        """
        at = 0
        while at < len(batch):
            part = slice(at, at + self.batch)
            try:
                self._running.append((rows[part], *self._start(batch[part])))
                at += self.batch
            except torch.OutOfMemoryError:
                name, where = self.network.model.name, f"the device {self.network.device} has too little memory"
                if self.batch == 1:
                    what = "close what else uses it, or take a smaller network"
                    raise AmulsearchError(f"{where} for one picture of {name}: {what}") from None
                self.batch //= 2
                torch.cuda.empty_cache()
                print(f"{where}: {name} goes on with {self.batch} pictures at a time", file=sys.stderr)

    def _start(self, batch: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.cuda.Event | None]:
        pinned, copied = self.network.config.pinned, None
        with torch.inference_mode():
            values = torch.from_numpy(filled(batch, self.batch))
            values = values.pin_memory() if pinned else values
            vectors = self.network.vectors(values.to(self.network.device, non_blocking=pinned), self.layers)
            if pinned:  # the copies back go to page-locked memory too, and are complete at this event
                vectors = {layer: values.to("cpu", non_blocking=True) for layer, values in vectors.items()}
                copied = torch.cuda.Event()
                copied.record()
        return vectors, copied

    def results(self, wait: bool = False) -> Iterator[Result]:
        """Yield what is done: (rows, layer -> (B, D) float32). With `wait`, everything that was submitted."""
        while len(self._running) > (0 if wait else self.network.config.ahead):
            rows, vectors, copied = self._running.popleft()
            if copied is not None:
                copied.synchronize()
            yield rows, {layer: values[: len(rows)].cpu().numpy() for layer, values in vectors.items()}
