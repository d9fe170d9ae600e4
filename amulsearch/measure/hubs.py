"""Hubs: pictures that turn up among the neighbours of many others, whatever the query is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import QueryError


def hubs(ids: Sequence[str], rows: np.ndarray) -> pd.DataFrame:
    """Count for how many queries each picture is among the neighbours (its k-occurrence).

    Parameters
    ----------
    ids : sequence of N str
    rows : ndarray of shape (Q, k), int
        Neighbours, as `Index.all_neighbours` and `fuse_all` return them; -1, for no neighbour, does not count.

    Returns
    -------
    DataFrame with N rows
        Columns id and occurrences, the most frequent first. Their mean is Q k / N; `attrs["hubness"]` is their
        skewness: 0 if as many pictures are above the mean as below, greater the more a few pictures are everywhere.

    Raises
    ------
    QueryError
        If the rows are not integers of shape (Q, k), or name a picture beyond the ids.

    References
    ----------
    Radovanović, Nanopoulos & Ivanović 2010, Hubs in space: popular nearest neighbors in high-dimensional data.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> table = am.measure.hubs(["a", "b", "c", "d"], np.array([[1], [0], [1], [1]]))
    >>> table["occurrences"].tolist(), table["id"][0], round(table.attrs["hubness"], 2)
    ([3, 1, 0, 0], 'b', 0.82)
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or rows.max(initial=-1) >= len(ids):
        raise QueryError(f"rows must be neighbours among the {len(ids)} ids, (Q, k) integers, not {rows.shape}")
    count = np.bincount(rows[rows >= 0], minlength=len(ids))
    table = pd.DataFrame({"id": pd.Series(list(ids), dtype=object), "occurrences": count})
    table = table.sort_values("occurrences", ascending=False, kind="stable", ignore_index=True)
    centred = count - count.mean()
    table.attrs["hubness"] = float((centred**3).mean() / max((centred**2).mean() ** 1.5, 1e-12))
    return table
