"""Does fine-tuning help on categories that taught nothing? Five random halves of the bundled cartoons' categories.

    python benchmarks/adapt.py [--store DIR] [--splits 5] [--network NAME] [--blocks]

The queries are the pictures of the half that did not teach; each asks for all pictures, of both halves. All of a
head's parameters (rate, temperature, width) are chosen by the pictures that are held back from the half that teaches.
"frozen" is the best single network, its penultimate layer as it is, and "PCA" what a head starts from. Printed are the
means over the splits, the gain over "frozen" in each split with its p (paired randomisation test), and the mean gain
with a 95% interval of a bootstrap over categories, since pictures of one category succeed and fail together.
--blocks also trains the last block of a network, some minutes more a split.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
METRICS = ("P@1", "P@5", "mAP")
COURSES = [am.Course(rate=rate, temperature=temperature) for rate in (1e-3, 3e-3) for temperature in (0.07, 0.15)]


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
    found = []
    for seed in range(options.splits):
        teach, asked = halves(cartoons, seed)
        start = time.perf_counter()
        systems = {
            "frozen": frozen,
            "PCA": am.PCA.fit(frozen, 256, whiten=0.5)(frozen),
            "head by views": chosen(lambda course: am.Head.from_views(frozen, list(seen.values()), course=course))(
                frozen
            ),
            "head by labels": learned(frozen, relevance, teach),
            "head by keywords": learned(frozen, shared, teach),
            "head by triplets": learned(frozen, relevance, teach, loss="triplet"),
        }
        if options.blocks:
            path = folder / f"tuned-{seed}.safetensors"
            tuned = am.tune_network(cartoons, options.network, path, relevance, ids=teach)
            made = am.extract(cartoons, tuned, "penultimate", store=folder / "tuned")
            systems["last block by labels"] = made[tuned.name, "penultimate"]
        for name, system in systems.items():
            found.append((seed, name, am.evaluate(system, relevance, queries=asked)))
        print(f"split {seed}: {len(teach)} teach, {len(asked)} ask, {time.perf_counter() - start:.0f} s", flush=True)
    report(found)


def halves(cartoons: am.Collection, seed: int) -> tuple[list[str], list[str]]:
    """The pictures of one half of the categories, which teach, and those of the other, which ask."""
    names = np.array(sorted(set(cartoons.labels)))
    half = set(names[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]])
    pairs = list(zip(cartoons.ids, cartoons.labels, strict=True))
    return [id for id, label in pairs if label in half], [id for id, label in pairs if label not in half]


def learned(frozen: am.Features, relevance: am.Relevance, teach: list[str], loss: str = "contrast") -> am.Features:
    return chosen(partial(am.Head.fit, frozen, relevance, ids=teach, progress=False), loss)(frozen)


def chosen(fit, loss: str = "contrast") -> am.Head:
    """The head whose best measure on its own part held back is greatest."""
    heads = [fit(course=replace(course, loss=loss)) for course in COURSES]
    return max(heads, key=lambda head: max(row["held back"] for row in head.history))


def report(found: list) -> None:
    rows = [{"split": seed, "system": name, **done.mean()[list(METRICS)]} for seed, name, done in found]
    table = pd.DataFrame(rows)
    print("\n", table.groupby("system", sort=False)[list(METRICS)].mean().to_string(float_format="%.3f"), sep="")
    by = {(seed, name): done for seed, name, done in found}
    for metric in METRICS:
        rows = []
        for name in table["system"].unique()[1:]:
            changes = [by[seed, name].compare(by[seed, "frozen"], metric) for seed in table["split"].unique()]
            low, high = interval([(by[seed, name], by[seed, "frozen"]) for seed in table["split"].unique()], metric)
            row = {"system": name, "gain": np.mean([change["difference"] for change in changes])}
            row |= {"low": low, "high": high}
            row |= {f"split {seed}": f"{c['difference']:+.3f} p={c['p']:.4f}" for seed, c in enumerate(changes)}
            rows.append(row)
        print(
            f"\ngain over frozen, {metric}:\n", pd.DataFrame(rows).to_string(index=False, float_format="%.3f"), sep=""
        )


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
