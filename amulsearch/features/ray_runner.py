"""Extraction over many processes or machines with Ray Data: `extract(..., runner=RayRunner())`.

The collection is divided into blocks of pictures. Actors, which build each network once, decode and compute one block
at a time, and this process writes the results to the store. If an actor or a machine fails, another computes the block
again. An interrupted job continues from the store, as a local one does.
"""

import io
import json
import logging
from dataclasses import dataclass, replace

import numpy as np
from tqdm.auto import tqdm

from ..errors import AmulsearchError, ModelError, QueryError, check_integer, import_optional
from ..intake import COLUMNS, Collection, plain_text
from ..store import MemoryRows
from .run import Run, Work

BLOCK = 128
"""Number of pictures per task."""


@dataclass(frozen=True)
class RayRunner:
    """Runs an extraction on a Ray cluster or in several processes: `extract(..., runner=RayRunner())`.

    It needs the package ray (pip install 'amulsearch[ray]'), and on all machines this library, and the pictures at the
    same path. Processors and GPUs should be of one kind, or vectors differ in their last digits. There are as many
    processes as the processors (or GPUs) of the cluster allow at the start.

    Parameters
    ----------
    address : str, optional
        Of a Ray cluster ("auto", "10.0.0.1:6379", "ray://..."), unless there is an open connection. By default, Ray is
        started on this machine and stopped afterwards.
    cpus : int, default 1
        Processors per process.
    gpus : float, default 0
        GPUs per process; with 1, it computes on the GPU that Ray assigns to it.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        check_integer("cpus", self.cpus)
        if not self.gpus >= 0:
            raise QueryError(f"gpus must be 0 or more, not {self.gpus!r}")

    def __call__(self, run: Run, progress: bool) -> None:
        """Compute the vectors that a run lacks, and add them to it."""
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
            run.flush()
            if ours:
                ray.shutdown()

    def _run(self, ray, run: Run, progress: bool) -> None:
        """Run all blocks; Ray Data restarts lost actors and their blocks."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # hides Ray Data's execution plans
        starts = range(0, len(run.wanted), BLOCK)
        blocks = [_block(run.collection, run.wanted[start : start + BLOCK]) for start in starts]
        empty = {"table": run.collection.table.iloc[:0], "rejected": run.collection.rejected.iloc[:0]}
        bare = replace(run.collection, **empty, passed_over={})
        results = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            _Actor,
            fn_constructor_kwargs={"work": run.work, "collection": bare},
            batch_size=1,
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=min(self._actors(ray), len(blocks))),
        )
        with tqdm(total=len(run.wanted), desc="extract", unit="picture", delay=2, disable=not progress or None) as bar:
            for result in results.iter_rows():
                if result["error"]:
                    raise AmulsearchError(result["error"])
                bar.update(_add(run, result))

    def _actors(self, ray) -> int:
        """How many actors the cluster can run."""
        have = ray.cluster_resources()
        count = have.get("GPU", 0) // self.gpus if self.gpus else have.get("CPU", 1) // self.cpus
        if count < 1:
            raise QueryError(f"the cluster cannot run an actor of {self.cpus} CPUs and {self.gpus:g} GPUs: lower them")
        return int(count)


def _block(collection: Collection, rows: list[int]) -> dict[str, str]:
    """What an actor needs to know about its pictures: their rows in the collection, and their part of its table."""
    return {"rows": json.dumps(rows), "table": json.dumps(collection.table[COLUMNS].iloc[rows].to_dict("list"))}


def _add(run: Run, result: dict) -> int:
    """Add what an actor returned to a run: the number of pictures."""
    rows = np.array(json.loads(result["rows"]))
    rejected = {int(at): reason for at, reason in json.loads(result["rejected"]).items()}
    run.rejected |= {int(run.numbers[rows[at]]): reason for at, reason in rejected.items()}
    done = np.delete(rows, list(rejected))
    with np.load(io.BytesIO(result["vectors"]), allow_pickle=False) as arrays:
        for name, layers in run.work.layers.items() if len(done) else ():
            run.add(name, done, {layer: arrays[f"{name} {layer}"] for layer in layers})
    return len(rows)


class _Actor:
    """Computes blocks of pictures in its own process; the networks of the first block are used for all."""

    def __init__(self, work: Work, collection: Collection):
        self.work, self.collection, self.engines = work, collection, {}

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        part = replace(self.collection, table=plain_text(json.loads(batch["table"][0])))
        files = {(name, layer): MemoryRows() for name, layers in self.work.layers.items() for layer in layers}
        run, error = Run(self.work, part, np.arange(len(part)), files, self.engines), ""
        try:
            run(progress=False)
            for reason in run.overflows.values():
                raise ModelError(reason)
        except AmulsearchError as failure:  # any other machine would raise it too
            error, run.rejected = str(failure), dict.fromkeys(range(len(part)), "")
        done = np.delete(np.arange(len(part)), list(run.rejected))
        vectors = io.BytesIO()
        np.savez(vectors, **{" ".join(key): file.take(done) for key, file in files.items() if len(done)})
        result = {"rejected": json.dumps(run.rejected), "vectors": vectors.getvalue(), "error": error}
        return {"rows": batch["rows"], **{name: [value] for name, value in result.items()}}
