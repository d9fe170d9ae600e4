"""Retrieval on the bundled cartoons, by numbers: each picture asks for all others, the same folder is relevant.

    python benchmarks/retrieval.py [--store DIR]

Prints P@1, P@5 and mAP of each bundled network by layer and intake, beside chance and the 2019 post's recipe (a bare
conversion to RGB, which turns transparent pictures black, squashed to the square, logits). Some minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def precision(similarity: np.ndarray, labels: np.ndarray) -> dict:
    """P@1, P@5 and mean average precision over the whole ranking, of a matrix (N, N) of similarities."""
    similarity = similarity.copy()
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    relevant = labels[order] == labels[:, None]  # (N, N - 1)
    relevant = relevant[relevant.any(axis=1)]
    hits = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
    average = (hits * relevant).sum(axis=1) / relevant.sum(axis=1)
    return {"P@1": relevant[:, 0].mean(), "P@5": relevant[:, :5].mean(), "mAP": average.mean()}


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="keep the features here; by default they are computed anew")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or temporary
        cartoons = am.Collection.from_folder(DATA)
        labels = np.array(cartoons.labels)
        noise = np.random.default_rng(0).random((len(labels), len(labels)))
        rows = [{"what": "chance", **precision(noise, labels)}]
        black = am.Collection.from_folder(DATA, background="black")
        post = am.extract(black, layers=["logits"], framing="squash", store=f"{store}/post")
        ours = am.extract(cartoons, layers=["logits", "penultimate"], store=f"{store}/ours")
        for kind, features in (("on black, squash", post), ("on white, pad", ours)):
            for (model, layer), vectors in features.items():
                rows.append({"what": f"{kind}: {model} {layer}", **precision(cosines(vectors.vectors), labels)})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
