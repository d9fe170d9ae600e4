"""The preset best compared with simpler systems, on any folder whose subfolders are its labels.

    python benchmarks/preset.py [FOLDER] [--store DIR]

Prints P@1, P@5 and mAP of the 2019 post's recipe and its vote, of each bundled network's penultimate layer, of fused
lists, of re-ranking and of the preset: on all queries, on the half of the categories on which the preset's parameters
were chosen (for the bundled cartoons only), and on the other half. Then follow the statistical significance of the
preset's gain over the best single network, and the time of a query.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.measure import fused_similarities

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def halves(collection: am.Collection) -> dict[str, list[str]]:
    names = np.array(sorted({label for label in collection.labels if label}))
    first = set(names[np.random.default_rng(0).permutation(len(names))[: len(names) // 2]])
    pairs = [(id, label) for id, label in zip(collection.ids, collection.labels, strict=True) if label]
    return {
        "all": [id for id, _ in pairs],
        "chosen on": [id for id, label in pairs if label in first],
        "held back": [id for id, label in pairs if label not in first],
    }


def systems(collection: am.Collection, folder: str, store: str) -> dict:
    black = am.Collection.from_folder(folder, background="black", progress=False)
    post = am.extract(black, layers="logits", framing="squash", store=f"{store}/post")
    ours = am.extract(collection, layers=["penultimate", "last:gem"], store=f"{store}/ours")
    best = am.BEST.features(collection, store=f"{store}/ours")
    parts = [post[name, "logits"] for name in am.models.BUNDLED]
    plain = [ours[name, "penultimate"] for name in am.models.BUNDLED]
    joined = am.transforms.concatenate([ours[name, "last:gem"] for name in am.models.BUNDLED])
    reduced = am.transforms.PCA.fit(joined, min(256, len(joined) - 1), whiten=0.5)(joined)
    noise = np.random.default_rng(0).random((len(collection), len(collection)))
    votes = fused_similarities(parts, "vote", depth=4)
    return {
        **{f"post's recipe: {name}": post[name, "logits"] for name in am.models.BUNDLED},
        "post's vote of 4, ties at random": lambda rows: np.ceil(votes(rows) - 1e-9) + noise[rows] / 2,
        **{f"{name} penultimate": ours[name, "penultimate"] for name in am.models.BUNDLED},
        "combsum of 4 penultimate": fused_similarities(plain, "combsum"),
        "4 x last:gem concatenated": joined,
        "... PCA 256 whitened .5": reduced,
        "... and query expansion": am.indexes.QueryExpansion.build(reduced, 10, alpha=3),
        "... and k-reciprocal": am.indexes.KReciprocal.build(reduced, 10, 3, weight=0.5),
        "preset best": best,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = "a folder whose subfolders are the labels; by default the bundled cartoons"
    parser.add_argument("folder", nargs="?", default=str(DATA), help=what)
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        collection = am.Collection.from_folder(options.folder)
        relevance = am.Relevance.from_labels(collection.ids, collection.labels)
        found = systems(collection, options.folder, options.store or temporary)
        queries = halves(collection)
        done = {
            (name, half): am.evaluate(system, relevance, queries=ids)
            for name, system in found.items()
            for half, ids in queries.items()
        }
    rows = {key: result.mean()[["P@1", "P@5", "mAP"]] for key, result in done.items()}
    table = pd.DataFrame(rows).T.unstack().swaplevel(axis=1)[list(queries)].loc[list(found)]
    print(table.to_string(float_format="%.3f"))
    single = max((f"{name} penultimate" for name in am.models.BUNDLED), key=lambda name: rows[name, "chosen on"]["mAP"])
    print(f"\npreset best compared with {single}, on the held-back half:")
    for measure in ("P@1", "P@5", "mAP"):
        change = done["preset best", "held back"].compare(done[single, "held back"], measure)
        print(measure, {key: round(value, 4) for key, value in change.items()})
    index = am.AnnoyIndex.build(found["preset best"])
    image = collection.open(collection.ids[0])
    index.query(image, 4)  # so that the networks are loaded
    for what, query in (("a picture of the collection", collection.ids[0]), ("a new picture", image)):
        times = []
        for _ in range(9):
            start = time.perf_counter()
            index.query(query, 4)
            times.append(time.perf_counter() - start)
        print(f"a query by {what}: {1000 * np.median(times):.1f} ms")


if __name__ == "__main__":
    main()
