"""Does fine-tuning help on unseen categories? Five random halves of the categories of the bundled cartoons.

    python benchmarks/adapt.py [--store DIR] [--splits 5] [--network NAME] [--blocks]

In each split, one half of the categories is the training set, and the pictures of the other half are the queries.
"all" searches the whole collection, as a user does; "own" searches the half of the queries only, so that no result was
in the training set. Each head uses the better of two whitenings, chosen by the mAP on a validation set taken from the
training half. "frozen" is the best single network, its penultimate layer unchanged; "PCA" is the whitening that needs
no labels. The output has the means over the splits; the gain over "frozen" and over "PCA" in each split, with its
p-value (paired randomisation test); and the mean gain with a 95% confidence interval from a bootstrap over categories,
because pictures of one category succeed and fail together.
--blocks also fine-tunes the last block of the network, which takes some minutes more per split.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
MEASURES = ("P@1", "P@5", "mAP")
WHITENINGS = (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--splits", type=int, default=5, help="number of random splits")
    parser.add_argument("--network", default="tf_efficientnet_lite2", help="name of the network")
    parser.add_argument("--blocks", action="store_true", help="also fine-tune the last block of the network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


def run(options, folder: Path) -> None:
    store = options.store or folder / "store"
    cartoons = am.Collection.from_folder(DATA)
    views = {framing: [options.network] for framing in ("crop", "squash")}
    views["pad"] = [options.network, f"{options.network}@mirror"]
    seen = {
        (name, framing): am.extract(cartoons, name, "penultimate", framing=framing, store=store)[name, "penultimate"]
        for framing, names in views.items()
        for name in names
    }
    frozen = seen.pop((options.network, "pad"))
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    keywords = pd.read_csv(DATA.parent / "openclipart.csv", keep_default_na=False).set_index("id")["keywords"]
    shared = am.Relevance.from_keywords(cartoons.ids, keywords.to_dict(), at_least=2, most=0.1)
    views = am.learning.Head.from_views(
        frozen, list(seen.values()), config=am.learning.TrainingConfig(batch_size=512, epochs=12, patience=3)
    )
    unlabelled = {
        "frozen": frozen,
        "PCA": am.transforms.PCA.fit(frozen, 512, whiten=0.5)(frozen),
        "head, views": views(frozen),
    }
    print(f"head, views: weights of epoch {views.settings['stopped']}", flush=True)
    found = []
    for seed in range(options.splits):
        train, queries = am.learning.split_labels(relevance, seed=seed)
        start = time.perf_counter()
        systems = {
            **unlabelled,
            "head, labels": best_head(frozen, relevance, train),
            "head, common keywords, contrastive loss": best_head(frozen, shared, train),
            "head, common keywords, triplet loss": best_head(
                frozen, shared, train, am.learning.TrainingConfig(loss="triplet")
            ),
        }
        if options.blocks:
            tuned = am.learning.fine_tune(cartoons, options.network, folder / f"tuned-{seed}", relevance, ids=train)
            systems["last block, labels"] = am.extract(cartoons, tuned, "penultimate")[tuned.name, "penultimate"]
        for name, system in systems.items():
            found.append((seed, name, "all", am.evaluate(system, relevance, queries=queries)))
            own = part(system, queries)
            found.append((seed, name, "own", am.evaluate(own, am.Relevance.from_labels(own.ids, own.labels))))
        seconds = time.perf_counter() - start
        print(f"split {seed}: {len(train)} training pictures, {len(queries)} queries, {seconds:.0f} s", flush=True)
    report(found)


def part(features: am.Features, ids: list[str]) -> am.Features:
    """The vectors of these pictures only."""
    wanted = set(ids)
    rows = [row for row, id in enumerate(features.ids) if id in wanted]
    return am.Features(features.vectors[rows], *([of[row] for row in rows] for of in (features.ids, features.labels)))


def best_head(frozen: am.Features, relevance: am.Relevance, train: list[str], config=None) -> am.Features:
    """The features mapped by the head with the best validation mAP, over the whitenings."""
    how = {"ids": train, "config": config, "progress": False}
    heads = [am.learning.Head.fit(frozen, relevance, whiten=whiten, **how) for whiten in WHITENINGS]
    print("  whitening, epoch:", [(head.settings["whiten"], head.settings["stopped"]) for head in heads])
    return max(heads, key=lambda head: max(row["validation mAP"] for row in head.history))(frozen)


def report(found: list) -> None:
    rows = [
        {"split": seed, "system": name, "searched": of, **done.mean()[list(MEASURES)]} for seed, name, of, done in found
    ]
    table = pd.DataFrame(rows)
    means = table.groupby(["searched", "system"], sort=False)[list(MEASURES)].mean()
    means = means.unstack("searched").swaplevel(axis=1)
    print("\n", means.sort_index(axis=1, level=0, sort_remaining=False).to_string(float_format="%.3f"), sep="")
    by, seeds = {(seed, name, of): done for seed, name, of, done in found}, table["split"].unique()
    for of in ("all", "own"):
        for against in ("frozen", "PCA"):
            for measure in MEASURES:
                rows = []
                for name in table["system"].unique():
                    if name in ("frozen", against):
                        continue
                    pairs = [(by[seed, name, of], by[seed, against, of]) for seed in seeds]
                    changes = [one.compare(other, measure) for one, other in pairs]
                    low, high = interval(pairs, measure)
                    gain = np.mean([change["difference"] for change in changes])
                    row = {"system": name, "gain": gain, "low": low, "high": high}
                    row |= {f"{seed}": f"{c['difference']:+.3f} p={c['p']:.4f}" for seed, c in enumerate(changes)}
                    rows.append(row)
                gains = pd.DataFrame(rows).to_string(index=False, float_format="%.3f")
                print(f"\n{of}: gain over {against}, {measure}, on average and in each split:\n{gains}")


def interval(pairs: list, measure: str) -> tuple[float, float]:
    """95% bootstrap interval of the mean gain: whole categories are resampled, with their pictures of all splits."""
    measure = "AP" if measure == "mAP" else measure
    parts = [
        one.per_query[["label"]].assign(change=one.per_query[measure] - other.per_query[measure])
        for one, other in pairs
    ]
    by_label = pd.concat(parts).groupby("label")["change"].agg(["sum", "size"]).to_numpy()
    rng = np.random.default_rng(0)
    drawn = [by_label[rng.integers(0, len(by_label), len(by_label))].sum(axis=0) for _ in range(2000)]
    low, high = np.quantile([total / count for total, count in drawn], [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
