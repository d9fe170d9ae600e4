"""Tables of measures: differences by hand, and folders in which there is nothing to count."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.measure.tables import NOTHING


def test_differences():
    chance, ids = np.random.default_rng(0), [str(row) for row in range(60)]
    labels = [str(row % 6) for row in range(60)]
    features = [am.Features(chance.standard_normal((60, 4)), ids, labels) for _ in range(2)]
    relevance = am.Relevance.from_labels(ids, labels)
    one, two = (am.evaluate(part, relevance) for part in features)
    table = am.measure.differences({"one over two": (one, two), "two over one": (two, one)})
    change = one.per_query["P@1"] - two.per_query["P@1"]
    assert table.loc[("one over two", "P@1"), "difference"] == pytest.approx(change.mean())
    assert table.loc[("two over one", "P@1"), "wins"] == (change < 0).sum()
    assert table["difference"].groupby(level=1).sum().abs().max() < 1e-12
    assert "nothing" not in repr(table)
    table.loc[("one over two", "mAP"), "difference"] = np.nan
    assert "<td></td>" in table._repr_html_() and "NaN" not in table._repr_html_()
    table = am.compare({("net", "logits"): features[0], ("net", "last"): features[1]}, progress=False).table
    assert table["wins"].isna().sum() == 1, "the baseline's"
    shown = table[["system", "difference", "wins"]].round(3)._repr_html_()
    assert "net logits" in shown and "NaN" not in shown and "NA&gt;" not in shown


@pytest.mark.parametrize("labels", [[None] * 6, list("abcdef")])
def test_nothing_to_count(labels):
    empty = am.evaluate(np.eye(6), am.Relevance.from_labels(list("abcdef"), labels))
    rows = np.array([[1, 2], [0, 3], [3, 4], [4, 0], [0, 1], [0, 1]])
    for table in (
        am.measure.precision_at_k({"near": rows, "far": rows[:, ::-1]}, labels, baseline="far"),
        am.measure.differences({"a": (empty, empty)}),
    ):
        for derived in (table, table.round(3), 100 * table.iloc[::-1], table - table.max(), table.iloc[:, :1].T):
            assert repr(derived) == NOTHING and derived._repr_html_() == f"<p>{NOTHING}</p>"
        assert table.iloc[:, 0].isna().all()
    assert repr(pd.DataFrame(table)) != NOTHING
