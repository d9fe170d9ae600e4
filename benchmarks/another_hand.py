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
from pathlib import Path

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
    for preset in (am.systems.SAME_KIND, am.systems.SAME_THING):
        systems[preset.name] = preset.system([features[key] for key in preset.keys])
    relevance = am.Relevance.from_labels(last[0].ids, last[0].labels)
    done = {name: am.evaluate(system, relevance, queries=queries) for name, system in systems.items()}
    best = max(single, key=lambda name: done[name].mean()["mAP"])
    return {f"{SINGLE}: {best}": done[best]} | done


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
