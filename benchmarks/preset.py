"""The preset same-kind compared with simpler systems, on any folder whose subfolders are its labels.

    python benchmarks/preset.py [FOLDER] [--store DIR]

Prints P@1, P@5 and mAP of the 2019 post's recipe and its vote, of each bundled network's penultimate layer, of fused
lists, of the preset's layers joined into one vector (whitened by PCA, and expanded), and of the preset,
diffusion over the graph of these layers: on all queries, on the half of the categories on which parameters were chosen
(for the bundled cartoons only), and on the other half. Then follow the gains of the last two, with intervals by label;
the same for new pictures, a random fifth that took no part in anything that was fitted; and the time of a query.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

PRESET, JOINED, FUSED = "same-kind", "8 layers joined", "combsum of 4 penultimate"
DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"


def halves(collection: am.Collection) -> dict[str, list[str]]:
    names = np.array(sorted({label for label in collection.labels if label}))
    first = set(names[np.random.default_rng(0).permutation(len(names))[: len(names) // 2]])
    pairs = [(id, label) for id, label in zip(collection.ids, collection.labels, strict=True) if label]
    return {
        "all": [id for id, _ in pairs],
        "chosen on": [id for id, label in pairs if label in first],
        "held back": [id for id, label in pairs if label not in first],
    }


def systems(collection: am.Collection, folder: str, store: str) -> dict:
    black = am.Collection.from_folder(folder, background="black", progress=False)
    post = am.extract(black, layers="logits", framing="squash", store=f"{store}/post")
    ours = am.extract(collection, layers=["penultimate", "last:gem"], store=f"{store}/ours")
    layers = am.systems.SAME_KIND.layers_of(collection, store=f"{store}/ours")
    parts = [post[name, "logits"] for name in am.models.BUNDLED]
    plain = [ours[name, "penultimate"] for name in am.models.BUNDLED]
    joined = am.transforms.concatenate([ours[name, "last:gem"] for name in am.models.BUNDLED])
    reduced = am.transforms.PCA.fit(joined, 256, whiten=0.5)(joined)
    noise = np.random.default_rng(0).random((len(collection), len(collection)))
    votes = am.Fusion(parts, "vote", depth=4).similarities
    return {
        **{f"post's recipe: {name}": post[name, "logits"] for name in am.models.BUNDLED},
        "post's vote of 4, ties at random": lambda rows: np.ceil(votes(rows) - 1e-9) + noise[rows] / 2,
        **{f"{name} penultimate": ours[name, "penultimate"] for name in am.models.BUNDLED},
        FUSED: am.Fusion(plain, "combsum"),
        "4 x last:gem concatenated": joined,
        "... PCA 256 whitened .5": reduced,
        JOINED: joined_layers(layers)[0],
        PRESET: am.systems.SAME_KIND.system(layers),
    }


def joined_layers(layers: list[am.Features]) -> tuple[am.Features, list]:
    """One vector of all layers: PCA 512 whitened by .5, expanded by 5 neighbours; and what does so to new vectors."""
    joined = am.transforms.concatenate(layers)
    pca = am.transforms.PCA.fit(joined, 512, whiten=0.5)
    base, k = pca(joined), min(5, len(joined) // 50 or 1)
    itself = am.Features(expanded(base.vectors, base.vectors, k, own=True), base.ids, base.labels)
    return itself, [pca, lambda vectors: expanded(vectors, base.vectors, k)]


def expanded(vectors: np.ndarray, base: np.ndarray, k: int, alpha: float = 2.0, own: bool = False) -> np.ndarray:
    """Vectors of length 1, each moved towards its k nearest, weighted by their cosines to the power alpha.

    Of the collection (`own`), this is database-side augmentation (Arandjelović & Zisserman 2012); of new pictures,
    alpha query expansion (Radenović, Tolias & Chum 2018).
    """
    cosine = vectors @ base.T
    if own:
        np.fill_diagonal(cosine, 0)
    near = np.where(cosine >= np.sort(cosine, axis=1)[:, -k, None], np.maximum(cosine, 0), 0)
    return am.features.l2_normalize(vectors + near**alpha @ base)


def new_pictures(collection: am.Collection, store: str) -> dict[str, am.measure.Evaluation]:
    """Ask with a random fifth of the pictures, each as if it were new, among the other four fifths."""
    fold = np.random.default_rng(1).permutation(len(collection)) % 5
    kept, new = np.flatnonzero(fold > 0), np.flatnonzero(fold == 0)
    plain = am.extract(collection, layers="penultimate", store=f"{store}/ours")
    deep = am.systems.SAME_KIND.layers_of(collection, store=f"{store}/ours")
    some = lambda part: am.Features(part.vectors[kept], [part.ids[row] for row in kept])  # noqa: E731
    single = {name: am.features.l2_normalize(plain[name, "penultimate"].vectors) for name in am.models.BUNDLED}
    found = {f"{name} penultimate": vectors[new] @ vectors[kept].T for name, vectors in single.items()}
    least = [cosine - cosine.min(axis=1, keepdims=True) for cosine in found.values()]
    found[FUSED] = sum(of / of.max(axis=1, keepdims=True) for of in least)

    vectors, (pca, expansion) = joined_layers([some(part) for part in deep])
    joined = np.concatenate([am.features.l2_normalize(part.vectors[new]) for part in deep], axis=1)
    found[JOINED] = expansion(pca(joined)) @ am.features.l2_normalize(vectors.vectors).T

    powers = am.systems.SAME_KIND.whiten * len(deep)
    deep = [part for part in deep for _ in am.systems.SAME_KIND.whiten]
    fitted = [
        am.transforms.PCA.fit(some(part), am.systems.SAME_KIND.width, whiten=power)
        for part, power in zip(deep, powers, strict=True)
    ]
    parts = [of(some(part)) for of, part in zip(fitted, deep, strict=True)]
    system = am.Diffusion.build(parts)
    queries = [of(part.vectors[new]) for of, part in zip(fitted, deep, strict=True)]
    rows, distances = system.rank(queries, len(kept))
    found[PRESET] = np.zeros((len(new), len(kept)))
    np.put_along_axis(found[PRESET], rows, -distances, axis=1)

    labels = am.Relevance.from_labels(collection.ids, collection.labels)
    among = np.zeros(len(collection), dtype=np.float32)
    among[kept] = 1
    relevance = am.Relevance(labels.ids, labels.labels, lambda rows: labels.grades(rows) * among)
    place = {row: at for at, row in enumerate(new.tolist())}

    def system(similar: np.ndarray):
        def scores(rows: np.ndarray) -> np.ndarray:
            every = np.full((len(rows), len(collection)), -1e9)
            every[:, kept] = similar[[place[row] for row in rows.tolist()]]
            return every

        return scores

    asked = [collection.ids[row] for row in new]
    return {name: am.evaluate(system(of), relevance, queries=asked) for name, of in found.items()}


def gains(done: dict, ours: list[str], others: list[str]) -> None:
    """Print the differences of systems, with intervals and p by label."""
    for name in ours:
        for other in others:
            if other != name:
                for measure in ("P@1", "P@5", "mAP"):
                    change = done[name].compare(done[other], measure, by="label")
                    told = "{difference:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.4f})".format(**change)
                    print(f"{name} over {other}, {measure}: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = "a folder whose subfolders are the labels; by default the bundled cartoons"
    parser.add_argument("folder", nargs="?", default=str(DATA), help=what)
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        collection = am.Collection.from_folder(options.folder)
        relevance = am.Relevance.from_labels(collection.ids, collection.labels)
        found = systems(collection, options.folder, options.store or temporary)
        new = new_pictures(collection, options.store or temporary)
        queries = halves(collection)
        done = {
            (name, half): am.evaluate(system, relevance, queries=ids)
            for name, system in found.items()
            for half, ids in queries.items()
        }
    rows = {key: result.mean()[["P@1", "P@5", "mAP"]] for key, result in done.items()}
    table = pd.DataFrame(rows).T.unstack().swaplevel(axis=1)[list(queries)].loc[list(found)]
    print(table.to_string(float_format="%.3f"))
    single = max((f"{name} penultimate" for name in am.models.BUNDLED), key=lambda name: rows[name, "chosen on"]["mAP"])
    half = "held back" if Path(options.folder).resolve() == DATA else "all"
    held = {name: done[name, half] for name in found}
    print(f"\nqueries: {half}; mAP with its interval by label:")
    for name in (single, FUSED, JOINED, PRESET):
        print(
            "{}: {:.3f} ({:.3f} to {:.3f})".format(
                name, held[name].mean()["mAP"], *held[name].interval("AP", by="label")
            )
        )
    gains(held, [JOINED, PRESET], [single, FUSED, JOINED])
    print("\nnew pictures:")
    print(pd.DataFrame({name: result.mean()[["P@1", "P@5", "mAP"]] for name, result in new.items()}).T.round(3))
    gains(new, [JOINED, PRESET], [single, FUSED, JOINED])
    index = found[PRESET]
    image = collection.open(collection.ids[0])
    index.query(image, 4)  # so that the networks are loaded
    for what, query in (("a picture of the collection", collection.ids[0]), ("a new picture", image)):
        times = []
        for _ in range(9):
            start = time.perf_counter()
            index.query(query, 4)
            times.append(time.perf_counter() - start)
        print(f"a query by {what}: {1000 * np.median(times):.1f} ms")


if __name__ == "__main__":
    main()
