"""Near-duplicates: pictures that differ only in size, compression or a detail."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import QueryError, as_number
from ..features import Features, check_vectors, nearest, within
from ..index import as_features, sampled_rows

THRESHOLD = 0.95
"""The least cosine of near-duplicates; `benchmarks/near_duplicates.py` measures what it finds."""
ASKED = 200_000
"""Up to this many pictures, `near_duplicates` asks for the near-duplicates of every picture; in a larger collection,
for those of a random sample of this many."""
FIRST, TOGETHER = 16, 64
"""How many neighbours of each picture are found first; where the last is a near-duplicate, all others follow, for so
many pictures together."""


def near_duplicates(
    features: Features, threshold: float = THRESHOLD, *, sample: int = ASKED, seed: int = 0
) -> pd.DataFrame:
    """Group the pictures whose vectors are nearly the same.

    Each group has a centre, and the cosine of its other pictures with the centre is at least `threshold`; that of any
    two of them is therefore at least 2 threshold^2 - 1. A chain of near-duplicates whose ends differ becomes several
    groups. Those with the most near-duplicates become centres first (of equal numbers, and from 16 on, in the order of
    the collection), as long as no centre is near them; every other picture goes to the nearest centre.

    In a collection of more than `sample` pictures, only those of the sample become centres.

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
        Columns group (from 1, the largest first), id, label, cosine (with the centre of the group, which is first and
        has 1). It includes files with the same bytes; `Collection.duplicates` lists only those.
        `attrs["asked"]` is the number of pictures that were compared with all others.

    Raises
    ------
    QueryError
        If the threshold is out of range, or vectors are zero or hold NaN or infinite values.

    References
    ----------
    Aslam, Pelekhov & Rus 2004, The star clustering algorithm for static and dynamic information organization.

    Notes
    -----
    The default finds, among copies of 100 bundled cartoons, 98% of those cropped by 3%, 97% of those with a white
    border, 89% of those recompressed as JPEG of quality 40, and 78% of those of half the size. Different pictures in
    one group mostly belong to a series: road signs, or one drawing with different details.
    """
    if not 0 < as_number(threshold) <= 1:
        raise QueryError(f"threshold must be a cosine above 0 and at most 1, not {threshold!r}")
    features = as_features(features, None)
    check_vectors(features.vectors, features.ids, "angular")
    asking = np.sort(sampled_rows(len(features), sample, seed))
    centre, apart = _centres(features.vectors, asking, (2 - 2 * (threshold - 1e-6)) ** 0.5)
    table = pd.DataFrame(
        {
            "group": centre,
            "id": pd.Series(features.ids, dtype=object),
            "label": pd.Series(features.labels, dtype=object),
            "cosine": 1 - apart**2 / 2,
        }
    )[centre >= 0]
    size = table["group"].map(table["group"].value_counts())
    table = table.assign(size=-size, apart=-table["cosine"])[size > 1].sort_values(["size", "group", "apart", "id"])
    table = table.assign(group=table["group"].factorize()[0] + 1).drop(columns=["size", "apart"]).reset_index(drop=True)
    table.attrs["asked"] = len(asking)
    return table


def _centres(vectors: np.ndarray, asking: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The row of the nearest centre (N,) of each picture, -1 where none is within a distance, which allows for
    rounding: it must not separate identical files. And the distance (N,) from it. Centres are among `asking`."""
    centre, apart = np.full(len(vectors), -1), np.full(len(vectors), np.inf)
    if len(vectors) < 2:
        return centre, apart
    queries = vectors if len(asking) == len(vectors) else vectors[asking]
    rows, distances = nearest(vectors, queries, min(FIRST, len(vectors) - 1), "angular", asking)
    near = distances <= limit
    count = near.sum(axis=1)

    def gather(row: int, others: np.ndarray, far: np.ndarray) -> None:
        if centre[row] < 0:
            nearer = far < apart[others]
            centre[others[nearer]], apart[others[nearer]] = row, far[nearer]
            centre[row], apart[row] = row, 0

    many = asking[count == FIRST]
    for start in range(0, len(many), TOGETHER):
        free = many[start : start + TOGETHER]
        free = free[centre[free] < 0]
        for asked, found, far in within(vectors, vectors[free], np.full(len(free), limit), "angular"):
            others = found != free[asked]
            asked, found, far = asked[others], found[others], far[others]
            for place in np.unique(asked):
                gather(free[place], found[asked == place], far[asked == place])
    some = np.flatnonzero((count > 0) & (count < FIRST))
    for place in some[np.argsort(-count[some], kind="stable")]:
        gather(asking[place], rows[place, near[place]], distances[place, near[place]])
    return centre, apart
