"""Which threshold suits near-duplicates: the copies that it finds, and the different files that it groups.

    python benchmarks/near_duplicates.py [--store DIR]

Four copies of each picture in a random sample of 100 bundled cartoons are made: JPEG of quality 40, half the size, 3%
cut from each edge, and 5% of white added at each edge. The table has, for each threshold, the fraction of the copies
whose cosine with their original reaches it, in the concatenated penultimate layers of the four bundled networks. It
also has the number of groups in the collection itself, and of those that contain files with different bytes. The
library's threshold, .95, was set by looking at the groups; the two halves of the sample show how much such numbers
vary.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
THRESHOLDS = (0.90, 0.93, 0.95, 0.97, 0.99)


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


def cut(image: Image.Image) -> Image.Image:
    return ImageOps.crop(image, max(1, round(0.03 * min(image.size))))


COPIES = {
    "JPEG 40": recompressed,
    "half size": lambda image: image.resize([max(8, side // 2) for side in image.size], Image.Resampling.LANCZOS),
    "edges cut": cut,
    "widened": lambda image: ImageOps.expand(image, max(1, round(0.05 * max(image.size))), "white"),
}


def joined(folder: Path, store: str | None = None) -> am.Features:
    made = am.extract(am.Collection.from_folder(folder), layers="penultimate", store=store)
    return am.transforms.concatenate(list(made.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    cartoons = am.Collection.from_folder(DATA)
    with tempfile.TemporaryDirectory() as temporary:
        features = joined(DATA, options.store or f"{temporary}/store")
        for place, id in enumerate(np.random.default_rng(0).permutation(cartoons.ids)[:100]):
            image = cartoons.open(str(id))
            for name, edit in {"original": lambda image: image, **COPIES}.items():
                path = Path(temporary, "copies", name, f"{place:03}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                edit(image).save(path)
        copies = joined(Path(temporary, "copies"))
        kinds = np.array(copies.labels)
        own = copies.vectors[kinds == "original"]
        cosine = pd.DataFrame({name: (copies.vectors[kinds == name] * own).sum(axis=1) for name in COPIES})
        rows = {}
        for threshold in THRESHOLDS:
            groups = am.systems.near_duplicates(features, threshold)
            same = cartoons.table.set_index("id")["digest"][groups["id"]].groupby(groups["group"].to_numpy()).nunique()
            halves = {name: (part >= threshold).to_numpy().mean() for name, part in halved(cosine).items()}
            of_copies = (cosine >= threshold).mean().to_dict()
            rows[threshold] = {**of_copies, **halves, "groups": len(same), "of different bytes": (same > 1).sum()}
    print(pd.DataFrame(rows).T.to_string(float_format="%.2f"))


def halved(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    half = len(table) // 2
    return {"first half": table[:half], "second half": table[half:]}


if __name__ == "__main__":
    main()
