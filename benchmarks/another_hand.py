"""Two questions, "the same thing, whoever drew it" and "the same kind": the presets beside single layers and fusions.

    python benchmarks/another_hand.py HANDS [KINDS ...] [--store DIR] [--precision bfloat16]

HANDS is the folder that `make_hands.py` makes: in each of its collections, every picture asks for its twin, the same
thing drawn by another maker. In the other folders, and in the bundled cartoons, of which only the half of the
categories asks that took no part in choosing a parameter, every picture asks for those of the same subfolder. Prints
P@1, P@5 (of twins, how many are among the first five) and mAP, the interval of each by label, and how far the presets
are above the best single layer, which is chosen on the very queries that it answers.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from preset import DATA, halves

import amulsearch as am

CHOSEN_ON = "openmoji-fluent-emoji-flat"
MEASURES = ("P@1", "P@5", "mAP")
SINGLE, KIND, THING = "best single layer", am.systems.SAME_KIND.name, am.systems.SAME_THING.name


def extract(collection: am.Collection, **options) -> am.features.FeatureSet:
    """All layers that are compared: sharp, with the penultimate ones, and as the preset same-thing sees them."""
    layers = {name: ("penultimate", *two) for name, two in am.systems.SAME_KIND.layers.items()}
    layers |= am.systems.SAME_THING.viewed
    return am.extract(collection, list(layers), layers, **options)


def measured(collection: am.Collection, queries: list[str] | None, **options) -> dict[str, am.measure.Evaluation]:
    """The evaluation of each system."""
    features = extract(collection, **options)
    last = [features[name, "last:gem"] for name in am.models.BUNDLED]
    systems = {f"{name} {layer}": of for (name, layer), of in features.items() if "@" not in name}
    single = list(systems)
    systems |= {f"{method} of 4 last:gem": am.Fusion(last, method) for method in ("combsum", "vote")}
    thing = am.systems.SAME_THING
    recipes = {**am.systems.PRESETS, f"{THING}, sharp": replace(thing, view="")}
    for name, recipe in recipes.items():
        systems[name] = recipe.system([features[key] for key in recipe.keys])
    (joined,) = thing.reduced([features[key] for key in thing.keys])
    systems[f"{THING}, hubs as they are"] = joined
    systems["both in one"] = nearest_first(systems[KIND], systems[THING])
    relevance = am.Relevance.from_labels(last[0].ids, last[0].labels)
    done = {name: am.evaluate(system, relevance, queries=queries) for name, system in systems.items()}
    best = max(single, key=lambda name: done[name].mean()["mAP"])
    return {f"{SINGLE}: {best}": done[best]} | done


def nearest_first(kind: am.Diffusion, thing: am.ExactIndex, lead: float = 0.02):
    """Similarities as of same-kind, with the nearest picture of same-thing first where it is far ahead of the second.

    How far, as a fraction of the range of its similarities, was chosen on OpenMoji and Fluent and on the other half of
    the cartoons.
    """

    def similarities(rows: np.ndarray) -> np.ndarray:
        values, direct, query = kind.similarities(rows), thing.similarities(rows), np.arange(len(rows))
        direct[query, rows] = direct[np.isfinite(direct)].min()
        second, first = np.sort(direct, axis=1)[:, -2:].T
        sure = first - second > lead * np.ptp(direct, axis=1)
        values[query[sure], direct.argmax(axis=1)[sure]] = 1
        return values

    return similarities


def table(done: dict[str, am.measure.Evaluation], twins: bool) -> pd.DataFrame:
    rows = {}
    for name, result in done.items():
        rows[name] = {}
        for measure in MEASURES:
            scale = 5 if twins and measure == "P@5" else 1  # of five, one can be the twin
            low, high = result.interval(measure, by="label")
            numbers = [scale * value for value in (result.mean()[measure], low, high)]
            rows[name][measure] = "{:.3f} ({:.3f} to {:.3f})".format(*numbers)
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hands", type=Path, help="folder that make_hands.py made")
    parser.add_argument("kinds", nargs="*", type=Path, help="folders whose subfolders are the labels")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    twins = sorted(path for path in options.hands.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as temporary:
        for folder in (*twins, DATA, *options.kinds):
            collection = am.Collection.from_folder(folder, progress=False)
            queries = halves(collection)["held back"] if folder == DATA else None
            store = f"{options.store or temporary}/{folder.name}"
            done = measured(collection, queries, store=store, precision=options.precision)
            took_part = " (same-thing was chosen on it)" if folder.name == CHOSEN_ON else ""
            print(f"\n{folder.name}{took_part}, {len(collection)} pictures")
            print(table(done, folder in twins).to_string(), flush=True)
            best = next(iter(done))
            for name in (KIND, THING):
                gain = done[name].compare(done[best], "mAP", by="label")
                print(
                    "{} over {}, mAP: {difference:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.4f})".format(
                        name, best, **gain
                    )
                )


if __name__ == "__main__":
    main()
