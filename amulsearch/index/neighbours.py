"""The result of a search: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def neighbours(
    ids: Sequence[str],
    distances: Sequence[float],
    labels: Sequence[str | None],
    model: str | None = None,
    layer: str | None = None,
    probability: np.ndarray | None = None,
) -> pd.DataFrame:
    """A table of neighbours, best first: rank (from 1), id, distance, label, model, layer.

    With probabilities, they are a column after the distance.
    """
    rows = pd.RangeIndex(len(ids))  # one index for all columns, so that nothing is aligned
    columns = {
        "rank": np.arange(1, len(ids) + 1),
        "id": pd.Series(ids, rows, dtype=object),
        "distance": np.array(distances, dtype=np.float64),
        **({} if probability is None else {"probability": probability}),
        "label": pd.Series(labels, rows, dtype=object),
        "model": pd.Series(model, rows, dtype=object),
        "layer": pd.Series(layer, rows, dtype=object),
    }
    return pd.DataFrame(columns, rows, copy=False)
