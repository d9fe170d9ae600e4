"""Tables of neighbours, and neighbours with the label of their query, on cases worked out by hand."""

import numpy as np
import pandas as pd

from amulsearch.index.neighbours import neighbours
from amulsearch.measure import same_label


def test_the_table_is_a_plain_one():
    distances = np.array([0.5, 1.0])
    table = neighbours(["a", "b"], distances, ["x", None], "m", "logits")
    plain = {
        "rank": [1, 2],
        "id": pd.Series(["a", "b"], dtype=object),
        "distance": [0.5, 1.0],
        "label": pd.Series(["x", None], dtype=object),
        "model": pd.Series(["m", "m"], dtype=object),
        "layer": pd.Series(["logits", "logits"], dtype=object),
    }
    pd.testing.assert_frame_equal(table, pd.DataFrame(plain))
    table.loc[0, "distance"] = table.loc[1, "rank"] = 7  # and can be changed like any DataFrame
    table["new"] = table.pop("model")
    assert distances[0] == 0.5 and table["rank"].tolist() == [1, 7] and table["new"].tolist() == ["m", "m"]
    assert neighbours(["a", "b"], distances, [None, None])["rank"].tolist() == [1, 2]
    assert neighbours([], [], []).dtypes.equals(neighbours(["a"], [1], ["b"]).dtypes)


def test_same_label():
    labels = ["a", "a", "b", None, "b", "c"]
    rows = np.array([[1, 2], [2, 0], [4, -1], [0, 1], [3, 5], [2, 3]])
    nothing = [np.nan] * 2  # the query has no label, or one that no other picture has
    expected = [[1, 0], [0, 1], [1, 0], nothing, [np.nan, 0], nothing]  # a neighbour without a label is not wrong
    np.testing.assert_array_equal(same_label(rows, labels), expected)


def test_without_labels_nothing_can_be_asked():
    assert np.isnan(same_label(np.array([[1], [0]]), [None, None])).all()
