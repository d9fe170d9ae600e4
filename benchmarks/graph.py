"""Time and memory of the preset's graph: building it, opening it, and a query, at several sizes.

    python benchmarks/graph.py [--sizes 1631,20000,100000] [--store DIR]

The vectors are those of the bundled cartoons in the 16 parts of the preset; larger collections are made of points
between a picture and one of its 100 neighbours, the same in all parts, with a little noise. Each size runs in a process
of its own. "memory" is the most that the process held beyond mapped files and the given vectors; "hub" and "batch" are
the most that numpy held to spread over the graph after one picture was linked to all, and to answer 1,000 new pictures
at once.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from million import held, watch
from scipy.sparse import csr_array

import amulsearch as am
from amulsearch.features import l2_normalize
from amulsearch.systems.diffusion import spread

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def enlarged(parts: list[am.Features], count: int) -> list[am.Features]:
    if count <= len(parts[0]):
        return parts
    chance = np.random.default_rng(0)
    near = am.ExactIndex.build(parts[0]).all_neighbours(100)[0]
    one = chance.integers(0, len(near), count)
    other, share = near[one, chance.integers(0, 100, count)], chance.random((count, 1), dtype=np.float32)
    ids, found = [f"{row:07}.png" for row in range(count)], []
    for part in parts:
        unit = l2_normalize(part.vectors)
        noise = chance.standard_normal((count, unit.shape[1]), dtype=np.float32)
        found.append(am.Features((1 - share) * unit[one] + share * unit[other] + 0.02 * noise, ids))
    return found


def most_memory(function: Callable) -> float:
    """The MiB that numpy holds at most while a function runs."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return most


def with_hub(weights: csr_array) -> csr_array:
    count = weights.shape[0]
    one = csr_array((np.full(count, 0.01), (np.zeros(count, dtype=int), np.arange(count))), shape=weights.shape)
    return (weights + one + one.T).tocsr()


def measure(count: int, store: str) -> dict:
    cartoons = am.Collection.from_folder(DATA, progress=False)
    layers = am.systems.SAME_KIND.layers_of(cartoons, store=store, progress=False)
    parts = enlarged(am.systems.SAME_KIND.reduced(layers), count)
    am.Diffusion.build([am.Features(part.vectors[:50], part.ids[:50]) for part in parts])  # imports
    given = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    index = am.Diffusion.build(parts)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    spread(index.graph.weights, 0.9)
    diffusion = time.perf_counter() - start
    held["running"] = False
    thread.join()
    new = [l2_normalize(part.vectors[:20]) for part in parts]
    with tempfile.TemporaryDirectory() as folder:
        saved = index.save(Path(folder) / "index")
        size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        start = time.perf_counter()
        index = am.Diffusion.open(saved)
        opened = time.perf_counter() - start
        index.query(index.ids[3], 10)
        seconds = {}
        for what, ask in (
            ("by id", lambda n: index.query(index.ids[n], 10)),
            ("new", lambda n: index.rank([vectors[n : n + 1] for vectors in new])),
        ):
            times = []
            for number in range(20):
                start = time.perf_counter()
                ask(number)
                times.append(time.perf_counter() - start)
            seconds[what] = 1000 * float(np.median(times))
    many = [l2_normalize(part.vectors[:1000]) for part in parts]
    return {
        "hub MiB": most_memory(lambda: spread(with_hub(index.graph.weights), 0.9)),
        "batch MiB": most_memory(lambda: index.rank(many, 10)),
        "pictures": count,
        "neighbours s": whole - diffusion,
        "diffusion s": diffusion,
        "memory MiB": held["memory"] / 1024 - given / 2**20,
        "disk MiB": size / 2**20,
        "open s": opened,
        "query by id ms": seconds["by id"],
        "query new ms": seconds["new"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1631,20000,100000")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--one", type=int, help="one size, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.store)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for size in options.sizes.split(","):
            more = ["--one", size, "--store", options.store or temporary]
            done = subprocess.run([sys.executable, __file__, *more], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    main()
