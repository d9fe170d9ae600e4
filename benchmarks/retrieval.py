"""Retrieval quality on the bundled cartoons: each picture is a query against all others; its folder is relevant.

    python benchmarks/retrieval.py [--store DIR]

Prints P@1, P@5 and mAP of each bundled network by layer and preprocessing, the chance level, and the 2019 post's recipe
(a plain conversion to RGB, which turns transparent areas black; squashed to a square; logits). Takes some minutes on
two cores.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def row(name: str, system, relevance: am.Relevance) -> dict:
    return {"system": name, **am.evaluate(system, relevance).mean()[["P@1", "P@5", "mAP"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or temporary
        cartoons = am.Collection.from_folder(DATA)
        relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
        noise = np.random.default_rng(0).random((len(cartoons), len(cartoons)))
        rows = [row("chance level", noise, relevance)]
        black = am.Collection.from_folder(DATA, background="black")
        post = am.extract(black, layers=["logits"], framing="squash", store=f"{store}/post")
        ours = am.extract(cartoons, layers=["logits", "penultimate"], store=f"{store}/ours")
        for kind, features in (("on black, squash", post), ("on white, pad", ours)):
            for (model, layer), vectors in features.items():
                rows.append(row(f"{kind}: {model} {layer}", vectors, relevance))
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
