"""What a search gives back: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks

from .errors import QueryError

_COLUMNS = pd.Index(["rank", "id", "distance", "label", "model", "layer"])
_PLACES = {"rank": np.array([0]), "distance": np.array([2]), "text": np.array([1, 3, 4, 5])}


def neighbours(
    ids: Sequence[str],
    distances: Sequence[float],
    labels: Sequence[str | None],
    model: str | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """A table of neighbours, nearest first: rank (from 1), id, distance, label, model, layer."""
    text = np.empty((4, len(ids)), dtype=object)
    text[0], text[1], text[2], text[3] = ids, labels, model, layer
    # A plain DataFrame guesses types, aligns and copies: that takes longer than Annoy's whole answer.
    blocks = [
        (np.arange(1, len(ids) + 1)[None], _PLACES["rank"]),
        (np.array(distances, dtype=np.float64)[None], _PLACES["distance"]),
        (text, _PLACES["text"]),
    ]
    return create_dataframe_from_blocks(blocks, pd.RangeIndex(len(ids)), _COLUMNS)


def query_all(indexes: Mapping, query, k: int = 10, **options) -> dict:
    """Ask several indexes the same: name -> table of neighbours. `query` and `options` as for `Index.query`."""
    return {name: index.query(query, k, **options) for name, index in indexes.items()}


def same_label(rows: np.ndarray, labels: Sequence[str | None]) -> np.ndarray:
    """Whether each neighbour carries its query's label: (N, k) float64, 1 or 0, and NaN where that cannot be asked.

    rows: the neighbours of N pictures as rows (N, k), as `ExactIndex.all_neighbours` and `fuse_all` give them; -1,
        where there is no neighbour, counts as another label.
    labels: the labels of the N pictures. A picture without one, or with one that no other has, is a row of NaN, which
        the means of pandas leave out.
    """
    labels = pd.Series(list(labels), dtype=object)
    codes, rows = labels.factorize()[0], np.asarray(rows)
    asked = (labels.notna() & labels.duplicated(keep=False)).to_numpy()
    return np.where(asked[:, None], (codes[rows] == codes[:, None]) & (rows >= 0), np.nan)


def check_k(k: int, most: int, what: str = "pictures to choose from") -> int:
    """`k` as an int from 1 to `most`; QueryError otherwise."""
    k = check_whole("k", k)
    if k > most:
        raise QueryError(f"k={k} is more than the {most} {what}")
    return k


def check_whole(name: str, value: int, least: int = 1) -> int:
    """`value` as an int from `least`; QueryError otherwise."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or value % 1 != 0 or value < least:
        raise QueryError(f"{name} must be a whole number from {least}, not {value!r}")
    return int(value)
