"""What a search gives back: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .errors import QueryError


def neighbours(
    ids: Sequence[str],
    distances: Sequence[float],
    labels: Sequence[str | None],
    model: str | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """A table of neighbours, nearest first: rank (from 1), id, distance, label, model, layer."""
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(ids) + 1),
            "id": pd.Series(list(ids), dtype=object),
            "distance": np.asarray(distances, dtype=np.float64),
            "label": pd.Series(list(labels), dtype=object),
            "model": pd.Series([model] * len(ids), dtype=object),
            "layer": pd.Series([layer] * len(ids), dtype=object),
        }
    )


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
    if isinstance(k, bool) or int(k) != k or k < 1:
        raise QueryError(f"k must be a whole number from 1, not {k!r}")
    if k > most:
        raise QueryError(f"k={k} is more than the {most} {what}")
    return int(k)
