"""The result of a search: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import QueryError


def neighbours(
    ids: Sequence[str],
    values: Sequence[float],
    labels: Sequence[str | None],
    model: str | None = None,
    layer: str | None = None,
    measure: str = "distance",
) -> pd.DataFrame:
    """A table of neighbours, best first: rank (from 1), id, distance (or score: `measure`), label, model, layer."""
    rows = pd.RangeIndex(len(ids))  # one index for all columns, so that nothing is aligned
    columns = {
        "rank": np.arange(1, len(ids) + 1),
        "id": pd.Series(ids, rows, dtype=object),
        measure: np.array(values, dtype=np.float64),
        "label": pd.Series(labels, rows, dtype=object),
        "model": pd.Series(model, rows, dtype=object),
        "layer": pd.Series(layer, rows, dtype=object),
    }
    return pd.DataFrame(columns, rows, copy=False)


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
    if not isinstance(indexes, Mapping):
        raise QueryError('query_all takes indexes by name, such as {"squeezenet1_1": index}; for one, use index.query')
    return {name: index.query(query, k, **options) for name, index in indexes.items()}
