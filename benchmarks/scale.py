"""Time, memory and disk space of extraction as the collection grows; the cost per picture should stay constant.

    python benchmarks/scale.py [--sizes 1000,10000,100000] [--model squeezenet1_1] [--precision auto]

For each size, a separate process scans a folder of copies of the bundled cartoons, each with a number behind its last
byte so that no two are the same, and extracts it into an empty store.
"peak memory" is the most memory that this process and its decoders held at once, without pages of files. 100,000
pictures take some ten minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of pictures, separated by commas")
    parser.add_argument("--model", default="squeezenet1_1", help="name of the network")
    parser.add_argument("--precision", default="auto", help="precision of the network")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(extract(*options.run, options.model, options.precision)))
        return
    rows = []
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            copy_pictures(Path(folder) / "pictures", size)
            command = [sys.executable, __file__, "--model", options.model, "--precision", options.precision]
            command += ["--run", f"{folder}/pictures", f"{folder}/store"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({"pictures": size, **json.loads(done.stdout.splitlines()[-1])})
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"), flush=True)
    table = pd.DataFrame(rows).set_index("pictures")
    print("each size relative to the one before:")
    print((table / table.shift()).dropna().to_string(float_format="%.2f"))


def copy_pictures(folder: Path, size: int) -> None:
    cartoons = am.Collection.from_folder(DATA, progress=False)
    contents = [cartoons.path(id).read_bytes() for id in cartoons.ids]
    for place in range(size):
        path = folder / f"{place // 1000:04}" / f"{place:07}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[place % len(contents)] + place.to_bytes(8))


def extract(folder: str, store: str, model: str, precision: str) -> dict:
    memory = Memory()
    start = time.perf_counter()
    collection = am.Collection.from_folder(folder, progress=False)
    scanned = time.perf_counter()
    features = am.extract(collection, model, "penultimate", precision=precision, store=store, progress=False)
    end = time.perf_counter()
    assert len(features.collection) == len(collection)
    return {
        "scan, ms per picture": 1000 * (scanned - start) / len(collection),
        "extraction, ms per picture": 1000 * (end - scanned) / len(collection),
        "peak memory, MiB": memory.most(),
        "disk, KB per picture": sum(path.stat().st_size for path in Path(store).rglob("*.*")) / 1000 / len(collection),
    }


class Memory:
    """Peak memory of this process and its children together, sampled ten times per second."""

    def __init__(self) -> None:
        self._most, self._done = 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
            pids = {os.getpid(), *map(int, children.split())}
            self._most = max(self._most, sum(map(_anonymous, pids)))

    def most(self) -> float:
        self._done.set()
        self._watch.join()
        return self._most / 1024


def _anonymous(pid: int) -> int:
    """Anonymous memory of a process in KiB: memory that is not backed by a file."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # the process has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    main()
