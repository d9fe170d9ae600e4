"""The result of a search: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def neighbours(
    ids: Sequence[str],
    distances: Sequence[float],
    labels: Sequence[str | None],
    model: str | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """A table of neighbours, nearest first: rank (from 1), id, distance, label, model, layer."""
    count = len(ids)
    return pd.DataFrame(
        {
            "rank": np.arange(1, count + 1),
            "id": pd.Series(ids, dtype=object),
            "distance": np.asarray(distances, dtype=np.float64),
            "label": pd.Series(labels, dtype=object),
            "model": pd.Series([model] * count, dtype=object),
            "layer": pd.Series([layer] * count, dtype=object),
        }
    )


def query_all(indexes: Mapping, query, k: int = 10, **options) -> dict:
    """Query several indexes with the same picture.

    Parameters
    ----------
    indexes : mapping of name to Index
    query : str, path, PIL image or ndarray of shape (D,)
        As for `Index.query`.
    k : int, default 10
    **options
        As for `Index.query`.

    Returns
    -------
    dict of name to DataFrame
        The neighbours that each index finds, ready for `fuse`.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), ["a", "b", "c", "d"]
    >>> indexes = {name: am.ExactIndex.build(rng.standard_normal((4, 3)), ids) for name in ("one", "two")}
    >>> lists = am.query_all(indexes, "a", k=2)
    >>> {name: table["id"].tolist() for name, table in lists.items()}
    {'one': ['b', 'd'], 'two': ['b', 'c']}
    """
    return {name: index.query(query, k, **options) for name, index in indexes.items()}
