"""Exact search of all pictures at once, as a multiple of the time that FAISS alone takes.

    python benchmarks/neighbours.py [--n 100000] [--width 128] [--rounds 3]

Bare `faiss.knn` finds the 10 nearest of each of n vectors in float32, with the vector itself among them. The others are
`ExactIndex.all_neighbours(10)` and `near_duplicates`. Every round measures all of them in
alternating order; the values are medians over the rounds. The vectors are random, of 20 dimensions in --width with some
noise, and one in a hundred is a slightly changed copy of another. For "half identical", half of the vectors
were replaced by one of them. The default takes five minutes on four cores.
"""

import argparse
import time
from functools import partial

import faiss
import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.features import metric_vectors

K = 10


def made(count: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((count, 20), dtype=np.float32) @ rng.standard_normal((20, width), dtype=np.float32)
    points += rng.standard_normal(points.shape, dtype=np.float32)
    copies = count // 100
    points[:copies] = points[-copies:] + 0.1 * rng.standard_normal((copies, width), dtype=np.float32)
    return metric_vectors(points, "angular")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000, help="number of vectors")
    parser.add_argument("--width", type=int, default=128, help="width of the vectors")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    options = parser.parse_args()
    points = made(options.n, options.width)
    features = am.Features(points, [str(row) for row in range(options.n)])
    index = am.ExactIndex.build(features)
    same = points.copy()
    same[::2] = same[0]
    alike = am.Features(same, features.ids)
    crowded = am.ExactIndex.build(alike)
    sides = {
        "bare faiss.knn": partial(faiss.knn, points, points, K),
        "all_neighbours": partial(index.all_neighbours, K),
        "near_duplicates": partial(am.systems.near_duplicates, features),
        "all_neighbours, half identical": partial(crowded.all_neighbours, K),
        "near_duplicates, half identical": partial(am.systems.near_duplicates, alike),
    }
    rows = []
    for number in range(options.rounds):
        seconds = {}
        for name in sorted(sides, key=list(sides).index, reverse=bool(number % 2)):
            start = time.perf_counter()
            sides[name]()
            seconds[name] = time.perf_counter() - start
        rows.append(seconds)
    table = pd.DataFrame(rows)[list(sides)]
    ratios = table.div(table["bare faiss.knn"], axis=0)
    shown = {"seconds": table.median(), "ratio": ratios.median(), "least": ratios.min(), "greatest": ratios.max()}
    print(f"{options.n:,} x {options.width}, {K} nearest, median of {options.rounds} rounds")
    print(pd.DataFrame(shown).to_string(float_format="%.2f"))


if __name__ == "__main__":
    main()
