"""Near-duplicates: pictures that differ only in size, compression or a detail, also mirrored or turned."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ..errors import QueryError, as_number
from ..features import PCA, Features, check_vectors, distances_to, nearest, same_pictures, within
from ..index import as_features, sampled_rows

THRESHOLD = 0.95
"""The least cosine of near-duplicates; `benchmarks/near_duplicates.py` measures what it finds."""
ASKED = 200_000
"""Up to this many pictures, `near_duplicates` asks for the near-duplicates of every picture; in a larger collection,
for those of a random sample of this many."""
FIRST, TOGETHER = 16, 64
"""How many neighbours of each picture are found first; where the last is a near-duplicate, all others follow, for so
many pictures together."""
CLEARLY = 0.8
"""A view is told if the distance in it is so much of that of the pictures as they are; `benchmarks/near_duplicates.py`
counts how often that is right."""
NETWORK, LAYER, WIDTH = "tf_efficientnet_lite0", "last:gem", 256
VIEWS = {"mirrored": "@mirror", "turned by 90 degrees": "@turn90", "turned by 180 degrees": "@turn180"}
"""What is told of a picture by the view of it, see `models.get`, that is nearest to its group's centre."""
COPY_LAYERS = {f"{NETWORK}{view}": (LAYER,) for view in ("", *VIEWS.values())}
"""The networks and layers that `edited_copies` takes, as `extract` takes them."""
BY_SIZE = ((600, 1.0, 0.75), (50, 0.5, 0.86), (0, None, 0.95))
"""From how many pictures on, the power of the whitening and the least cosine: of few pictures, no PCA can be fitted."""


def near_duplicates(
    features: Features,
    threshold: float = THRESHOLD,
    *,
    views: Mapping[str, Features] | None = None,
    sample: int = ASKED,
) -> pd.DataFrame:
    """Group the pictures whose vectors are nearly the same.

    Each group has a centre, and the cosine of its other pictures with the centre is at least `threshold`; that of any
    two of them is therefore at least 2 threshold^2 - 1. A chain of near-duplicates whose ends differ becomes several
    groups. Those with the most near-duplicates become centres first (of equal numbers, and from 16 on, in the order of
    the collection), as long as no centre is near them; every other picture goes to the nearest centre.

    In a collection of more than `sample` pictures, only those of the sample become centres. `edited_copies` finds more
    near-duplicates with one network.

    Parameters
    ----------
    features : Features
    threshold : float, default 0.95
        A cosine above 0 and at most 1. The default is for the concatenated penultimate layers of the four bundled
        networks; check the results for other layers.
    views : mapping of str to Features, optional
        The same pictures seen in other ways, by names such as "mirrored": vectors of the same network and layer. Then
        the cosine of two pictures is the greatest of the one as it is with any view of the other. Each view takes twice
        the time of the search without views.
    sample : int, default 200,000
        How many pictures are compared with all others: a random sample, or all if there are fewer. The time grows with
        this number times that of all pictures.

    Returns
    -------
    DataFrame
        Columns group (from 1, the largest first), id, label, cosine (with the centre of the group, which is first and
        has 1; with views, the greatest) and, with views, view: the name of the one in which the picture is clearly
        nearer to the centre than as it is (by a fifth of the distance), else "". It includes files with the same bytes;
        `Collection.duplicates` lists only those.
        `attrs["asked"]` is the number of pictures that were compared with all others.

    References
    ----------
    Aslam, Pelekhov & Rus 2004, The star clustering algorithm for static and dynamic information organization.

    Notes
    -----
    The default finds, among copies of 75 bundled cartoons, all that were mirrored, 73% of those of half the size, 59%
    of those recompressed as JPEG of quality 20, and few that were cropped, turned or have a border. Different pictures
    in one group mostly belong to a series: road signs, or one drawing with different details.
    """
    if not 0 < as_number(threshold) <= 1:
        raise QueryError(f"threshold must be a cosine above 0 and at most 1, not {threshold!r}")
    plain, *others = _checked(features, views or {})
    names, compared = [""], [(plain, plain)]
    for name, view in zip(views or {}, others, strict=True):
        names, compared = [*names, name, name], [*compared, (view, plain), (plain, view)]
    asking = np.sort(sampled_rows(len(features), sample, 0))
    centre, apart, where = _centres(compared, asking, (2 - 2 * (threshold - 1e-6)) ** 0.5)
    seen = np.flatnonzero(where)
    as_is = distances_to(plain, plain[seen], centre[seen, None], "angular")[:, 0]
    where[seen[apart[seen] > CLEARLY * as_is]] = 0
    table = pd.DataFrame(
        {
            "group": centre,
            "id": pd.Series(features.ids, dtype=object),
            "label": pd.Series(features.labels, dtype=object),
            "cosine": 1 - apart**2 / 2,
            **({"view": np.array(names, dtype=object)[where]} if views else {}),
        }
    )[centre >= 0]
    size = table["group"].map(table["group"].value_counts())
    table = table.assign(size=-size, apart=-table["cosine"])[size > 1].sort_values(["size", "group", "apart", "id"])
    table = table.assign(group=table["group"].factorize()[0] + 1).drop(columns=["size", "apart"]).reset_index(drop=True)
    table.attrs["asked"] = len(asking)
    return table


