"""Recall, queries per second, build time, disk and memory of every index, and the overhead of the library's methods.

    python benchmarks/index.py [--sizes 10000x128,100000x128] [--systems annoy,hnswlib] [--store DIR] [--csv FILE]

The vectors are features of the bundled cartoons, enlarged to each size: each lies between a cartoon and one of its 100
nearest neighbours. The queries are made in the same way and are in no index. Searches run one at a time in one thread,
and exclude the table that `Index.query` returns; each index runs in a process of its own. The default takes five
minutes, `--sizes 100000x1280` a quarter of an hour, and `1000000x128` half an hour, most of it for building graphs.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.features import distances_to, l2_normalize, nearest
from amulsearch.store import blocks

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
K, QUERIES, ROUNDS, SECONDS = 10, 500, 10, 10
"""Each point is measured with up to 500 queries in ten rounds, for at most ten seconds; the median time counts."""


class _Graph(am.indexes.Index):
    """An index of another library, a graph with the parameters of `FaissIndex`; only what `measure` asks for."""

    ending, approximate = ".graph", True

    @classmethod
    def build(cls, vectors: np.ndarray, ids: list[str], search_k: int = 100):
        index, vectors = cls._start(vectors, ids, "angular", search_k=search_k)
        index._fill((start, l2_normalize(block)) for start, block in blocks(vectors))
        return index

    def _write(self, path: Path) -> None:
        self._graph.save_index(str(path))


class Hnswlib(_Graph):
    def _fill(self, parts) -> None:
        import hnswlib

        self._graph = hnswlib.Index("l2", self.width)
        self._graph.init_index(len(self), M=16, ef_construction=200, random_seed=0)
        for start, units in parts:
            self._graph.add_items(units, np.arange(start, start + len(units)), num_threads=1)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._graph.set_ef(effort)
        rows, squares = self._graph.knn_query(l2_normalize(queries), n, num_threads=1)
        return rows.astype(np.int64), np.sqrt(squares.astype(np.float64))

    def take(self, rows) -> np.ndarray:
        return self._graph.get_items(rows, return_type="numpy")


class Nmslib(_Graph):
    def _fill(self, parts) -> None:
        import nmslib

        self._graph, self._units = nmslib.init(method="hnsw", space="l2"), np.empty((len(self), self.width), np.float32)
        for start, units in parts:
            self._units[start : start + len(units)] = units
            self._graph.addDataPointBatch(units, np.arange(start, start + len(units), dtype=np.int32))
        self._graph.createIndex({"M": 16, "efConstruction": 200, "indexThreadQty": 1})

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._graph.setQueryTimeParams({"efSearch": effort})
        rows, squares = zip(*self._graph.knnQueryBatch(l2_normalize(queries), n, num_threads=1), strict=True)
        return np.array(rows, dtype=np.int64), np.sqrt(np.array(squares, dtype=np.float64))

    def take(self, rows) -> np.ndarray:
        return self._units[rows]

    def _write(self, path: Path) -> None:
        self._graph.saveIndex(str(path), save_data=True)


class FaissCells(_Graph):
    """An inverted file of 512 cells."""

    def _fill(self, parts) -> None:
        import faiss

        units = np.concatenate([units for _, units in parts])
        self._graph = faiss.index_factory(self.width, "IVF512,Flat")
        self._graph.train(units[:: max(1, len(units) // 32_768)])
        self._graph.add(units)

    def _effort(self, n: int, search_k: int) -> int:
        return search_k

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._graph.nprobe = effort
        squares, rows = self._graph.search(l2_normalize(queries), n)
        return rows, np.sqrt(squares, dtype=np.float64)

    def _write(self, path: Path) -> None:
        import faiss

        faiss.write_index(self._graph, str(path))


SYSTEMS = {
    "exact": (am.ExactIndex, {}),
    "annoy 10 trees": (am.AnnoyIndex, {"n_trees": 10}),
    "annoy 50 trees": (am.AnnoyIndex, {"n_trees": 50}),
    "faiss ivf": (FaissCells, {}),
    "faiss hnsw": (am.indexes.FaissIndex, {}),
    "hnswlib": (Hnswlib, {}),
    "nmslib": (Nmslib, {}),
}
EFFORTS = {
    "annoy": (100, 300, 1000, 3000, 10_000, 30_000),
    "faiss ivf": (1, 2, 4, 8, 16, 32, 64),
    **dict.fromkeys(("faiss hnsw", "hnswlib", "nmslib"), (10, 20, 40, 80, 160, 320)),
}


def enlarge(vectors: np.ndarray, count: int, *, seed: int = 0, path: Path | None = None) -> np.ndarray:
    """Points (count, D), each between a vector and one of its 100 nearest neighbours; in a file if there is a path."""
    chance, units = np.random.default_rng(seed), l2_normalize(vectors, norm_dtype=np.float64)
    near = nearest(units, units, min(100, len(units) - 1), "angular", np.arange(len(units)))[0]
    shape = count, units.shape[1]
    points = np.lib.format.open_memmap(path, "w+", np.float32, shape) if path else np.empty(shape, np.float32)
    for start, block in blocks(points):
        one, share = chance.integers(0, len(units), len(block)), chance.random((len(block), 1), dtype=np.float32)
        other = near[one, chance.integers(0, near.shape[1], len(block))]
        points[start : start + len(block)] = (1 - share) * units[one] + share * units[other]
    return points


def make(features: np.ndarray, count: int, width: int, folder: Path) -> None:
    """Write the vectors, the queries, and the distance from each query to its true k-th neighbour."""
    features = am.transforms.PCA.fit(features, width)(features) if width < features.shape[1] else features
    enlarge(features, count, path=folder / "vectors.npy")
    enlarge(features, QUERIES, seed=1, path=folder / "queries.npy")
    vectors, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("vectors", "queries"))
    np.save(folder / "limits.npy", nearest(vectors, queries, K, "angular")[1][:, -1])


def names(count: int) -> list[str]:
    return [f"folder/subfolder/picture_{row:07}.webp" for row in range(count)]


def resident(which: str) -> float:
    """Current (VmRSS) or peak (VmHWM) memory of the process in MiB; includes pages of mapped files that were read."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def ask(index, vectors: np.ndarray, queries: np.ndarray, limits: np.ndarray, search_k: int | None):
    """The recall (Q,) and the seconds (Q,) of searches, one at a time; limits: the distances of the k-th neighbours."""
    rows, seconds = np.empty((len(queries), K), dtype=np.int64), np.empty(len(queries))
    for place, query in enumerate(queries):
        start = time.perf_counter()
        rows[place] = index.search(query[None], K, search_k=search_k)[0]
        seconds[place] = time.perf_counter() - start
    return (distances_to(vectors, queries, rows, "angular") <= limits[:, None] + 1e-5).mean(axis=1), seconds


