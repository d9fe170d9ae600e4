"""Near-duplicates: pictures that differ only in size, compression or a detail."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import Features, l2_normalize
from ..store import starts

THRESHOLD = 0.95
"""The least cosine of near-duplicates; `benchmarks/near_duplicates.py` measures what it finds."""


def near_duplicates(features: Features, threshold: float = THRESHOLD) -> pd.DataFrame:
    """Group the pictures whose vectors are nearly the same.

    Two pictures are in one group if their cosine is at least `threshold`, or if a chain of such pairs connects them.

    Parameters
    ----------
    features : Features
    threshold : float, default 0.95
        A cosine above 0 and at most 1. The default is for the concatenated penultimate layers of the four bundled
        networks; check the results for other layers.

    Returns
    -------
    DataFrame
        Columns group (from 1, the largest first), id, label, cosine (with the nearest other picture of the group).
        It includes files with the same bytes; `Collection.duplicates` lists only those.

    Raises
    ------
    QueryError
        If the threshold is out of range.

    Notes
    -----
    The default finds, among copies of 100 bundled cartoons, 98% of those cropped by 3%, 97% of those with a white
    border, 89% of those recompressed as JPEG of quality 40, and 78% of those of half the size. Different pictures in
    one group mostly belong to a series: road signs, or one drawing with different details.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"threshold must be a cosine above 0 and at most 1, not {threshold!r}")
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    vectors, count = l2_normalize(features.vectors), len(features)
    pairs, steps = [(np.empty(0, dtype=np.int64),) * 2], starts(count, count)
    nearest = np.full(count, -1.0)
    for start in steps:
        cosine = vectors[start : start + steps.step] @ vectors.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = -1
        nearest[start : start + steps.step] = cosine.max(axis=1, initial=-1)
        first, second = np.nonzero(cosine >= threshold - 1e-6)  # tolerance: rounding must not separate identical files
        pairs.append((start + first, second))
    first, second = (np.concatenate(part) for part in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    component = pd.Series(connected_components(graph, directed=False)[1])
    table = pd.DataFrame(
        {
            "group": component,
            "id": pd.Series(features.ids, dtype=object),
            "label": pd.Series(features.labels, dtype=object),
            "cosine": np.minimum(nearest, 1.0),
        }
    )
    size = component.map(component.value_counts())
    table = table.assign(size=-size)[size > 1].sort_values(["size", "group", "id"])
    return table.assign(group=table["group"].factorize()[0] + 1).drop(columns="size").reset_index(drop=True)