def edited_copies(layers: Mapping[tuple[str, str], Features]) -> pd.DataFrame:
    """Group the pictures that are edited copies of one another: mirrored, turned, cropped, with a border, recoloured.

    It is `near_duplicates` of one network's last map, GeM-pooled and whitened by PCA, with views that are mirrored and
    turned by 90 and 180 degrees. Of fewer than 600 different pictures it is whitened by 0.5, of fewer than 50 not at
    all; the threshold is higher then, and fewer copies are found.

    Parameters
    ----------
    layers : mapping of (str, str) to Features
        What `extract` returns for the networks and layers of `COPY_LAYERS`; other layers are passed over.

    Returns
    -------
    DataFrame
        As from `near_duplicates` with views. `attrs["threshold"]` is the least cosine.

    Examples
    --------
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)[:10]
    >>> wanted = am.systems.COPY_LAYERS
    >>> am.systems.edited_copies(am.extract(birds, list(wanted), wanted, progress=False)).empty
    True

    Notes
    -----
    Among copies of 75 bundled cartoons it finds all that were mirrored or turned, 83% of those cropped to 80% of each
    side, 81% of those with a black border, 87% of those in other colours, and 96% of those recompressed as JPEG of
    quality 20 (`benchmarks/near_duplicates.py`). The thresholds were chosen on copies of 75 others, so that one in a
    hundred is paired with a picture of another folder. Pictures of one series, such as road signs or the same hat in
    two colours, are grouped too.

    References
    ----------
    Jégou & Chum 2012, Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening.
    """
    plain, *views = (layers[name, layer] for name, (layer,) in COPY_LAYERS.items())
    different = len(np.unique(plain.vectors.sum(axis=1)))
    power, threshold = next(how for least, *how in BY_SIZE if different >= least)
    if power is not None:
        pca = PCA.fit(plain, WIDTH, whiten=power)
        plain, *views = (replace(part, vectors=pca(part.vectors)) for part in (plain, *views))
    table = near_duplicates(plain, threshold, views=dict(zip(VIEWS, views, strict=True)))
    table.attrs["threshold"] = threshold
    return table


def _checked(features: Features, views: Mapping[str, Features]) -> list[np.ndarray]:
    """The vectors of all; QueryError if they cannot be compared."""
    features = as_features(features, None)
    parts = same_pictures([features, *(as_features(view, None) for view in views.values())])
    for part in parts:
        if (width := part.vectors.shape[1]) != (own := features.vectors.shape[1]):
            what = f"the vectors of a view have {width} values, those of the pictures {own}"
            raise QueryError(f"{what}: take the same network and layer")
        check_vectors(part.vectors, part.ids, "angular")
    return [part.vectors for part in parts]


def _centres(compared: list[tuple[np.ndarray, np.ndarray]], asking: np.ndarray, limit: float) -> tuple:
    """The row of the nearest centre (N,) of each picture, -1 where none is within a distance, which allows for
    rounding: it must not separate identical files. The distance (N,) from it, and in which comparison (N,) it is.

    compared: pairs of the vectors (N, D) that are searched, and those that ask. Centres are among `asking`.
    """
    size = len(compared[0][0])
    centre, apart, where = np.full(size, -1), np.full(size, np.inf), np.zeros(size, dtype=np.int64)
    if size < 2:
        return centre, apart, where

    def gather(row: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        for place, (others, far) in enumerate(pairs):
            nearer = far < apart[others]
            others = others[nearer]
            centre[others], apart[others], where[others] = row, far[nearer], place
        centre[row], apart[row], where[row] = row, 0, 0

    first = [_first(searched, ask, asking, limit) for searched, ask in compared]
    count = _distinct(np.concatenate([np.where(near, rows, -1) for rows, _, near in first], axis=1))
    many = asking[count >= FIRST]
    while len(many := many[centre[many] < 0]):
        free, many = many[:TOGETHER], many[TOGETHER:]
        found = [_all_near(searched, ask, free, limit) for searched, ask in compared]
        for row, *pairs in zip(free, *found, strict=True):
            if centre[row] < 0:
                gather(row, pairs)
    some = np.flatnonzero((count > 0) & (count < FIRST))
    for place in some[np.argsort(-count[some], kind="stable")]:
        if centre[asking[place]] < 0:
            gather(asking[place], [(rows[place, near[place]], far[place, near[place]]) for rows, far, near in first])
    return centre, apart, where


def _first(searched: np.ndarray, ask: np.ndarray, asking: np.ndarray, limit: float) -> tuple:
    """The first neighbours (Q, 16) of the pictures that ask, their distances, and which of these are in the limit."""
    queries = ask if len(asking) == len(ask) else ask[asking]
    rows, distances = nearest(searched, queries, min(FIRST, len(searched) - 1), "angular", asking)
    return rows, distances, distances <= limit


def _all_near(searched: np.ndarray, ask: np.ndarray, rows: np.ndarray, limit: float) -> list[tuple]:
    """The other rows within the limit of each of at least one and at most 64 rows, and their distances."""
    ((asked, found, far),) = within(searched, ask[rows], np.full(len(rows), limit), "angular")
    mine = (found != rows[asked]) & (asked == np.arange(len(rows))[:, None])
    return [(found[one], far[one]) for one in mine]


def _distinct(rows: np.ndarray) -> np.ndarray:
    """How many different rows (Q,) there are in each line of (Q, K), without -1."""
    return (np.diff(np.sort(rows, axis=1), axis=1, prepend=-1) > 0).sum(axis=1)
