"""Other ways to use the agreement of several networks, beside the preset, on a folder whose subfolders are its labels.

    python benchmarks/candidates.py [FOLDER] [--store DIR] [--precision bfloat16]

All start from the 8 layers of the preset. "cosine": the mean cosine of its 16 parts. "CSLS": the same, minus the mean
cosine with the 10 nearest of either picture, against hubs (Conneau et al. 2018). "LHRR": hypergraph of ranks, 2
iterations (Pedronette et al. 2019). "RDPAC": rank-based diffusion with assured convergence (Pedronette et al. 2021).
"weights by query": the graph, each part weighted by how steeply the query's scores fall (Zheng et al. 2015).
"joined": the four last:gem layers in one vector, whitened to 256 numbers; "query expansion" moves each query
towards its ten nearest (Radenović et al. 2018), "k-reciprocal" ranks by shared neighbours (Zhong et al. 2017).
"product of kernels": the cosines of the four last:gem layers multiplied (Wu, Zhang & Farnia 2025, KrossFuse). "C-CRF":
the mean cosine, denoised by a continuous conditional random field in the clique of each picture's 200 nearest, before
the diffusion (Kim et al. 2025). "adapted": the graph, of networks whose batch-norm statistics are blended with those of
the collection (Schneider et al. 2020). "with blurred views": the graph, with the same layers of the pictures blurred by
2 pixels as well. Prints P@1, P@5 and mAP on the half of the categories held back (all, for another folder), and the
hubness (the skewness of how often a picture is among the first ten).

All are dense (N, N) computations, for a few thousand pictures.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from preset import DATA, expanded, halves
from scipy.special import softmax
from scipy.stats import skew

import amulsearch as am
from amulsearch.features.run import network_inputs

K = 20


def cosines(parts: list[am.Features]) -> list[np.ndarray]:
    unit = [am.features.l2_normalize(part.vectors) for part in parts]
    return [of @ of.T for of in unit]


def csls(similar: np.ndarray) -> np.ndarray:
    near = np.sort(similar, axis=1)[:, -11:-1].mean(axis=1)
    return 2 * similar - near[:, None] - near


def ranks(similar: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-similar, axis=1, kind="stable")[:, :k]


def lhrr(lists: list[np.ndarray], k: int = K) -> np.ndarray:
    """Similarities (N, N) of lists (N, k), each with the picture itself first."""
    count = len(lists[0])
    for _ in range(2):
        total = np.ones((count, count), dtype=np.float64)
        for rows in lists:
            weight = 1 - np.log(np.arange(1, k + 1)) / np.log(k + 1)
            hyper = np.zeros((count, count))  # the hyperedge of each picture: its neighbours and theirs
            for place in range(k):
                np.add.at(hyper, (np.arange(count)[:, None], rows[rows[:, place]]), weight[place] * weight)
            similar = (hyper @ hyper.T) * (hyper.T @ hyper)
            confidence = np.sort(hyper, axis=1)[:, -k:].sum(axis=1)
            product = np.zeros((count, count))  # pairs within a hyperedge, weighted by its confidence
            for edge in range(count):
                inside = rows[edge]
                product[np.ix_(inside, inside)] += confidence[edge] * np.outer(hyper[edge, inside], hyper[edge, inside])
            total *= 1 + similar / similar.max() + product / product.max()
        lists = [ranks(total, k)]
    return total


def rdpac(lists: list[np.ndarray], k: int = K, steps: int = 15, alpha: float = 0.95) -> np.ndarray:
    count = len(lists[0])
    weights = np.zeros((count, count))
    for rows in lists:
        near = np.zeros((count, count))
        near[np.arange(count)[:, None], rows] = alpha ** np.arange(k)
        weights += near + near.T
    transition = weights / weights.sum(axis=1, keepdims=True)
    spread = weights.copy()
    for _ in range(steps):
        spread = 0.9 * transition @ spread @ transition.T + 0.1 * np.eye(count)
    return spread


def by_query(parts: list[am.Features]) -> np.ndarray:
    """Diffusion over a graph whose links are weighted by the part that made them, query by query."""
    count, weights = len(parts[0]), 0
    for similar in cosines(parts):
        np.fill_diagonal(similar, -2)
        rows = ranks(similar, K)
        scores = np.sort(similar, axis=1)[:, ::-1][:, : 5 * K]
        fall = (scores - scores[:, -1:]) / np.maximum(scores[:, :1] - scores[:, -1:], 1e-9)
        one = np.zeros((count, count))
        one[np.arange(count)[:, None], rows] = (1 / fall.mean(axis=1))[:, None] / np.sqrt(np.arange(1, K + 1))
        weights = weights + one + one.T
    return diffused((weights / weights.max()) ** 2)


def diffused(weights: np.ndarray) -> np.ndarray:
    """The similarities (N, N) of the preset's diffusion over other edges (N, N)."""
    from scipy.sparse import csr_array

    from amulsearch.systems.diffusion import profiles, spread

    reached = profiles(spread(csr_array(weights), 0.9))
    return (reached @ reached.T).toarray()