def measure(system: str, folder: Path) -> list[dict]:
    """Build one index and measure it: one row per search effort."""
    kind, parameters = SYSTEMS[system]
    vectors, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("vectors", "queries"))
    limits, ids = np.load(folder / "limits.npy"), names(len(vectors))
    before, start = resident("VmRSS"), time.perf_counter()
    index = kind.build(vectors, ids, **parameters)
    cost = {"build, s": time.perf_counter() - start, "memory, MiB": resident("VmHWM") - before}
    path = index.save(folder / "index")
    cost["disk, MB"] = next(path.rglob(f"*{kind.ending}")).stat().st_size / 1e6
    shutil.rmtree(path)
    efforts = next((values for name, values in EFFORTS.items() if system.startswith(name)), (None,))
    found, seconds = {effort: [] for effort in efforts}, {effort: [] for effort in efforts}
    for part in np.array_split(np.arange(len(queries)), ROUNDS):  # so that a slow phase affects all efforts equally
        for effort in efforts:
            if sum(seconds[effort]) > SECONDS:
                continue
            recall, took = ask(index, vectors, queries[part], limits[part], effort)
            found[effort] += recall.tolist()
            seconds[effort] += took.tolist()
    return [
        {
            "system": system,
            "effort": f"search_k={effort}" if effort else "",
            "recall@10": np.mean(found[effort]),
            "queries/s": 1 / np.median(seconds[effort]),
            **cost,
        }
        for effort in efforts
    ]


