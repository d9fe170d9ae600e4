"""A store of a million pictures: opening it, a query by id, adding a thousand pictures, an evaluation of a sample.

    python benchmarks/million.py [--n 1000000] [--trees 10]

Pictures and vectors (128 numbers, in clusters) are made up; no picture file is read. Each step runs in a process of its
own, which reports its seconds without imports, and the most memory it held beyond the pages of mapped files.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

WIDTH, ADDED = 128, 1000
MADE_BY = {"model": "made up", "layer": "penultimate", "backend": "none"}


def pictures(numbers: np.ndarray) -> am.Collection:
    """Made-up pictures in folders of a thousand; a number is a place in the alphabet."""
    ids = [f"{number / 1000:013.3f}/{number:.1f}.png".replace(".", "-", 1) for number in numbers]
    table = pd.DataFrame({"id": ids, "label": [f"label {int(number) % 2000}" for number in numbers]}, dtype=object)
    table = table.assign(width=320, height=240, format="PNG", frames=1, bytes=1000)
    table["digest"] = [hashlib.sha256(id.encode()).hexdigest() for id in ids]
    table = table.sort_values("id", ignore_index=True)
    return am.Collection(Path("/made up"), table, pd.DataFrame({"id": [], "reason": []}, dtype=object))


def vectors(start: int, count: int) -> np.ndarray:
    chance = np.random.default_rng([7, start])
    centres = np.random.default_rng(7).standard_normal((2000, WIDTH)).astype(np.float32)
    return centres[(start + np.arange(count)) % 2000] + chance.standard_normal((count, WIDTH)).astype(np.float32)


def fill(store: am.Store, collection: am.Collection, numbers: np.ndarray) -> None:
    """Append the vectors that the store lacks, as an extraction does."""
    file = store.vectors(MADE_BY)
    new = np.flatnonzero(file.places(numbers) < 0)
    for start in range(0, len(new), 8192):
        part = new[start : start + 8192]
        file.append(numbers[part], vectors(start, len(part)))
    file.flush()
    store.save_collection(collection, numbers, current=[MADE_BY])


def make(folder: Path, n: int, trees: int) -> None:
    store, collection = am.Store(folder), pictures(np.arange(n, dtype=float))
    with store.lock():
        fill(store, collection, store.register(collection))
    features = am.features.FeatureSet.open(store)["made up", "penultimate"]
    am.AnnoyIndex.build(features, n_trees=trees).save_in(store, "made up penultimate")


def open_store(folder: Path, n: int):
    return am.Store.open(folder).revision


def query(folder: Path, n: int):
    id = pictures(np.array([n // 3], dtype=float)).ids[0]
    found = am.AnnoyIndex.open_in(am.Store.open(folder), "made up penultimate").query(id, 10)
    assert len(found) == 10
    return found["id"].tolist()


def add(folder: Path, n: int):
    """A thousand new pictures in the middle of the alphabet, in the table of the whole folder, as after a scan."""
    collection = pictures(np.concatenate([np.arange(n, dtype=float), n // 2 + 0.5 + np.arange(ADDED)]))
    held["seconds"] = time.perf_counter()  # the scan that makes the table is not counted
    store = am.Store.open(folder)
    with store.lock():
        fill(store, collection, store.register(collection))


def evaluate(folder: Path, n: int):
    features = am.features.FeatureSet.open(folder)["made up", "penultimate"]
    relevance = am.Relevance.from_labels(features.ids, features.labels)
    asked = [features.ids[row] for row in np.random.default_rng(0).permutation(len(features))[:200]]
    return am.evaluate(features, relevance, queries=asked).mean()["mAP"]


held = {"seconds": 0.0, "memory": 0, "running": True}
STEPS = {"open": open_store, "query by id": query, "evaluate 200": evaluate, f"add {ADDED:,}": add}


def watch() -> None:
    """Note the most anonymous memory: what is beyond the pages of mapped files."""
    while held["running"]:
        lines = Path("/proc/self/status").read_text().splitlines()
        anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        held["memory"] = max(held["memory"], anonymous)
        time.sleep(0.01)


def step(name: str, folder: Path, n: int) -> None:
    for name_of in ("AnnoyIndex", "evaluate", "Relevance", "Collection"):
        getattr(am, name_of)  # imports are not counted
    thread = threading.Thread(target=watch)
    thread.start()
    held["seconds"] = time.perf_counter()
    STEPS[name](folder, n)
    seconds = time.perf_counter() - held["seconds"]
    held["running"] = False
    thread.join()
    print(json.dumps({"step": name, "seconds": round(seconds, 3), "MiB": held["memory"] // 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--trees", type=int, default=10)
    parser.add_argument("--store", type=Path, help="keep the store here")
    parser.add_argument("--step", help="one step, in this process")
    options = parser.parse_args()
    if options.step:
        step(options.step, options.store, options.n)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.store or Path(temporary) / "store"
        start = time.perf_counter()
        make(folder, options.n, options.trees)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
        seconds = time.perf_counter() - start
        print(f"{options.n:,} pictures x {WIDTH}: made and indexed in {seconds:.0f} s, {size:,.0f} MiB")
        database = (folder / "store.sqlite").stat().st_size / 2**20
        print(f"of which the database {database:,.0f} MiB")
        rows = []
        for name in STEPS:
            more = ["--step", name, "--store", folder, "--n", str(options.n)]
            done = subprocess.run([sys.executable, __file__, *more], capture_output=True, text=True)
            if done.returncode:
                print(done.stderr)
                continue
            rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
