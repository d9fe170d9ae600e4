"""What a person waits for at the command line, in seconds and as ratios to `import pandas`, measured in turn.

    python benchmarks/waiting.py [--rounds 5] [--store DIR]

A fresh process each: help, an error of usage, a query by id, and a query by a new picture with the penultimate layers
of the four bundled networks; and the last again in a process that has asked before. Each runs once before it is
measured, so that Python's bytecode and the compiled networks are there, as they are from the second run on. The store
of the bundled cartoons is filled first if need be, which converts the networks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
ID = "food/bread_and_wine_mark_near_.webp"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str], status: int = 0) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == status, done.stderr
    return time.perf_counter() - start


def warm(store: str, new: Path, rounds: int) -> list[float]:
    """The seconds of queries by a new picture, after a first one."""
    panel = am.open_panel(store, am.models.BUNDLED, "penultimate", fusions=())
    found = []
    for _ in range(1 + rounds):
        start = time.perf_counter()
        panel.query(new, 4)
        found.append(time.perf_counter() - start)
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", help="a store of the bundled cartoons; by default, one that is discarded")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ENVIRONMENT["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        store, new = options.store or f"{folder}/store", Path(folder) / "new.webp"
        new.write_bytes((DATA / ID).read_bytes())
        command = ["-m", "amulsearch"]
        seconds([*command, "index", str(DATA), "--store", store, "--layers", "penultimate"])
        query = [*command, "query", "--store", store, "--layer", "penultimate", "--models", "bundled"]
        kinds = {
            "import pandas": (["-c", "import pandas"], 0),
            "import amulsearch": (["-c", "import amulsearch"], 0),
            "--help": ([*command, "--help"], 0),
            "an error of usage": ([*command, "query"], 2),
            "query by id": ([*query, ID], 0),
            "query by a new picture": ([*query, str(new)], 0),
        }
        found = {name: [] for name in kinds}
        for what, status in kinds.values():
            seconds(what, status)
        for _ in range(options.rounds):
            for name, (what, status) in kinds.items():
                found[name].append(seconds(what, status))
        found["the same, warm"] = warm(store, new, options.rounds)
    base = median(found["import pandas"])
    print(f"{'':24}{'seconds':>9}{'ratio':>8}")
    for name, times in found.items():
        print(f"{name:24}{median(times):9.2f}{median(times) / base:8.2f}")


if __name__ == "__main__":
    main()