def best_at(table: pd.DataFrame, recall: float = 0.95) -> pd.DataFrame:
    """The fastest setting of each system that reaches this recall, and its speed relative to exact search."""
    exact = table.loc[table["system"] == "exact", "queries/s"]
    reached = table[table["recall@10"] >= recall].sort_values("queries/s", ascending=False)
    best = reached.groupby("system", sort=False).first().reset_index()
    return best.assign(**{"times exact": best["queries/s"] / exact.iloc[0]}) if len(exact) else best


def overhead(features: np.ndarray, width: int, folder: Path, rounds: int = 9) -> None:
    """Compare a query by id with the bare Annoy call for the same n and search_k, and time opening an index."""
    features = am.transforms.PCA.fit(features, width)(features) if width < features.shape[1] else features
    enlarge(features, 50_000, path=folder / "vectors.npy")
    index = am.AnnoyIndex.build(np.load(folder / "vectors.npy", mmap_mode="r"), names(50_000), n_trees=50)
    path, bare, rng = index.save(folder / "index"), index._annoy, np.random.default_rng(0)
    ways = {
        "bare": lambda row: bare.get_nns_by_item(row, K + 1, 5000, include_distances=True),
        "query": lambda row: index.query(index.ids[row], K),
    }
    seconds = {way: [] for way in ways}
    for number in range(rounds):
        for way in sorted(ways, reverse=bool(number % 2)):
            rows = rng.integers(0, len(index), 200).tolist()
            start = time.perf_counter()
            for row in rows:
                ways[way](row)
            seconds[way].append((time.perf_counter() - start) / len(rows))
    ratios = np.array(seconds["query"]) / np.array(seconds["bare"])
    code = (
        "import time, amulsearch as am\nopen_index = am.AnnoyIndex.open\nstart = time.perf_counter()\n"
        f"open_index({str(path)!r})\n"
        "print(time.perf_counter() - start)"
    )
    opened = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(rounds)]
    print(
        f"50,000 x {width}, 50 trees, query by id, k=10: bare Annoy {1e6 * np.median(seconds['bare']):.0f} us, "
        f"Index.query {1e6 * np.median(seconds['query']):.0f} us, ratio {np.median(ratios):.3f} (median of {rounds} "
        f"alternating rounds, {ratios.min():.3f} to {ratios.max():.3f}); opening {1e3 * np.median(opened):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000x128,100000x128", help="NxD, separated by commas; D up to 1280")
    parser.add_argument("--systems", default="", help=f"prefixes, separated by commas, of: {', '.join(SYSTEMS)}")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--csv", help="file to write all measured points to")
    options = parser.parse_args()
    # For the processes that are started below.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    systems = [system for system in SYSTEMS if system.startswith(tuple(options.systems.split(",")))]
    with tempfile.TemporaryDirectory() as temporary:
        cartoons = am.Collection.from_folder(DATA)
        store = options.store or f"{temporary}/store"
        made = am.extract(cartoons, "tf_efficientnet_lite2", "penultimate", store=store)
        features = np.array(made["tf_efficientnet_lite2", "penultimate"].vectors)
        for width in (128, features.shape[1]):
            overhead(features, width, Path(temporary))
        parts = []
        for size in filter(None, options.sizes.split(",")):
            make(features, *map(int, size.split("x")), Path(temporary))
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
                rows = [row for system in systems for row in pool.submit(measure, system, Path(temporary)).result()]
            table = pd.DataFrame(rows)
            parts.append(table.assign(size=size))
            for title, part in (("", table), ("fastest setting at a recall@10 of at least .95: ", best_at(table))):
                print(f"\n{title}{size}\n{part.to_string(index=False, float_format='{:,.3f}'.format)}", flush=True)
    if options.csv and parts:
        pd.concat(parts).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
