"""What a view costs: an extraction with it beside the sharp pictures, and a query by a new picture.

    python benchmarks/views.py [--n 160] [--rounds 5]

Prints medians over alternating rounds, with the networks of the presets loaded: extracting the layers of same-kind,
those of same-thing, and both in one pass, which decodes each picture once; what blurring takes; and a query by a new
picture of each preset.
"""

import argparse
import time
from collections import defaultdict

import numpy as np
import pandas as pd
from preset import DATA

import amulsearch as am
from amulsearch.intake import Decoded
from amulsearch.models.preprocess import Preprocess


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    collection = am.Collection.from_folder(DATA, progress=False)
    collection = collection.subset(collection.sample(options.n))
    kind, thing = am.systems.PRESETS.values()
    both = kind.viewed | thing.viewed
    systems = {preset.name: preset.build(collection, progress=False) for preset in (kind, thing)}
    image = collection.open(collection.ids[0])
    runs = {
        **{
            f"extraction, {name}": lambda layers=layers: am.extract(collection, list(layers), layers, progress=False)
            for name, layers in (("same-kind", kind.viewed), ("same-thing", thing.viewed), ("both in one pass", both))
        },
        **{f"query by a new picture, {name}": lambda one=one: one.query(image, 4) for name, one in systems.items()},
    }
    times = defaultdict(list)
    for _ in range(options.rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    medians = pd.Series({name: np.median(of) for name, of in times.items()})
    print(medians.map("{:.2f} s".format).to_string())
    apart = medians["extraction, same-kind"] + medians["extraction, same-thing"]
    print(f"both in one pass / one after the other: {medians['extraction, both in one pass'] / apart:.2f}")
    sharp, blurred = (am.models.get(f"squeezenet1_1{view}").preprocess for view in ("", "@blur3"))
    for how, name in ((sharp, "framing"), (blurred, "framing and blurring")):
        print(f"{name}: {1000 * np.median([seconds(lambda how=how: framed(how, image)) for _ in range(50)]):.1f} ms")


def framed(how: Preprocess, image) -> np.ndarray:
    return how.pixels(Decoded(np.array(image), image.size), "pad", "white")


if __name__ == "__main__":
    main()
