"""What a search gives back: a ranked list of neighbours, as a pandas table."""

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
    """Ask several indexes the same: name -> table of neighbours. `query` and `options` as for `Index.query`."""
    return {name: index.query(query, k, **options) for name, index in indexes.items()}
