"""Does fine-tuning help on categories that taught nothing? Five random halves of the bundled cartoons' categories.

    python benchmarks/adapt.py [--store DIR] [--splits 5] [--network NAME] [--blocks]

The queries are the pictures of the half that did not teach. "all" asks for all pictures of the collection, as a person
does; "own" for the pictures of that half only, where no picture of the answer taught either. A head's whitening is
chosen, of two, by the pictures that are held back from the half that teaches. "frozen" is the best single network, its
penultimate layer as it is, and "PCA" the whitening that needs no labels. Printed are the means over the splits, the
gain over "frozen" and over "PCA" in each split with its p (paired randomisation test), and the mean gain with a 95%
interval of a bootstrap over categories, since pictures of one category succeed and fail together.
--blocks also trains the last block of the network, some minutes more a split.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
METRICS = ("P@1", "P@5", "mAP")
WHITENINGS = (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="keep the features here; by default they are computed anew")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--network", default="tf_efficientnet_lite2")
    parser.add_argument("--blocks", action="store_true", help="the last block of the network as well")
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
        "head by views": views(frozen),
    }
    print(f"views: stopped after epoch {views.settings['stopped']}", flush=True)
    found = []
    for seed in range(options.splits):
        teach, asked = halves(cartoons, seed)
        start = time.perf_counter()
        systems = {
            **unlabelled,
            "head by labels": learned(frozen, relevance, teach),
            "head by keywords": learned(frozen, shared, teach),
            "head by triplets": learned(frozen, shared, teach, am.learning.TrainingConfig(loss="triplet")),
        }
        if options.blocks:
            tuned = am.learning.fine_tune(cartoons, options.network, folder / f"tuned-{seed}", relevance, ids=teach)
            systems["last block by labels"] = am.extract(cartoons, tuned, "penultimate")[tuned.name, "penultimate"]
        for name, system in systems.items():
            found.append((seed, name, "all", am.evaluate(system, relevance, queries=asked)))
            own = part(system, asked)
            found.append((seed, name, "own", am.evaluate(own, am.Relevance.from_labels(own.ids, own.labels))))
        print(f"split {seed}: {len(teach)} teach, {len(asked)} ask, {time.perf_counter() - start:.0f} s", flush=True)
    report(found)


def part(features: am.Features, ids: list[str]) -> am.Features:
    """The vectors of some of the pictures."""
    wanted = set(ids)
    rows = [row for row, id in enumerate(features.ids) if id in wanted]
    return am.Features(features.vectors[rows], *([of[row] for row in rows] for of in (features.ids, features.labels)))


def halves(cartoons: am.Collection, seed: int) -> tuple[list[str], list[str]]:
    """The pictures of one half of the categories, which teach, and those of the other, which ask."""
    names = np.array(sorted(set(cartoons.labels)))
    half = set(names[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]])
    pairs = list(zip(cartoons.ids, cartoons.labels, strict=True))
    return [id for id, label in pairs if label in half], [id for id, label in pairs if label not in half]


def learned(frozen: am.Features, relevance: am.Relevance, teach: list[str], config=None) -> am.Features:
    """By the head whose best measure on its own part held back is greatest."""
    how = {"ids": teach, "config": config, "progress": False}
    heads = [am.learning.Head.fit(frozen, relevance, whiten=whiten, **how) for whiten in WHITENINGS]
    print([(head.settings["whiten"], head.settings["stopped"]) for head in heads])
    return max(heads, key=lambda head: max(row["validation mAP"] for row in head.history))(frozen)


def report(found: list) -> None:
    rows = [
        {"split": seed, "system": name, "asked": of, **done.mean()[list(METRICS)]} for seed, name, of, done in found
    ]
    table = pd.DataFrame(rows)
    means = table.groupby(["asked", "system"], sort=False)[list(METRICS)].mean().unstack("asked").swaplevel(axis=1)
    print("\n", means.sort_index(axis=1, level=0, sort_remaining=False).to_string(float_format="%.3f"), sep="")
    by, seeds = {(seed, name, of): done for seed, name, of, done in found}, table["split"].unique()
    for of in ("all", "own"):
        for against in ("frozen", "PCA"):
            for metric in METRICS:
                rows = []
                for name in table["system"].unique():
                    if name in ("frozen", against):
                        continue
                    pairs = [(by[seed, name, of], by[seed, against, of]) for seed in seeds]
                    changes = [one.compare(other, metric) for one, other in pairs]
                    low, high = interval(pairs, metric)
                    gain = np.mean([change["difference"] for change in changes])
                    row = {"system": name, "gain": gain, "low": low, "high": high}
                    row |= {f"{seed}": f"{c['difference']:+.3f} p={c['p']:.4f}" for seed, c in enumerate(changes)}
                    rows.append(row)
                gains = pd.DataFrame(rows).to_string(index=False, float_format="%.3f")
                print(f"\n{of}: gain over {against}, {metric}, and in each split:\n{gains}")


def interval(pairs: list, metric: str) -> tuple[float, float]:
    """95% interval of the mean gain: categories are drawn again, each with all its pictures of all splits."""
    metric = "AP" if metric == "mAP" else metric
    parts = [
        one.per_query[["label"]].assign(change=one.per_query[metric] - other.per_query[metric]) for one, other in pairs
    ]
    by_label = pd.concat(parts).groupby("label")["change"].agg(["sum", "size"]).to_numpy()
    rng = np.random.default_rng(0)
    drawn = [by_label[rng.integers(0, len(by_label), len(by_label))].sum(axis=0) for _ in range(2000)]
    low, high = np.quantile([total / count for total, count in drawn], [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
