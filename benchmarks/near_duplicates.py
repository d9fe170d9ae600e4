"""How many edited copies `near_duplicates` finds, and at which threshold few of the pairs that it finds are false.

    python benchmarks/near_duplicates.py [--store DIR]

Eight copies of each picture in a random sample of 150 bundled cartoons are made: mirrored; turned by 90 and by 5
degrees; cropped to the middle 80% of its width and height; with a black border of 5% of its longer side; hues turned
by 90 degrees; JPEG of quality 20; half the size. Each copy is compared with all bundled cartoons. It is found if its
cosine with its original, in the view in which that is greatest, is above a threshold. A false pair is a copy and a
picture of another folder than the original's, above the threshold: within a folder, series of one drawing (a blue and
a red hat, a left and a right foot) are near-duplicates themselves. The threshold is the one at which the copies of the
first half of the sample have one false pair in a hundred copies. The table has the fractions found of the copies of
the second half, and their false pairs for each copy, also those within the folder.

Each second row has the same at the threshold of the library. The second table counts in which view a copy is told to
be; the last lines have the groups in the collection itself.
"""

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

import amulsearch as am
from amulsearch.features import l2_normalize
from amulsearch.systems import COPY_LAYERS, VIEWS, edited_copies, near_duplicates
from amulsearch.systems.duplicates import CLEARLY

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
ORIGINALS, FALSE = 150, 0.01


def cropped(image: Image.Image) -> Image.Image:
    across, down = (round(0.1 * side) for side in image.size)
    return image.crop((across, down, image.width - across, image.height - down))


def recoloured(image: Image.Image) -> Image.Image:
    hue, *others = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda value: (value + 64) % 256), *others)).convert("RGB")


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file).convert("RGB")


EDITS = {
    "mirrored": ImageOps.mirror,
    "turned by 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 5": lambda image: image.rotate(5, Image.Resampling.BICUBIC, expand=True, fillcolor="white"),
    "cropped": cropped,
    "border": lambda image: ImageOps.expand(image, max(1, round(0.05 * max(image.size))), "black"),
    "hues": recoloured,
    "JPEG 20": recompressed,
    "half size": lambda image: image.resize([max(8, side // 2) for side in image.size], Image.Resampling.LANCZOS),
}


def extracted(folder: Path, store: str) -> am.features.FeatureSet:
    layers = {name: ["penultimate", *COPY_LAYERS.get(name, ())] for name in am.models.BUNDLED}
    layers = {**COPY_LAYERS, **layers}
    return am.extract(am.Collection.from_folder(folder), list(layers), layers, store=store)


def joined(features: am.features.FeatureSet) -> am.Features:
    return am.transforms.concatenate([features[name, "penultimate"] for name in am.models.BUNDLED])


def cosines(copies: am.features.FeatureSet, cartoons: am.features.FeatureSet):
    """What is compared, the library's threshold for it, and the cosine of each copy with each cartoon by view.

    The first (Q, N) are of the pictures as they are; the others of each view, the greater of the two directions.
    """
    before = joined(copies).vectors @ joined(cartoons).vectors.T
    yield "four networks, penultimate", 0.95, [before]
    keys = [(name, layer) for name, (layer,) in COPY_LAYERS.items()]
    for what, power, threshold in (("one network", None, 0.95), ("half whitened", 0.5, 0.86), ("whitened", 1, 0.75)):
        change = l2_normalize if power is None else am.transforms.PCA.fit(cartoons[keys[0]].vectors, whiten=power)
        ours, theirs = ([change(np.array(features[key].vectors)) for key in keys] for features in (copies, cartoons))
        pairs = zip(ours, theirs, strict=True)
        by_view = [np.maximum(our @ theirs[0].T, ours[0] @ their.T) for our, their in pairs]
        yield f"{what}, as they are", threshold, by_view[:1]
        yield f"{what}, mirrored and turned", threshold, by_view


def shares(cosine: np.ndarray, own: np.ndarray, others: np.ndarray, strange: np.ndarray, edits, threshold: float):
    """What is found of each edit at a threshold, and the pairs for each copy that are false or within the folder.

    cosine (Q, N); own: the row (Q,) of each copy's original; others, strange (Q, N): which pictures are other files
    than it, and of another folder.
    """
    found = pd.Series(cosine[np.arange(len(own)), own] > threshold)
    near = cosine > threshold
    pairs = {"false": (near & strange).sum(), "in the folder": (near & others & ~strange).sum()}
    pairs = {name: count / len(own) for name, count in pairs.items()}
    return {"cosine": threshold, **found.groupby(edits).mean()[list(EDITS)], "all": found.mean(), **pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    collection = am.Collection.from_folder(DATA)
    ids = np.random.default_rng(0).permutation(collection.ids)[:ORIGINALS]
    with tempfile.TemporaryDirectory() as temporary:
        for place, id in enumerate(ids):
            image = collection.open(str(id))
            for name, edit in EDITS.items():
                path = Path(temporary, "copies", name, f"{place:03}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                edit(image).save(path)
        store = options.store or temporary
        copies, cartoons = extracted(Path(temporary, "copies"), f"{store}/copies"), extracted(DATA, f"{store}/cartoons")
        table = cartoons.collection.table.set_index("id")
        number = np.array([int(Path(id).stem) for id in copies.collection.ids])
        own, edits = table.index.get_indexer(ids[number]), np.array(copies.collection.labels)
        digests, folders = table["digest"].to_numpy(), table["label"].to_numpy()
        others = digests[own, None] != digests
        strange = others & (folders[own, None] != folders)
        second = number >= ORIGINALS // 2
        part, rows = (own[second], others[second], strange[second], edits[second]), []
        for name, fixed, by_view in cosines(copies, cartoons):
            cosine = np.max(by_view, axis=0)
            chosen = np.sort(cosine[~second][strange[~second]])[-1 - round(FALSE * (~second).sum())]
            for threshold in (chosen, fixed):
                rows.append({"compared": name, **shares(cosine[second], *part, threshold)})
        print(pd.DataFrame(rows).set_index("compared").to_string(float_format="%.3f"))
        far = np.sqrt(2 - 2 * np.array(by_view)[:, np.arange(len(own)), own].clip(max=1))
        told = np.where(far.min(axis=0) <= CLEARLY * far[0], far.argmin(axis=0), 0)
        told = pd.crosstab(edits, pd.Categorical.from_codes(told, ["as it is", *VIEWS])).loc[list(EDITS)]
        print(f"what is told of all copies\n{told.to_string()}")
        groups = {"near_duplicates": near_duplicates(joined(cartoons)), "edited_copies": edited_copies(cartoons)}
        for name, found in groups.items():
            different = found["id"].map(table["digest"]).groupby(found["group"]).nunique()
            views = found["view"].value_counts().to_dict() if "view" in found else {}
            print(
                f"{name}: {len(found)} pictures in {len(different)} groups, {(different > 1).sum()} of different bytes"
            )
            print(views)


if __name__ == "__main__":
    main()
