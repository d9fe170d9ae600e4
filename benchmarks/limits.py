"""How close extraction comes to the limit of this machine: decoding alone, networks alone, and both together.

    python benchmarks/limits.py [--models A,B] [--images FOLDER] [--n 800] [--rounds 5]

Decoding and networks share the processors, so no schedule is faster than 1 / (1 / decoding + 1 / networks) pictures per
second. `reached` is the fraction of this bound that `am.extract` attains from files to vectors; the networks are
compiled before, as by an earlier extraction of the process. Every round measures all three in turn; the values are
medians over the rounds.

Networks whose weights are not on this machine get random weights; their speed is the same.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import numpy as np
import pandas as pd

import amulsearch as am
from amulsearch.features.converted import BATCH
from amulsearch.features.engine import backends, engine_for, resolve_precision
from amulsearch.features.run import network_inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="squeezenet1_1,tf_efficientnet_lite0,resnet18,resnet152", help="networks")
    parser.add_argument("--images", default="data/openclipart", help="a folder of pictures")
    parser.add_argument("--n", type=int, default=800, help="pictures; a sixth for networks under 20 per second")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    options = parser.parse_args()
    whole = am.Collection.from_folder(options.images, progress=False)
    rows = []
    for name in options.models.split(","):
        model = record_of(name)
        for precision in dict.fromkeys(["float32", resolve_precision("auto")]):
            collection = whole.subset(whole.sample(options.n))
            if forward(model, precision, collection.subset(collection.sample(4 * BATCH)))() < 20:
                collection = collection.subset(collection.sample(options.n // 6))
            sides = {
                "decoding": partial(decoding, model, collection),
                "network": forward(model, precision, collection),
                "both": partial(both, [model], precision, collection),
            }
            rates = measured(sides, options.rounds)
            bound = 1 / (1 / rates["decoding"] + 1 / rates["network"])
            rows.append(
                {"model": name, "precision": precision, **rates, "bound": bound, "reached": rates["both"] / bound}
            )
            print(
                pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1, float_format="%.2f"), flush=True
            )


def measured(sides: dict, rounds: int) -> dict[str, float]:
    """The median of the values that each side returns; the sides run in turn."""
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seen[name].append(side())
    return {name: median(values) for name, values in seen.items()}


def record_of(name: str):
    """The record of a network; with random weights, from a fixed seed, if its own are not on this machine."""
    model = am.models.get(name)
    if model.ready:
        return model
    import torch

    torch.manual_seed(0)
    return am.models.own(f"{name}-untrained", model.build(), model.preprocess, version=1)


def batches(model, collection: am.Collection) -> Iterator[np.ndarray]:
    """The collection as batches of pixels for a network, decoded as in `am.extract`."""
    waiting = []
    for _, found in network_inputs(collection, [model], "pad"):
        waiting += [pixels[model.name] for pixels in found]
        while len(waiting) >= BATCH:
            yield np.stack(waiting[:BATCH])
            waiting = waiting[BATCH:]
    if waiting:
        yield np.stack(waiting)


def decoding(model, collection: am.Collection) -> float:
    """Pictures per second from files to the network's input."""
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches(model, collection))
    return count / (time.perf_counter() - start)


def forward(model, precision: str, collection: am.Collection):
    """A function that runs the network alone on pictures in memory, and returns pictures per second."""
    layers = am.models.main_layers(model)
    backend = next(iter(backends(model, layers, precision)))  # the fastest
    engine = engine_for(model, layers, precision, backend)
    inputs = list(batches(model, collection))

    def side() -> float:
        start = time.perf_counter()
        for batch in inputs:
            engine.submit(range(len(batch)), batch)
        for _ in engine.results(wait=True):
            pass
        return sum(map(len, inputs)) / (time.perf_counter() - start)

    side()  # the first run is slower
    return side


def both(models: list, precision: str, collection: am.Collection) -> float:
    """Pictures per second from files to vectors."""
    start = time.perf_counter()
    am.extract(collection, models, precision=precision, progress=False)
    return len(collection) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
