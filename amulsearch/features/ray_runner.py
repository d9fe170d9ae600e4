"""Extraction over many processes or machines with Ray Data: `extract(..., runner=RayRunner())`.

The collection is cut into blocks of pictures. Actors, which build each network once, decode and compute a block at a
time, and this process writes what comes back into the store. A block whose actor or machine is lost is computed again
by another; a job that is ended goes on from the store as a local one does.
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

from ..errors import AmulsearchError, QueryError, check_integer, import_optional
from ..intake import COLUMNS, TEXTS, Collection, plain_text
from ..store import MemoryRows

if TYPE_CHECKING:
    from .extraction import Run


@dataclass(frozen=True)
class RayRunner:
    """Where and how widely an extraction runs.

    address: of a Ray cluster ("auto", "10.0.0.1:6379", "ray://..."); None starts Ray on this machine, and ends it.
        A connection that is open already is used. On all machines the pictures lie at the same path, this library is
        installed, and the processors and GPUs are of one kind, else vectors differ in their last digits.
    actors: how many; by default as many as there are processors (or GPUs) in the cluster for them when it starts.
    cpus, gpus: what an actor takes, as 1 and 0, or 4 and 1 (it then computes on the GPU that Ray gives it).
    block: pictures of a task.
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
        """Compute what a run lacks, and give it the vectors."""
        ray = import_optional("ray", "'ray[data]'")
        import_optional("ray.data", "'ray[data]'")
        ours = not ray.is_initialized()
        try:
            if ours:
                ray.init(self.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            self._run(ray, run, progress)
        except (ray.exceptions.RayError, ConnectionError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise AmulsearchError(f"Ray could not do the extraction: {lines[-1] if lines else error}") from None
        finally:
            for rows in run.rows.values():
                rows.flush()
            if ours:
                ray.shutdown()

    def _run(self, ray, run: Run, progress: bool) -> None:
        """Lost actors, and the blocks that they had, are started again by Ray Data."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # what it tells of its plans is not for who extracts
        blocks = list(_blocks(run, self.block))
        work = {"models": run.models, "layers": run.layers, "framing": run.framing, "precision": run.precision}
        made = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            _Actor,
            fn_constructor_kwargs={**work, "pictures": len(run.keys), "collection": _empty(run.collection)},
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=min(self._actors(ray), len(blocks))),
        )
        with tqdm(total=len(run.wanted), desc="extract", unit="picture", delay=2, disable=not progress) as bar:
            for row in made.iter_rows():
                if row["error"]:
                    raise AmulsearchError(row["error"])
                keys, rejected = json.loads(row["keys"]), json.loads(row["rejected"])
                run.rejected |= rejected
                with np.load(io.BytesIO(row["vectors"]), allow_pickle=False) as arrays:
                    for place, model in enumerate(run.models):
                        vectors = {layer: arrays[f"{place} {at}"] for at, layer in enumerate(run.layers)}
                        run.take(model.name, [tuple(key) for key in keys], vectors)
                bar.update(len(keys) + len(rejected))

    def _actors(self, ray) -> int:
        if self.actors:
            return self.actors
        have = ray.cluster_resources()
        count = have.get("GPU", 0) // self.gpus if self.gpus else have.get("CPU", 1) // self.cpus
        if count < 1:
            raise QueryError(f"the cluster has no machine for an actor of {self.cpus} CPUs and {self.gpus:g} GPUs")
        return int(count)


class _Actor:
    """Computes blocks of pictures in a process of its own, with the networks of the first block."""

    def __init__(self, models, layers, framing: str, precision: str, pictures: int, collection: Collection):
        self.work = (models, layers, framing, precision)
        self.pictures, self.collection, self.engines = pictures, collection, {}

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        from .extraction import Run

        models, layers, *_ = self.work
        table = plain_text(json.loads(batch["table"][0]), TEXTS)
        part = replace(self.collection, table=table)
        keys = list(zip(part.ids, table["digest"], strict=True))
        rows = {(model.name, layer): MemoryRows() for model in models for layer in layers}
        run = Run(rows, keys, part, *self.work, engines=self.engines, pictures=self.pictures)
        try:
            run(progress=False)
        except AmulsearchError as error:  # it would be the same on another machine
            return {"keys": [""], "rejected": [""], "vectors": [b""], "error": [str(error)]}
        done = [key for key in keys if key[0] not in run.rejected]
        arrays, file = {}, io.BytesIO()
        for place, model in enumerate(models):
            for at, layer in enumerate(layers):
                made = rows[model.name, layer].arrange(done) if done else np.zeros((0, 1), np.float32)
                arrays[f"{place} {at}"] = made
        np.savez(file, **arrays)
        made = {"keys": json.dumps(done), "rejected": json.dumps(run.rejected), "vectors": file.getvalue(), "error": ""}
        return {name: [value] for name, value in made.items()}


def _blocks(run: Run, size: int) -> Iterator[dict[str, str]]:
    """Rows of the collection's table, as JSON: all that an actor needs to know of its pictures."""
    row = {id: place for place, id in enumerate(run.collection.ids)}
    table = run.collection.table[COLUMNS]
    wanted = [row[id] for id, _ in run.wanted]
    for start in range(0, len(wanted), size):
        yield {"table": json.dumps(table.iloc[wanted[start : start + size]].to_dict("list"))}


def _empty(collection: Collection) -> Collection:
    return replace(collection, table=collection.table.iloc[:0], rejected=collection.rejected.iloc[:0], passed_over={})
