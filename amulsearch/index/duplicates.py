"""Near-duplicates: pictures that are the same but for their size, their compression or a detail."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import Features, l2_normalize
from ..store import starts

THRESHOLD = 0.95
"""The cosine from which two pictures are near-duplicates; `benchmarks/near_duplicates.py` shows what it finds."""


def near_duplicates(features: Features, threshold: float = THRESHOLD) -> pd.DataFrame:
    """Groups of pictures whose vectors are nearly the same: group (from 1, the largest first), id, label, cosine.

    Two pictures belong together where their cosine is at least `threshold`, and so do all that a chain of such pairs
    connects. cosine: that with the nearest other picture of the group.
    threshold: 0.95 by default, for the penultimate layers of the four bundled networks, joined. Of copies of 100
        bundled cartoons it finds 98% of those cut by 3%, 97% of those with a white edge, 89% of those recompressed as
        JPEG of quality 40, and 78% of those of half the size. The different files that it puts together are mostly of
        one series: road signs, or the same drawing with another detail. For other layers, look at what it finds.

    Files with the same bytes are among them; `Collection.duplicates` gives those alone.
    """
    if not 0 < threshold <= 1:
        raise QueryError(f"the threshold is a cosine above 0 and up to 1, not {threshold!r}")
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
        first, second = np.nonzero(cosine >= threshold - 1e-6)  # rounding must not part the same bytes
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
