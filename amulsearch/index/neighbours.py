"""The result of a query: a ranked list of neighbours, as a pandas table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def neighbours(
    ids: Sequence[str],
    labels: Sequence[str | None],
    values: Mapping[str, np.ndarray],
    more: Mapping[str, np.ndarray],
    model: object = None,
    layer: object = None,
) -> pd.DataFrame:
    """A table of neighbours, best first: rank (from 1), id, the values, label, more columns, model, layer."""
    rows = pd.RangeIndex(len(ids))  # one index for all columns, so that nothing is aligned
    columns = {
        "rank": np.arange(1, len(ids) + 1),
        "id": pd.Series(ids, rows, dtype=object),
        **values,
        "label": pd.Series(labels, rows, dtype=object),
        **more,
        "model": pd.Series([model] * len(ids), rows, dtype=object),
        "layer": pd.Series([layer] * len(ids), rows, dtype=object),
    }
    return pd.DataFrame(columns, rows, copy=False)
