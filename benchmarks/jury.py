"""How soon simulated judges find the best of 70 systems, by the jury and by random questions.

    python benchmarks/jury.py NAME=FOLDER [NAME=FOLDER ...] --store DIR [--runs N] [--wrong 0 0.05 0.15]
        [--plain] [--fit]

A judge takes pictures of the same folder to be relevant to each other; some of the answers are wrong. For each
collection and rate of wrong answers: after 0, 20, 60 and 150 questions, the median and the mean of the P@5 that is lost
by taking the system that is predicted to be best, Kendall's tau of the prediction with P@5, in how many runs the
question (of a kind, or the same thing: that of the presets which has the higher P@5) is known to 95%, in how many the
other one is, and in how many the best system was said to be worse; and after how many questions it is known in the
median. With --plain, the presets, which were chosen for these questions, take no part.
The lists of the systems are kept in the store. With --fit, only the coefficients are printed that a prediction from all
answers would have, from which `polling.PRIORS` was made.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression

import amulsearch as am
from amulsearch.measure import polling

MARKS = (0, 20, 60, 150)
NAMES = am.models.BUNDLED


def systems_of(collection: am.Collection, store: Path) -> dict[str, am.indexes.System]:
    """Layers of four networks, raw and whitened, two of them also of blurred pictures; fusions; and the presets."""
    kind, thing = am.systems.SAME_KIND, am.systems.SAME_THING
    layers = {name: ["logits", "penultimate", *kind.layers[name]] for name in NAMES} | thing.viewed
    features = am.extract(collection, list(layers), layers, store=store, precision="bfloat16", progress=False)
    systems = {}
    for (name, layer), one in features.items():
        short = layer if layer in ("logits", "penultimate", "last:gem") else "inner:gem"
        systems[f"{name} {short}"] = am.ExactIndex.build(one)
        powers = [1.0] if "@" in name else [0.5, 1.0]
        for power, pca in zip(powers, am.transforms.PCA.fit_all(one, 256, powers), strict=True):
            systems[f"{name} {short} whitened {power:g}"] = am.ExactIndex.build(pca(one))
    for layer, method in (
        ("penultimate", "combsum"),
        ("last:gem", "combsum"),
        ("last:gem whitened 0.5", "combsum"),
        ("penultimate", "vote"),
    ):
        systems[f"{method} of 4 {layer}"] = am.Fusion([systems[f"{name} {layer}"] for name in NAMES], method)
    return systems | {one.name: one.system([features[key] for key in one.keys]) for one in (kind, thing)}


def prepared(name: str, folder: str, store: Path) -> dict:
    """The first ten answers to every picture by every system, and the labels."""
    path = store / f"{name}.npz"
    if not path.exists():
        systems = systems_of(am.Collection.from_folder(folder, progress=False), store / f"store-{name}")
        lists = np.stack([system.all_neighbours(10)[0] for system in systems.values()]).astype(np.int32)
        labels = [label or "" for label in next(iter(systems.values())).labels]
        np.savez_compressed(path, lists=lists, labels=labels, systems=list(systems))
    return dict(np.load(path))


def pool_of(known: dict, plain: bool) -> tuple[polling.Pool, np.ndarray]:
    """The pool of the pictures that have a relevant one, and the relevance of its items."""
    codes = np.unique(known["labels"], return_inverse=True)[1]
    queries = np.flatnonzero(np.bincount(codes)[codes] > 1)
    systems = known["systems"].tolist()
    lists = known["lists"][: systems.index("same-kind") if plain else None, queries]
    pool = polling.Pool(lists, queries, len(codes), None if plain else systems.index("same-thing"))
    return pool, (codes[queries][pool.query] == codes[pool.row]).astype(float)


def run(pool: polling.Pool, relevance: np.ndarray, question: str, seed: int, wrong: float) -> list:
    """At each mark: the loss, tau, whether the question is known, whether it is mistaken, systems found to be worse,
    whether the best is, and since when the question is known."""
    poll, rng, precision = polling.Poll(pool, seed), np.random.default_rng([7, seed]), pool.means(relevance)
    rows, known = [], np.inf
    for count in range(MARKS[-1] + 1):
        known = count if poll.questions[question] >= 0.95 and known == np.inf else known
        if count in MARKS:
            sure = poll.questions[question]
            best = (poll.worse & (precision == precision.max())).any()
            loss, tau = precision.max() - precision[poll.precision.argmax()], kendalltau(poll.precision, precision)[0]
            rows.append([loss, tau, sure >= 0.95, sure <= 0.05, poll.worse.sum(), best, known])
        duel = poll.draw()
        poll.answer(duel, np.abs(relevance[duel.items] - (rng.random(2) < wrong)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="+", help="NAME=FOLDER, whose subfolders are the labels")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--wrong", type=float, nargs="+", default=[0, 0.05, 0.15])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    for one in options.collections:
        name, _, folder = one.partition("=")
        known = prepared(name, folder, options.store)
        pool, relevance = pool_of(known, options.plain)
        systems, precision = known["systems"].tolist()[: len(pool.apart)], pool.means(relevance)
        whole, truth = pool_of(known, False)
        kind, thing = whole.means(truth)[-2:]
        if options.fit:
            inputs = pool.features[:, [1, 2, 3 + systems.index("same-thing")]]
            fitted = LogisticRegression(C=100).fit(inputs, relevance)
            print(name, fitted.intercept_.round(2), fitted.coef_.round(2), flush=True)
            continue
        print(
            f"{name}: {len(systems)} systems, best {systems[precision.argmax()]} {precision.max():.3f}, mean "
            f"{precision.mean():.3f}, same-kind {kind:.3f}, same-thing {thing:.3f}"
        )
        question, usual = "of a kind" if kind > thing else "the same thing", (polling.UNIFORM, polling.KNOWN)
        for wrong, random in [*((wrong, False) for wrong in options.wrong), (0.05, True)]:
            polling.UNIFORM, polling.KNOWN = (1.0, 0) if random else usual
            runs = np.array([run(pool, relevance, question, seed, wrong) for seed in range(options.runs)])
            polling.UNIFORM, polling.KNOWN = usual
            (median, *_), mean = np.median(runs, axis=0).T, runs.mean(axis=0).T
            print(
                f"  {'random, ' * random}{wrong:.0%} wrong: median loss {median.round(3).tolist()}, mean "
                f"{mean[0].round(3).tolist()}, tau {mean[1].round(2).tolist()}, known {mean[2].round(2).tolist()}, "
                f"mistaken {mean[3].round(2).tolist()}, worse {mean[4].round(1).tolist()}, best said to be worse "
                f"{mean[5].round(3).tolist()}; known after {np.median(runs[:, -1, 6]):.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
