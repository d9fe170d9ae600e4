"""What can stand in for Annoy where no compiler is: exact search, and the approximate indexes that come as wheels.

    pip install voyager usearch
    python benchmarks/stand_in.py [--sizes 2000x1280,20000x128,100000x128] [--store DIR]

For each: recall of the first ten neighbours, searches per second one at a time and in batches of 500, build time, and
size on disk; one thread, the graphs with M=16, ef_construction=200 and ef=100. Times are processor times, so that
other programs matter little. The vectors and queries are those of `index.py`. Searches through the library exclude the
table that `Index.query` returns. The default takes about five minutes.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import index as ours
import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.features import distances_to, l2_normalize

K, M, CONSTRUCTION, EF = ours.K, 16, 200, 100


def library(kind, **parameters):
    """Builds an index of this library: what searches it, and what saves it."""

    def build(vectors):
        index = kind.build(vectors, ours.names(len(vectors)), **parameters)
        # The index alone, without the database beside it.
        return lambda queries: index.search(queries, K)[0], lambda path: index._write(path)

    return build


def voyager(vectors):
    from voyager import Index, Space

    index = Index(Space.Cosine, vectors.shape[1], M=M, ef_construction=CONSTRUCTION, random_seed=0)
    index.add_items(vectors, num_threads=1)
    search = lambda queries: index.query(queries, K, num_threads=1, query_ef=EF)[0].astype(np.int64)  # noqa: E731
    return search, lambda path: index.save(str(path))


def usearch(vectors):
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="f32", connectivity=M, expansion_add=CONSTRUCTION)
    index.expansion_search = EF
    index.add(np.arange(len(vectors)), vectors, threads=1)

    def search(queries):
        return np.asarray(index.search(queries, K, threads=1).keys, dtype=np.int64).reshape(len(queries), K)

    return search, lambda path: index.save(str(path))


SYSTEMS = {
    "exact search": library(am.ExactIndex),
    "Annoy, 50 trees": library(am.AnnoyIndex),
    "FAISS HNSW": library(am.indexes.FaissIndex),
    "FAISS IVF": library(ours.FaissCells, search_k=16),
    "Voyager": voyager,
    "USearch": usearch,
}


def measure(folder: Path, rounds: int = 9) -> pd.DataFrame:
    """Build all indexes, and measure them in turn; speeds are medians over rounds."""
    vectors, queries, limits = (np.load(folder / f"{name}.npy") for name in ("vectors", "queries", "limits"))
    table, searches, units = {}, {}, l2_normalize(vectors)
    for name, build in SYSTEMS.items():
        start = time.process_time()
        try:
            searches[name], save = build(vectors)
        except (ModuleNotFoundError, am.errors.AmulsearchError) as error:
            print(f"{name} is left out: {error}")
            continue
        built = time.process_time() - start
        save(path := folder / "saved")
        distances = distances_to(units, l2_normalize(queries), searches[name](queries), "euclidean")
        recall = (distances <= limits[:, None] + 1e-5).mean()
        table[name] = {"recall@10": recall, "build, s": built, "file, MB": path.stat().st_size / 1e6}
        path.unlink()
    seconds = {name: ([], []) for name in searches}
    for part in np.array_split(queries, rounds):
        for name, search in searches.items():
            start = time.process_time()
            for query in part:
                search(query[None])
            middle = time.process_time()
            search(queries)
            seconds[name][0].append((middle - start) / len(part))
            seconds[name][1].append((time.process_time() - middle) / len(queries))
    for name, (alone, together) in seconds.items():
        table[name] |= {"searches/s, one at a time": 1 / np.median(alone), "in batches": 1 / np.median(together)}
    return pd.DataFrame(table).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="2000x1280,20000x128,100000x128", help="NxD, separated by commas")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cartoons = am.Collection.from_folder(ours.DATA)
        made = am.extract(cartoons, "tf_efficientnet_lite2", "penultimate", store=options.store or f"{temporary}/store")
        features = np.array(made["tf_efficientnet_lite2", "penultimate"].vectors)
        for size in options.sizes.split(","):
            ours.make(features, *map(int, size.split("x")), Path(temporary))
            print(f"\n{size}\n{measure(Path(temporary)).to_string(float_format='{:,.3f}'.format)}", flush=True)


if __name__ == "__main__":
    main()
