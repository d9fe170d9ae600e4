"""How well two answers to "does anything here fit?" hold: the novelty test, and calibrated probabilities.

    python benchmarks/novelty.py FOLDER FOLDER [FOLDER ...] [--store DIR]

Each folder in turn is the collection. A random fifth of it is held out and asks as new pictures that belong; all
pictures of the other folders ask as pictures that do not. Prints how many of either are told that nothing is likely to
fit, at p <= .05, by a plain threshold on the distance of one network, by the novelty test of four networks, and by that
of the 8 layers of the preset. Pictures of another folder may well have something alike in this one.

Then the expected calibration error of `calibrate` by five-fold cross-validation over the labels, of one network and of
the preset, and the mean of it over ten random halves: fitted to one half of the labels, tested on the other.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.systems import calibrate

ONE = "tf_efficientnet_lite2"


def layers_of(folder: str, store: str) -> dict[str, list[am.Features]]:
    collection = am.Collection.from_folder(folder)
    plain = am.extract(collection, layers="penultimate", store=store)
    four = [plain[name, "penultimate"] for name in am.models.BUNDLED]
    one = [plain[ONE, "penultimate"]]
    return {
        f"{ONE}, distance": one,
        "4 networks": four,
        "8 layers": am.systems.SAME_KIND.layers_of(collection, store=store),
    }


def told(home: list[am.Features], others: list[list[am.Features]]) -> dict[str, float]:
    """The fraction of pictures that are told that nothing fits, of those that belong and of the other folders."""
    held = np.random.default_rng(0).permutation(len(home[0])) % 5 == 0
    ids = [id for id, out in zip(home[0].ids, held, strict=True) if not out]
    test = am.systems.NoveltyTest.build([am.Features(part.vectors[~held], ids) for part in home], sample=len(ids))
    asked = [[part.vectors[held] for part in home], *([part.vectors for part in other] for other in others)]
    alarms = [np.mean([test.p_value(list(row)) <= 0.05 for row in zip(*parts, strict=True)]) for parts in asked]
    return dict(zip(["belong", *(f"other {number}" for number in range(1, len(asked)))], alarms, strict=True))


def halves_error(index: am.indexes.Index, relevance: am.Relevance) -> float:
    """The mean calibration error on labels that took no part, over ten random halves."""
    rows, distances = index.all_neighbours(20)
    labels = np.array([str(label) for label in relevance.labels])
    asked = np.zeros(len(labels), dtype=bool)
    asked[relevance.queries] = True
    relevant, errors = labels[rows] == labels[:, None], []
    names = np.unique(labels[asked])
    for seed in range(10):
        first = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2])
        fitted = np.array([label in first for label in labels]) & asked
        place = {row: at for at, row in enumerate(np.flatnonzero(fitted))}
        some = am.Relevance(relevance.ids, relevance.labels, relevance.grades, np.array(sorted(place), dtype=np.int64))
        fit = calibrate(index, some, sample=len(labels))
        test = asked & ~fitted
        predicted, found = fit.probability(distances[test]).ravel(), relevant[test].ravel()
        bins = np.minimum((predicted * 10).astype(int), 9)
        errors.append(
            sum(
                (bins == at).mean() * abs(predicted[bins == at].mean() - found[bins == at].mean())
                for at in np.unique(bins)
            )
        )
    return float(np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", help="folders whose subfolders are the labels, at least two")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(options.store or temporary)
        layers = [layers_of(folder, base / Path(folder).name) for folder in options.folders]
    rows, errors = {}, {}
    for folder, home in zip(options.folders, layers, strict=True):
        others = [other for other in layers if other is not home]
        for system, parts in home.items():
            rows[Path(folder).name, system] = told(parts, [other[system] for other in others])
        one = home[f"{ONE}, distance"][0]
        relevance = am.Relevance.from_labels(one.ids, one.labels)
        graph = am.systems.SAME_KIND.system(home["8 layers"])
        for system, index in ((ONE, am.ExactIndex.build(one)), ("same-kind", graph)):
            whole = calibrate(index, relevance, sample=len(one))
            errors[Path(folder).name, system] = {"5 parts": whole.ece, "halves": halves_error(index, relevance)}
    table = pd.DataFrame(rows).T
    print("told that nothing is likely to fit, at p <= .05 (other 1, 2: the other folders, in their order)")
    print(table.to_string(float_format="%.3f"))
    print(table.groupby(level=1, sort=False).mean().to_string(float_format="%.3f"))
    print("\nexpected calibration error on labels that took no part")
    print(pd.DataFrame(errors).T.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
