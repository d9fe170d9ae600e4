"""The networks of the table side by side: their speed, and how well they find on the bundled cartoons.

    python benchmarks/networks.py [--n 64] [--rounds 5] [--store DIR]

For each network, the pictures per second of its forward passes alone (float32, pictures in memory, medians over rounds
in which all run in turn), and P@1, P@5 and mAP of its penultimate layer if its weights are on this machine. The others
get random weights; their speed is the same. `models.table()` repeats these numbers (`amulsearch/models/facts.py`).
"""

import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd
from limits import forward, measured, record_of

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=64, help="number of pictures")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--store", help="a store that keeps the features of the bundled cartoons")
    options = parser.parse_args()
    cartoons = am.Collection.from_folder(DATA)
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    features = am.extract(cartoons, am.models.ready(), "penultimate", store=options.store)
    quality = {name: am.evaluate(made, relevance).mean() for (name, _), made in features.items()}
    sample = cartoons.subset(cartoons.sample(options.n))
    records = {name: record_of(name) for name in am.models.TABLE}
    with tempfile.TemporaryDirectory() as cache:  # graphs of random weights are of no use later
        os.environ["XDG_CACHE_HOME"] = cache
        rates = measured({name: forward(model, "float32", sample) for name, model in records.items()}, options.rounds)
    table = pd.DataFrame(quality).T[["P@1", "P@5", "mAP"]].reindex(list(rates))
    table.insert(0, "pictures/s", pd.Series(rates))
    print(table.to_string(float_format="%.3f", na_rep=""))


if __name__ == "__main__":
    main()
