"""What one system sees and another does not: how well planted groups are found, and how long it takes.

    python benchmarks/contrasts.py [FOLDER] [--store DIR] [--runs 200]

Two systems have EfficientNet-Lite0's last:gem of the folder, by default the bundled cartoons, reduced to 64 components,
and a little noise of their own. One has a direction more, in which the pictures of one subfolder lie together; or it
has none (then every group that is found is false). Prints how often the group is found, the area under the ROC curve of
the links into it as a test of belonging to the subfolder, and how many groups are false (less than half of them in the
subfolder). Then six pairs of systems of 10,000 pictures are timed.
"""

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
NOISE, STRENGTH, LEAST = 0.03, 0.8, 20


def plantings(features: am.Features, runs: int, strength: float) -> None:
    vectors = am.transforms.PCA.fit(features, 64)(features).vectors
    rng, labels = np.random.default_rng(0), np.array([label or "" for label in features.labels])
    names, counts = np.unique(labels, return_counts=True)
    names = names[(counts >= LEAST) & (names != "")]
    areas, stabilities, false, groups = [], [], 0, 0
    for planting in range(runs):
        planted = labels == names[planting % len(names)]
        direction = rng.standard_normal(64)
        more = strength * planted[:, None] * direction / np.linalg.norm(direction)
        noise = NOISE * rng.standard_normal((2, *vectors.shape))
        pair = [am.ExactIndex.build(one, features.ids) for one in (vectors + more + noise[0], vectors + noise[1])]
        table = am.measure.contrast(*pair)
        members = [np.isin(features.ids, ids) for ids in table["ids"]]
        right = [one for one in members if planted[one].mean() >= 0.5]
        groups, false = groups + len(members), false + len(members) - len(right)
        if right:
            first, second = (right[0][one.all_neighbours(10)[0]].sum(axis=1) for one in pair)
            areas.append(roc_auc_score(planted, first - second))
            stabilities.append(max(table["stability"]))
    print(f"strength {strength}: found in {len(areas)} of {runs} plantings, {false} of {groups} groups are false")
    if areas:
        print(f"mean AUC {np.mean(areas):.3f}, median {np.median(areas):.3f}, stability {np.mean(stabilities):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=str(DATA))
    parser.add_argument("--store")
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    collection, network = am.Collection.from_folder(options.folder, progress=False), "tf_efficientnet_lite0"
    features = am.extract(collection, network, "last:gem", store=options.store, progress=False)[network, "last:gem"]
    for strength in (0.0, STRENGTH):
        plantings(features, options.runs, strength)
    rng = np.random.default_rng(0)
    same = rng.standard_normal((200, 128))[rng.integers(0, 200, 10_000)]
    ids = [str(row) for row in range(10_000)]
    systems = [am.Features(same + rng.standard_normal((10_000, 128)), ids) for _ in range(4)]
    start, processor = time.perf_counter(), time.process_time()
    for a, b in combinations(systems, 2):
        am.measure.contrast(a, b)
    passed, used = time.perf_counter() - start, time.process_time() - processor
    print(f"6 pairs of systems of 10,000 x 128: {passed:.0f} s, {used:.0f} s of processor time")


if __name__ == "__main__":
    main()
