"""What a row costs in a large store: vectors appended in blocks of several sizes, and the paths of pictures.

    python benchmarks/rows.py [--n 400000]

Pictures and vectors are made up, see `million.py`; the paths are those of the bundled cartoons. The cost of a row
should depend neither on the number of rows appended at once nor on the size of the store.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from million import MADE_BY, pictures, vectors

import amulsearch as am

BLOCKS = (4999, 5001, 20_000)


def appended(n: int) -> dict[int, float]:
    """Microseconds per row of appending each block to the vectors of a store of n pictures."""
    with tempfile.TemporaryDirectory() as folder:
        store = am.Store(Path(folder) / "store")
        numbers, found, start = store.register(pictures(np.arange(n, dtype=float))), {}, n
        file = store.vectors(MADE_BY)
        for count in BLOCKS:
            start -= count
            made = vectors(start, count)
            before = time.perf_counter()
            file.append(numbers[start : start + count], made)
            file.flush()
            found[count] = 1e6 * (time.perf_counter() - before) / count
        return found


def located() -> float:
    """Microseconds of the path of a picture."""
    cartoons = am.Collection.from_folder(Path(__file__).parents[1] / "data" / "openclipart", progress=False)
    ids = cartoons.ids
    before = time.perf_counter()
    for id in ids:
        cartoons.path(id)
    return 1e6 * (time.perf_counter() - before) / len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400_000, help="number of pictures in the store")
    options = parser.parse_args()
    small, large = appended(40_000), appended(options.n)
    table = pd.DataFrame({"of 40,000": small, f"of {options.n:,}": large}).rename_axis("rows at once")
    table["ratio"] = table.iloc[:, 1] / table.iloc[:, 0]
    print("append to a store, microseconds per row:")
    print(table.to_string(float_format="%.1f"))
    print(f"5,001 rows at once relative to 4,999: {large[5001] / large[4999]:.2f} per row")
    print(f"the path of a picture: {located():.1f} microseconds")


if __name__ == "__main__":
    main()
