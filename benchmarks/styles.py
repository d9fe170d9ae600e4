"""How much a layer looks at the thing, and how much at the hand: the bundled cartoons, redrawn in seven styles.

    python benchmarks/styles.py [--n 200] [--seeds 2] [--store DIR] [--precision bfloat16]

For each seed, n other cartoons are drawn at random. Each is taken as it is, and redrawn: outline, silhouette, grey, two
colours, posterised, blurred, other palette. The vectors of a layer, scaled to length 1, are a table of subjects and
styles. Its analysis of variance (two-way, without replication; variance components by the method of moments, summed
over the dimensions) says which part of the variance is due to the subject, which to the style, and which to neither.
Printed are both parts of all and for each seed, with the 95% interval over the subjects, and their greatest difference
between two seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps
from preset import DATA
from scipy.ndimage import binary_fill_holes

import amulsearch as am

SIDE, BLUR, DRAWS = 256, 6, 1000


def outline(image: Image.Image) -> Image.Image:
    grey = image.convert("L").filter(ImageFilter.GaussianBlur(1))
    darker, lighter = (
        np.asarray(grey.filter(kind(3)), dtype=int) for kind in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
    )
    return Image.fromarray(np.clip(255 - 4 * (lighter - darker), 0, 255).astype(np.uint8))


def silhouette(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.where(binary_fill_holes(np.asarray(image.convert("L")) < 245), 0, 255).astype(np.uint8))


STYLES = {
    "as drawn": lambda image: image,
    "outline": outline,
    "silhouette": silhouette,
    "grey": lambda image: image.convert("L"),
    "two colours": lambda image: image.quantize(2),
    "posterised": lambda image: image.point(lambda value: 85 * round(value / 85)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(BLUR)),
    "other palette": lambda image: Image.merge("RGB", [image.getchannel(one) for one in "GBR"]),
}


def redraw(collection: am.Collection, ids: list[str], folder: Path) -> None:
    """Write the pictures in each style, subject after subject."""
    for at, id in enumerate(ids):
        image = ImageOps.pad(collection.open(id), (SIDE, SIDE), color="white")
        for number, style in enumerate(STYLES.values()):
            style(image).convert("RGB").save(folder / f"{at:05d}-{number}.png")


def parts(units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The parts (B, 2) of the variance that are due to the subject and to the style.

    units are vectors (subjects, styles, D) of length 1, and weights (B, subjects) say how often each subject counts.
    """
    subjects, styles = units.shape[:2]
    of_style = (weights @ units.reshape(subjects, -1)).reshape(len(weights), styles, -1) / subjects
    centre = (of_style.mean(axis=1) ** 2).sum(axis=1)
    by_subject = styles * (weights @ (units.mean(axis=1) ** 2).sum(axis=1) - subjects * centre)
    by_style = subjects * ((of_style**2).sum(axis=(1, 2)) - styles * centre)
    rest = subjects * styles * (1 - centre) - by_subject - by_style
    rest /= (subjects - 1) * (styles - 1)
    components = [(by_subject / (subjects - 1) - rest) / styles, (by_style / (styles - 1) - rest) / subjects]
    return np.stack(components, axis=1) / (sum(components) + rest)[:, None]


def estimates(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts (2,), and their 95% bootstrap intervals over the subjects (2, 2), lower ends first; its bias, since
    subjects are drawn several times, is taken off."""
    count = len(units)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    (found,), others = parts(units, np.ones((1, count))), parts(units, drawn)
    return found, np.quantile(others, [0.025, 0.975], axis=0) + found - others.mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="cartoons for each seed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    cartoons = am.Collection.from_folder(DATA, progress=False)
    order = np.random.default_rng(0).permutation(len(cartoons))[: options.n * options.seeds]
    layers = {name: ("logits", "penultimate", *two) for name, two in am.systems.SAME_KIND.layers.items()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "redrawn"
        folder.mkdir()
        redraw(cartoons, [cartoons.ids[row] for row in order], folder)
        redrawn = am.Collection.from_folder(folder, progress=False)
        features = am.extract(
            redrawn, list(layers), layers, store=options.store or f"{temporary}/store", precision=options.precision
        )
        rows = {}
        for (name, layer), of in features.items():
            units = am.features.l2_normalize(of.vectors).astype(np.float64).reshape(len(order), len(STYLES), -1)
            seeds = [estimates(some) for some in np.split(units, options.seeds)]
            found = {"all": estimates(units)} | dict(enumerate(seeds))
            rows[f"{name} {layer}"] = {
                f"{what} {which}": "{:.3f} ({:.3f} to {:.3f})".format(part[at], *ends[:, at])
                for at, what in enumerate(("subject", "style"))
                for which, (part, ends) in found.items()
            } | {"differ": np.ptp([part for part, _ in seeds], axis=0).max().round(3)}
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main()
