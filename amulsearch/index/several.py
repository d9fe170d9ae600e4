"""One query for several indexes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from PIL import Image

from ..errors import QueryError
from ..features import Words
from .base import Index, encoded


def query_all(indexes: Mapping, query, k: int | None = None, **options) -> dict:
    """Query several indexes with the same picture.

    Parameters
    ----------
    indexes : mapping of name to Index
    query : str, path, PIL image, Words or ndarray of shape (D,)
        As for `Index.query`.
    k : int, optional
        By default 10, or as many as there are.
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
    if not isinstance(indexes, Mapping) or not all(isinstance(index, Index) for index in indexes.values()):
        raise QueryError('query_all takes indexes by name, such as {"squeezenet1_1": index}; for one, use index.query')
    if isinstance(query, (str, os.PathLike, Image.Image, Words)) and not all(
        query in index for index in indexes.values()
    ):
        asked = dict(zip(indexes, encoded(list(indexes.values()), query), strict=True))
    else:
        asked = dict.fromkeys(indexes, query)
    return {name: index.query(asked[name], k, **options) for name, index in indexes.items()}
