"""The effect of precision and engine on neighbours and quality, on the bundled cartoons or any labelled folder.

    python benchmarks/precision.py [--images FOLDER] [--models A,B] [--layer penultimate]

For each network, the reference is torch in float32, batch by batch. For the engine that `am.extract` chooses, in
float32 and in the fastest precision of this machine, the table has the mean overlap of the ten nearest neighbours with
those of the reference, and the difference in mAP from the reference. Takes some minutes on two cores.
"""

import argparse

import numpy as np
import pandas as pd
from limits import batches
from tqdm import tqdm

import amulsearch as am
from amulsearch.features.converted import BATCH
from amulsearch.features.engine import resolve_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="data/openclipart", help="a folder whose subfolders are the labels")
    parser.add_argument("--models", default="bundled", help="networks, or a group of networks")
    parser.add_argument("--layer", default="penultimate", help="layer to compare")
    options = parser.parse_args()
    collection = am.Collection.from_folder(options.images)
    relevance = am.Relevance.from_labels(collection.ids, collection.labels)
    rows = []
    for name in am.models.names_of(options.models):
        reference = am.Features(by_torch(name, options.layer, collection), collection.ids, collection.labels)
        nearest = am.ExactIndex.build(reference).all_neighbours(10)[0]
        quality = am.evaluate(reference, relevance).mean()["mAP"]
        for precision in dict.fromkeys(["float32", resolve_precision("auto")]):
            made = am.extract(collection, name, options.layer, precision=precision)[name, options.layer]
            overlap = am.measure.overlap(nearest, am.ExactIndex.build(made).all_neighbours(10)[0]).mean()
            change = am.evaluate(made, relevance).mean()["mAP"] - quality
            rows.append({"model": name, "precision": precision, "overlap@10": overlap, "mAP": quality + change})
            rows[-1]["mAP - torch's"] = change
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.4f"))


def by_torch(name: str, layer: str, collection: am.Collection) -> np.ndarray:
    """The vectors (N, D) of the collection, computed by torch in float32."""
    network, parts = am.models.load(am.models.get(name)), []
    for batch in tqdm(batches(network.model, collection), total=-(-len(collection) // BATCH), desc=f"torch {name}"):
        parts.append(network(batch, [layer])[layer])
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
