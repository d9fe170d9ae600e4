"""The networks of the table side by side: what they cost, and how well they find on the bundled cartoons.

    python benchmarks/networks.py [--n 32] [--rounds 5] [--store DIR]

For each network, the processor time of its forward pass for a picture (float32, batches in memory, the median of rounds
in which all run in turn; several cores share it, and other programs do not count), and P@1, P@5 and mAP of its
penultimate layer if its weights are on this machine. The others get random weights; they cost the same.
`models.table()` repeats these numbers (`amulsearch/models/network_table.py`).
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
from limits import forward, measured, record_of

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def milliseconds(side, count: int) -> float:
    """The processor time for a picture of a function that runs a network on so many."""
    start = time.process_time()
    side()
    return 1000 * (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=32, help="number of pictures")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--store", help="a store that keeps the features of the bundled cartoons")
    options = parser.parse_args()
    cartoons = am.Collection.from_folder(DATA)
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    ready = am.models.table().query("ready")["name"].tolist()
    features = am.extract(cartoons, ready, "penultimate", store=options.store)
    quality = {name: am.evaluate(made, relevance).mean() for (name, _), made in features.items()}
    sample = cartoons.subset(cartoons.sample(options.n))
    records = {name: record_of(name) for name in am.models.TABLE}
    with tempfile.TemporaryDirectory() as cache:  # graphs of random weights are of no use later
        os.environ["XDG_CACHE_HOME"] = cache
        forwards = {name: forward(model, "float32", sample) for name, model in records.items()}
        sides = {name: partial(milliseconds, side, options.n) for name, side in forwards.items()}
        cost = measured(sides, options.rounds)
    table = pd.DataFrame(quality).T[["P@1", "P@5", "mAP"]].reindex(list(cost))
    table.insert(0, "ms", pd.Series(cost))
    print(table.to_string(float_format="%.3f", na_rep=""))


if __name__ == "__main__":
    main()
