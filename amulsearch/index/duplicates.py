"""Near-duplicates: pictures that differ only in size, compression or a detail."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer
from ..features import Features, check_vectors, nearest, within

THRESHOLD = 0.95
"""The least cosine of near-duplicates; `benchmarks/near_duplicates.py` measures what it finds."""
ASKED = 200_000
"""Up to this many pictures, `near_duplicates` asks for the near-duplicates of every picture; in a larger collection,
for those of a random sample of this many."""
FIRST = 16
"""How many neighbours of each picture are found first; where the last is a near-duplicate, all others follow."""


def near_duplicates(
    features: Features, threshold: float = THRESHOLD, *, sample: int = ASKED, seed: int = 0
) -> pd.DataFrame:
    """Group the pictures whose vectors are nearly the same.

    Two pictures are in one group if their cosine is at least `threshold`, or if a chain of such pairs connects them.
    In a collection of more than `sample` pictures, only the pairs with a picture of the sample are found: groups
    outside the sample are missing, and a long chain may be several groups.

    Parameters
    ----------
    features : Features
    threshold : float, default 0.95
        A cosine above 0 and at most 1. The default is for the concatenated penultimate layers of the four bundled
        networks; check the results for other layers.
    sample : int, default 200,000
        How many pictures are compared with all others: a random sample, or all if there are fewer. The time grows with
        this number times that of all pictures.
    seed : int, default 0
        Of the sample.

    Returns
    -------
    DataFrame
        Columns group (from 1, the largest first), id, label, cosine (with the nearest other picture of the group, as
        far as found). It includes files with the same bytes; `Collection.duplicates` lists only those.
        `attrs["asked"]` is the number of pictures that were compared with all others.

    Raises
    ------
    QueryError
        If the threshold is out of range, or vectors are zero or hold NaN or infinite values.

    Notes
    -----
    The default finds, among copies of 100 bundled cartoons, 98% of those cropped by 3%, 97% of those with a white
    border, 89% of those recompressed as JPEG of quality 40, and 78% of those of half the size. Different pictures in
    one group mostly belong to a series: road signs, or one drawing with different details.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"threshold must be a cosine above 0 and at most 1, not {threshold!r}")
    check_vectors(features.vectors, features.ids, "angular")
    count, sample = len(features), check_integer("sample", sample)
    asking = np.arange(count)
    if count > sample:
        asking = np.sort(np.random.default_rng(seed).permutation(count)[:sample])
    component, closest = _groups(features.vectors, asking, (2 - 2 * (threshold - 1e-6)) ** 0.5)
    table = pd.DataFrame(
        {
            "group": component,
            "id": pd.Series(features.ids, dtype=object),
            "label": pd.Series(features.labels, dtype=object),
            "cosine": 1 - closest**2 / 2,
        }
    )
    size = table["group"].map(table["group"].value_counts())
    table = table.assign(size=-size)[size > 1].sort_values(["size", "group", "id"])
    table = table.assign(group=table["group"].factorize()[0] + 1).drop(columns="size").reset_index(drop=True)
    table.attrs["asked"] = len(asking)
    return table


def _groups(vectors: np.ndarray, asking: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The component (N,) of each picture, joined by all pairs with one of `asking` within a distance, which allows for
    rounding: it must not separate identical files. And the distance (N,) of the nearest picture among these pairs."""
    component, closest = np.arange(len(vectors)), np.full(len(vectors), np.inf)

    def join(first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> None:
        component[:] = _joined(component, first, second)
        for side in (first, second):
            np.minimum.at(closest, side, distances)

    if len(vectors) > 1:
        queries = vectors if len(asking) == len(vectors) else vectors[asking]
        k = min(FIRST, len(vectors) - 1)
        rows, distances = nearest(vectors, queries, k, "angular", asking)
        near = distances <= limit
        join(np.repeat(asking, near.sum(axis=1)), rows[near], distances[near])
        more = asking[near[:, -1]] if k == FIRST else asking[:0]
        for asked, found, apart in within(vectors, vectors[more], np.full(len(more), limit), "angular"):
            others = more[asked] != found
            join(more[asked[others]], found[others], apart[others])
    return component, closest


def _joined(component: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Components (N,), joined by pairs of rows."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = component[first], component[second]
    graph = coo_array((np.ones(len(first), dtype=bool), pairs), shape=(len(component),) * 2)
    return connected_components(graph, directed=False)[1][component]