def denoised(similar: np.ndarray, size: int = 200, beta: float = 0.1) -> np.ndarray:
    """Edges (N, N): each picture's K most similar ones after its similarities in its clique are made to agree.

    Two members agree the more, the nearer they are and the less the distributions of their similarities differ. The
    width for the latter was published for cliques of 1,000, and is inversely proportional to their size.
    """
    edges = np.zeros_like(similar)
    for row, clique in enumerate(ranks(similar, size)):
        near = np.maximum(similar[np.ix_(clique, clique)], 0)
        likely = softmax(am.features.l2_normalize(near), axis=1)
        entropy = likely @ np.log(likely).T
        differ = np.diag(entropy)[:, None] - entropy
        differ = (differ + differ.T) / 2
        weights = beta * np.exp(-(1 - near) / 0.9**2 - (differ / (0.35 / size)) ** 2 / 2)
        np.fill_diagonal(weights, 0)
        agreed = np.linalg.solve(np.diag(1 + weights.sum(axis=1)) - weights, similar[row, clique])
        best = np.argsort(-agreed)[:K]
        edges[row, clique[best]] = np.maximum(agreed[best], 0) ** 3
    np.fill_diagonal(edges, 0)
    return (edges + edges.T) / 2


def k_reciprocal(units: np.ndarray, k1: int = 10, k2: int = 3, weight: float = 0.5) -> np.ndarray:
    """Similarities (N, N): how much two pictures share of their mutual neighbours, and how near they are."""
    squared = np.maximum(2 - 2 * units @ units.T, 0)
    np.fill_diagonal(squared, 0)
    order = np.argsort(squared - 2 * np.eye(len(units)), axis=1, kind="stable")  # the picture itself first

    def mutual(k: int) -> np.ndarray:
        near = np.zeros(squared.shape, dtype=bool)
        near[np.arange(len(near))[:, None], order[:, : k + 1]] = True
        return near & near.T

    chosen, half, codes = mutual(k1), mutual(k1 // 2), np.zeros_like(squared)
    for row, own in enumerate(chosen):
        for other in np.flatnonzero(own):
            if (half[other] & own).sum() >= 2 / 3 * half[other].sum():
                own |= half[other]
        weights = np.exp(-squared[row, own])
        codes[row, own] = weights / weights.sum()
    codes = np.stack([codes[near].mean(axis=0) for near in order[:, :k2]])
    shared = np.stack([np.minimum(code, codes).sum(axis=1) for code in codes])
    return (1 - weight) * shared / (2 - shared) - weight * squared / squared.max(axis=1, keepdims=True)


def adapted(collection: am.Collection, name: str, layers: Sequence[str], blend: float = 0.4) -> list[am.Features]:
    """Layers of a network whose batch-norm statistics are blended with those of the collection."""
    network = am.models.load(name)
    norms = [module for module in network.module.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    stored = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]

    def batches() -> Iterator[np.ndarray]:
        for _, inputs in network_inputs(collection, [network.model], "pad"):
            yield np.stack([one[name] for one in inputs])

    network.module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches() if norms else ():
            values = network.model.preprocess.normalise(torch.from_numpy(batch))
            network.module(values.to(memory_format=torch.channels_last))
        for norm, before in zip(norms, stored, strict=True):
            for now, old in zip((norm.running_mean, norm.running_var), before, strict=True):
                now.lerp_(old, 1 - blend)
    made = [network(batch, list(layers)) for batch in batches()]
    return [
        am.Features(np.concatenate([one[layer] for one in made]), collection.ids, collection.labels) for layer in layers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=str(DATA))
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        collection = am.Collection.from_folder(options.folder)
        how = {"store": f"{options.store or temporary}/ours", "precision": options.precision}
        layers = am.systems.SAME_KIND.layers_of(collection, **how)
        pooled = list(am.extract(collection, layers="last:gem", **how).values())
        blurred = replace(am.systems.SAME_KIND, view="@blur2").layers_of(collection, **how)
        thing = am.systems.SAME_THING.build(collection, **how)
        collection = collection.subset(layers[0].ids)
    parts = am.systems.SAME_KIND.reduced(layers)
    similar = cosines(parts)
    lists = [ranks(one, K) for one in similar]
    mean = sum(similar) / len(similar)
    joined = am.transforms.concatenate(pooled)
    joined = am.transforms.PCA.fit(joined, 256, whiten=0.5)(joined)
    units = am.features.l2_normalize(joined.vectors)
    graph = am.Diffusion.build(parts)
    found = {
        "cosine": mean,
        "cosine, CSLS": csls(mean),
        "LHRR": lhrr(lists),
        "RDPAC": rdpac(lists),
        "weights by query": by_query(parts),
        "joined": joined,
        "joined, query expansion": expanded(units, units, 10, alpha=3, own=True) @ units.T,
        "joined, k-reciprocal": k_reciprocal(units),
        "product of kernels": np.prod(cosines(pooled), axis=0),
        "C-CRF": diffused(denoised(mean)),
        "same-thing": thing,
        "same-kind, adapted": am.systems.SAME_KIND.system(
            [layer for name, two in am.systems.SAME_KIND.layers.items() for layer in adapted(collection, name, two)]
        ),
        "same-kind": graph,
        "same-kind, with blurred views": am.Diffusion.build(parts + am.systems.SAME_KIND.reduced(blurred)),
        "same-kind, CSLS": csls(np.minimum(graph.similarities(np.arange(len(graph))), 1)),
    }
    relevance = am.Relevance.from_labels(collection.ids, collection.labels)
    half = "held back" if Path(options.folder).resolve() == DATA else "all"
    rows = {}
    for name, system in found.items():
        one = am.evaluate(system, relevance, queries=halves(collection)[half])
        if isinstance(system, np.ndarray):
            np.fill_diagonal(system, -np.inf)
            near = ranks(system, 10)
        else:
            near = (am.ExactIndex.build(system) if isinstance(system, am.Features) else system).all_neighbours(10)[0]
        occurrences = np.bincount(near[near >= 0], minlength=len(collection))
        rows[name] = {**one.mean()[["P@1", "P@5", "mAP"]], "hubness": skew(occurrences)}
    print(half)
    print(pd.DataFrame(rows).T.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
