"""Whether what `tune` promises holds for pictures that had no part in it.

    python benchmarks/tune.py [FOLDER] [--store DIR] [--count 50000] [--width 128] [--recall .95] [--kinds Annoy]

A fifth of the pictures, at most 1000, is held back; an index of each kind is tuned on the others and asked with those
held back, and by 1000 ids drawn anew. With --count the features are first enlarged as in `index.py`. A second
collection comes from `make_emoji.py`. A minute or two; ten for 50,000 x 1280.
"""

import argparse
import tempfile

import numpy as np
import pandas as pd
from enlarge import enlarge
from index import DATA, K

import amulsearch as am
from amulsearch.features import as_near, nearest
from amulsearch.store import blocks

KINDS = {
    kind.__name__: kind
    for kind in (
        am.AnnoyIndex,
        am.indexes.FaissIVFIndex,
        am.indexes.FaissHNSWIndex,
        am.indexes.FaissLSHIndex,
        am.indexes.HnswlibIndex,
        am.indexes.NmslibIndex,
    )
}


def held_back(index: am.AnnoyIndex, base: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Recall for vectors that are not in the index, and its standard error."""
    limits = nearest(blocks(base), new, K, index.metric)[1][:, -1]
    found = [as_near(index.query(one, K)["distance"], limit).mean() for one, limit in zip(new, limits, strict=True)]
    return float(np.mean(found)), float(np.std(found) / len(found) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=str(DATA), help="by default the bundled cartoons")
    parser.add_argument("--store", help="keep the features here; by default they are computed anew")
    parser.add_argument("--count", type=int, help="enlarge the features to so many vectors")
    parser.add_argument("--width", type=int, default=1280, help="reduce them to this width (PCA) before")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--kinds", default="", help=f"the beginnings of some of: {', '.join(KINDS)}")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        collection = am.Collection.from_folder(options.folder)
        store = options.store or f"{temporary}/store"
        made = am.extract(collection, "tf_efficientnet_lite2", "penultimate", store=store)
        vectors = np.array(made["tf_efficientnet_lite2", "penultimate"].vectors)
        if options.width < vectors.shape[1]:
            vectors = am.transforms.PCA.fit(vectors, options.width)(vectors)
        if options.count:
            vectors = enlarge(vectors, options.count)
        order, held = np.random.default_rng(7).permutation(len(vectors)), min(1000, len(vectors) // 5)
        new, base = vectors[order[:held]], vectors[order[held:]]
        for name, kind in KINDS.items():
            if name.startswith(tuple(options.kinds.split(","))):
                tuned = am.indexes.tune_index(
                    base, [str(row) for row in range(len(base))], kind=kind, recall=options.recall, k=K
                )
                print(tuned, flush=True)
                mean, error = held_back(tuned.index, base, new)
                by_id = tuned.index.recall(K, sample=1000, seed=99)
                rows.append({"kind": name, "wanted": options.recall, "held back": mean, "+-": error, "by id": by_id})
    print(f"\n{len(base):,} x {base.shape[1]}, {held} held back")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
