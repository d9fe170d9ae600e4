"""Extraction from picture files to vectors: amulsearch, the usual loop over pictures, and two other packages.

    pip install --no-deps img2vec_pytorch imagededup && pip install PyWavelets     (the two packages; optional)
    python benchmarks/extract.py [--models resnet18,densenet121] [--images FOLDER] [--n 240] [--rounds 5]

All candidates read the same files. Each round runs every candidate once, in turn; a time is the median over the rounds,
and a ratio the median of the ratios within each round. All candidates run the same architecture, with random weights if
the trained ones are not on this machine. Then follow the four bundled networks in one pass, compared with the sum of
their forward passes alone, and with four loops over one picture at a time.
"""

import argparse
import importlib.util
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from limits import forward, record_of
from PIL import Image

import amulsearch as am
from amulsearch.features.engine import resolve_precision
from amulsearch.features.run import network_inputs
from amulsearch.models.architectures import import_torchvision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="resnet18,densenet121", help="networks of both torchvision and img2vec")
    parser.add_argument("--images", default="data/openclipart", help="a folder of pictures")
    parser.add_argument("--n", type=int, default=240, help="number of pictures")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    options = parser.parse_args()
    whole = am.Collection.from_folder(options.images, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        for place, id in enumerate(whole.sample(options.n)):  # imagededup reads a whole folder
            (Path(folder) / f"{place:05}{Path(id).suffix}").symlink_to(whole.path(id))
        collection = am.Collection.from_folder(folder, labels=None, progress=False)
        for name in options.models.split(","):
            compare_one(name, collection, options.rounds)
        compare_bundled(collection, options.rounds)


def compare_one(name: str, collection: am.Collection, rounds: int) -> None:
    model = record_of(name)
    sides = {f"amulsearch {precision}": partial(ours, [model], precision, collection) for precision in precisions()}
    sides["one picture at a time, torch"] = loop(model, collection)
    sides |= peers(name, model, collection)
    print(f"\n{name}: {len(collection)} pictures, {rounds} rounds")
    seconds = measured(sides, rounds)
    table = pd.DataFrame({"pictures/s": len(collection) / seconds.median()})
    for precision in precisions():
        table[f"speed-up of {precision}"] = seconds.div(seconds[f"amulsearch {precision}"], axis=0).median()
    print(table.to_string(float_format="%.2f"))


def compare_bundled(collection: am.Collection, rounds: int) -> None:
    records = [am.models.get(name) for name in am.models.BUNDLED]
    print(f"\nthe four bundled networks: {len(collection)} pictures, {rounds} rounds")
    for precision in precisions():
        alone = [forward(model, precision, collection) for model in records]
        sides = {
            "in one pass": partial(ours, records, precision, collection),
            "sum of forward passes": lambda alone=alone: [side() for side in alone],
            "decoding alone": lambda: list(network_inputs(collection, records, "pad")),
        }
        if precision == "float32":
            loops = [loop(model, collection) for model in records]
            sides["four loops, one picture at a time"] = lambda loops=loops: [side() for side in loops]
        seconds = measured(sides, rounds)
        ratios = seconds.div(seconds["in one pass"], axis=0).median()
        table = pd.DataFrame({"seconds": seconds.median(), "relative to one pass": ratios})
        forwards, decoding = seconds["sum of forward passes"], seconds["decoding alone"]
        whole = (seconds["in one pass"] / (forwards + decoding)).median()
        print(f"{precision}: one pass takes {1 / ratios['sum of forward passes']:.2f} times as long as forward passes,")
        print(f"and {whole:.2f} times as long as these and decoding, which share the processors")
        print(table.to_string(float_format="%.2f"))


def measured(sides: dict, rounds: int) -> pd.DataFrame:
    """Seconds of each candidate (columns) in each round (rows), in turn; a first round warms up and is not counted."""
    rows = []
    for _ in range(rounds + 1):
        row = {}
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            row[name] = time.perf_counter() - start
        rows.append(row)
    return pd.DataFrame(rows[1:])


def precisions() -> list[str]:
    return list(dict.fromkeys(["float32", resolve_precision("auto")]))


def ours(models: list, precision: str, collection: am.Collection) -> None:
    am.extract(collection, models, precision=precision, progress=False)


def loop(model, collection: am.Collection):
    """Open, resize, normalise and run one picture at a time, as most tutorials do."""
    torchvision = import_torchvision()
    size = model.preprocess.size
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize((size, size)),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    module = am.models.load(model).module.to(memory_format=torch.contiguous_format)

    def side() -> None:
        with torch.no_grad():
            for id in collection.ids:
                module(transform(Image.open(collection.path(id)).convert("RGB"))[None])

    return side


def peers(name: str, model, collection: am.Collection) -> dict:
    """Those of the other packages that are installed, with the same network."""
    sides = {}
    if importlib.util.find_spec("img2vec_pytorch"):
        with tempfile.TemporaryDirectory() as home:  # otherwise the package downloads weights of its own
            weights = am.models.get(name).weights
            path = Path(home) / "hub" / "checkpoints" / weights.file
            path.parent.mkdir(parents=True)
            torch.save(am.models.load(model).module.state_dict(), path)
            torch.hub.set_dir(str(Path(home) / "hub"))
            from img2vec_pytorch import Img2Vec

            img2vec = Img2Vec(model=name, layer_output_size=model.penultimate or 512)
        sides["img2vec_pytorch, one picture at a time"] = lambda: [
            img2vec.get_vec(Image.open(collection.path(id)).convert("RGB")) for id in collection.ids
        ]
    if importlib.util.find_spec("imagededup"):
        from imagededup.methods import CNN
        from imagededup.utils import CustomModel

        torchvision = import_torchvision()
        transform = torchvision.transforms.Compose(
            [torchvision.transforms.Resize((224, 224)), torchvision.transforms.ToTensor()]
        )
        custom = CustomModel(name=name, model=am.models.load(model).module, transform=transform)
        encoder = CNN(verbose=False, model_config=custom)
        sides["imagededup, batches of 64"] = lambda: encoder.encode_images(image_dir=str(collection.folder))
    return sides


if __name__ == "__main__":
    main()
