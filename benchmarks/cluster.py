"""Extract on a Ray cluster of two nodes on this machine and locally, and check that the vectors are identical.

    python benchmarks/cluster.py [--pictures 10000] [--model squeezenet1_1]

The pictures are links to the bundled cartoons. Three runs: local, on the cluster, and on the cluster with one of the
two nodes killed once a fifth of the pictures is done. Ray must be installed: pip install 'ray[data]'. Ray gives its
processes a low priority; on a machine that does other work as well, set RAY_worker_niceness=0.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from scale import copy_pictures

import amulsearch as am


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000, help="number of pictures")
    parser.add_argument("--model", default="squeezenet1_1", help="name of the network")
    options = parser.parse_args()
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        copy_pictures(folder / "pictures", options.pictures)
        collection = am.Collection.from_folder(folder / "pictures")
        node = {"num_cpus": 1, "object_store_memory": 200_000_000}
        cluster = started(lambda: Cluster(initialize_head=True, head_node_args=node))
        alone, seconds = extracted(collection, options.model, folder / "alone")
        print(f"local: {seconds:.1f} s", flush=True)
        for kill in (False, True):
            second = started(lambda: cluster.add_node(**node))
            cluster.wait_for_nodes()
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            store = folder / f"cluster-{kill}"
            killed = []
            if kill:
                watch = (store, options.pictures // 5, cluster, second, killed)
                threading.Thread(target=kill_node, args=watch, daemon=True).start()
            made, seconds = extracted(collection, options.model, store, am.features.RayRunner())
            note = f", one killed after {killed[0]:,} pictures" if killed else ""
            print(f"two nodes{note}: {seconds:.1f} s", flush=True)
            same = np.array_equal(made.vectors, alone.vectors) and made.ids == alone.ids
            print(f"  {len(made):,} rows, identical to local: {same}; nodes alive at the end: {alive(ray)}", flush=True)
            ray.shutdown()
            if not kill:
                cluster.remove_node(second)
        cluster.shutdown()


def started(start):
    """Call `start` up to five times: on a busy machine, a Ray node sometimes fails to start."""
    for left in (4, 3, 2, 1, 0):
        try:
            return start()
        except Exception as error:
            print(f"the node did not start ({str(error)[:60]}), {left} attempts left", flush=True)
    raise SystemExit(1)


def extracted(collection, model: str, store: Path, runner=None) -> tuple[am.Features, float]:
    start = time.perf_counter()
    made = am.extract(collection, model, "penultimate", store=store, runner=runner, progress=False)
    return made[model, "penultimate"], time.perf_counter() - start


def kill_node(store: Path, after: int, cluster, node, killed: list[int]) -> None:
    """End all processes of a node at once, as a power cut would, as soon as the store holds `after` rows."""
    while True:
        time.sleep(0.2)
        rows = am.Store(store).database.query("SELECT LENGTH(numbers) FROM chunks")
        done = sum(size // 8 for (size,) in rows)
        if done >= after:
            cluster.remove_node(node, allow_graceful=False)
            killed.append(done)
            return


def alive(ray) -> int:
    return sum(node["Alive"] for node in ray.nodes())


if __name__ == "__main__":
    main()
