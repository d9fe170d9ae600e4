"""Extraction over many processes or machines with Ray Data: `extract(..., runner=RayRunner())`.

The collection is divided into blocks of pictures. Actors, which build each network once, decode and compute one block
at a time, and this process writes the results to the store. If an actor or a machine fails, another computes the block
again. An interrupted job continues from the store, as a local one does.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ..errors import AmulsearchError, ModelError, QueryError, check_integer, import_optional
from ..intake import COLUMNS, Collection, plain_text
from ..store import MemoryRows

if TYPE_CHECKING:
    from .extraction import Run


@dataclass(frozen=True)
class RayRunner:
    """Runs an extraction on a Ray cluster or in several processes: `extract(..., runner=RayRunner())`.

    All machines need this library, and the pictures at the same path. Processors and GPUs should be of one kind, or
    vectors differ in their last digits.

    Parameters
    ----------
    address : str, optional
        The address of a Ray cluster ("auto", "10.0.0.1:6379", "ray://..."). By default, Ray is started on this machine
        and stopped afterwards. An open connection is used in any case.
    actors : int, optional
        Number of actors; by default, as many as the processors (or GPUs) of the cluster allow at the start.
    cpus : int, default 1
        Processors per actor.
    gpus : float, default 0
        GPUs per actor; with 1, an actor computes on the GPU that Ray assigns to it.
    block : int, default 128
        Number of pictures per task.

    Raises
    ------
    QueryError
        If a parameter is out of range.

    Notes
    -----
    Needs the package ray: pip install 'amulsearch[ray]'.
    """

    address: str | None = None
    actors: int | None = None
    cpus: int = 1
    gpus: float = 0
    block: int = 128

    def __post_init__(self) -> None:
        for name in ("cpus", "block", *(["actors"] if self.actors is not None else [])):
            check_integer(name, getattr(self, name))
        if not self.gpus >= 0:
            raise QueryError(f"gpus must be 0 or more, not {self.gpus!r}")

    def __call__(self, run: Run, progress: bool) -> None:
        """Compute the vectors that a run lacks and pass them to it; `extract` calls this.

        Parameters
        ----------
        run : Run
        progress : bool
            Show a progress bar.

        Raises
        ------
        AmulsearchError
            If ray is not installed, the cluster cannot be reached or fails, or an actor reports an error.
        QueryError
            If the cluster has too few processors or GPUs for one actor.
        """
        ray = import_optional("ray", "'ray[data]'")
        import_optional("ray.data", "'ray[data]'")
        ours = not ray.is_initialized()
        try:
            if ours:
                ray.init(self.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            self._run(ray, run, progress)
        except (ray.exceptions.RayError, ConnectionError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise AmulsearchError(f"the extraction with Ray failed: {lines[-1] if lines else error}") from None
        finally:
            for file in run.held.values():
                file.flush()
            if ours:
                ray.shutdown()

    def _run(self, ray, run: Run, progress: bool) -> None:
        """Run all blocks; Ray Data restarts lost actors and their blocks."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # hides Ray Data's execution plans
        blocks = list(_blocks(run, self.block))
        work = {name: getattr(run, name) for name in ("models", "layers", "framing", "precision", "backends")}
        made = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            _Actor,
            fn_constructor_kwargs={**work, "collection": _empty(run.collection)},
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=min(self._actors(ray), len(blocks))),
        )
        place_of = {id: place for place, id in enumerate(run.collection.ids)}
        with tqdm(total=len(run.wanted), desc="extract", unit="picture", delay=2, disable=not progress or None) as bar:
            for row in made.iter_rows():
                if row["error"]:
                    raise AmulsearchError(row["error"])
                ids, rejected = json.loads(row["ids"]), json.loads(row["rejected"])
                run.rejected |= rejected
                with np.load(io.BytesIO(row["vectors"]), allow_pickle=False) as arrays:
                    for place, model in enumerate(run.models):
                        vectors = {layer: arrays[f"{place} {at}"] for at, layer in enumerate(run.layers[model.name])}
                        run.take(model.name, [place_of[id] for id in ids], vectors)
                bar.update(len(ids) + len(rejected))

    def _actors(self, ray) -> int:
        """Return the number of actors, at most as many as the cluster can run."""
        if self.actors:
            return self.actors
        have = ray.cluster_resources()
        count = have.get("GPU", 0) // self.gpus if self.gpus else have.get("CPU", 1) // self.cpus
        if count < 1:
            raise QueryError(f"the cluster cannot run an actor of {self.cpus} CPUs and {self.gpus:g} GPUs: lower them")
        return int(count)


class _Actor:
    """Computes blocks of pictures in its own process; the networks of the first block are used for all."""

    def __init__(self, models, layers, framing: str, precision: str, backends: dict, collection: Collection):
        self.work = (models, layers, framing, precision, backends)
        self.collection, self.engines = collection, {}

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        from .extraction import Run

        models, layers, *_ = self.work
        table = plain_text(json.loads(batch["table"][0]))
        part = replace(self.collection, table=table)
        held, rows = {(name, layer): MemoryRows() for name in layers for layer in layers[name]}, np.arange(len(part))
        run = Run(held, rows, part, *self.work, engines=self.engines)
        try:
            run(progress=False)
            for reason in run.overflows.values():
                raise ModelError(reason)
        except AmulsearchError as error:  # any other machine would raise it too
            return {"ids": [""], "rejected": [""], "vectors": [b""], "error": [str(error)]}
        done = rows[[id not in run.rejected for id in part.ids]]
        arrays, file = {}, io.BytesIO()
        for place, model in enumerate(models):
            for at, layer in enumerate(layers[model.name]):
                made = held[model.name, layer].take(done) if len(done) else np.zeros((0, 1), np.float32)
                arrays[f"{place} {at}"] = made
        np.savez(file, **arrays)
        ids = json.dumps([part.ids[row] for row in done])
        made = {"ids": ids, "rejected": json.dumps(run.rejected), "vectors": file.getvalue(), "error": ""}
        return {name: [value] for name, value in made.items()}


def _blocks(run: Run, size: int) -> Iterator[dict[str, str]]:
    """Yield rows of the collection's table as JSON: all that an actor needs to know about its pictures."""
    table = run.collection.table[COLUMNS]
    for start in range(0, len(run.wanted), size):
        yield {"table": json.dumps(table.iloc[run.wanted[start : start + size]].to_dict("list"))}


def _empty(collection: Collection) -> Collection:
    """Return the collection without its pictures, for sending to the actors."""
    return replace(collection, table=collection.table.iloc[:0], rejected=collection.rejected.iloc[:0], passed_over={})
