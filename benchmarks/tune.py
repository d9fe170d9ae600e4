"""Whether the recall that `tune_index` reports holds for pictures that were not used in tuning.

    python benchmarks/tune.py [FOLDER] [--store DIR] [--count 50000] [--width 128] [--recall .95] [--kinds Annoy]

A fifth of the pictures, at most 1000, is held back. An index of each kind is tuned on the others, and queried with the
pictures held back and with a new random sample of 1000 ids. With --count, the features are first enlarged as in
`index.py`. `make_emoji.py` makes a second collection. Takes a minute or two, ten minutes for 50,000 x 1280.
"""

import argparse
import tempfile

import numpy as np
import pandas as pd
from index import DATA, K, enlarge

import amulsearch as am
from amulsearch.features import nearest
from amulsearch.index.tuning import ask

KINDS = {kind.__name__: kind for kind in (am.AnnoyIndex, am.indexes.FaissIndex)}


def held_back(index: am.AnnoyIndex, base: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Mean recall for vectors that are not in the index, and its standard error."""
    limits = nearest(base, new, K, index.metric)[1][:, -1]
    found, _ = ask(index, new, limits, K, None)
    return float(np.mean(found)), float(np.std(found) / len(found) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=str(DATA), help="pictures; by default the bundled cartoons")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--count", type=int, help="number of vectors to enlarge the features to")
    parser.add_argument("--width", type=int, default=1280, help="width to reduce the features to first, with PCA")
    parser.add_argument("--recall", type=float, default=0.95, help="target recall")
    parser.add_argument("--kinds", default="", help=f"prefixes, separated by commas, of: {', '.join(KINDS)}")
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
                row = {"kind": name, "target": options.recall, "held back": mean, "std. error": error, "by id": by_id}
                rows.append(row)
    print(f"\n{len(base):,} x {base.shape[1]}, {held} held back")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
