"""Tables of measures: precision and differences by hand, and folders in which there is nothing to count."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

LABELS = ["x", "x", "x", "y", "y", None]
NEAR = np.array([[1, 2], [0, 3], [3, 4], [4, 0], [0, 1], [0, 1]])
FAR = np.array([[3, 4], [2, 0], [4, 3], [0, 1], [3, 5], [4, 3]])


def test_precision():
    table = am.measure.precision({"near": NEAR, "far": (FAR, np.zeros(FAR.shape))}, LABELS, at=(1, 2), baseline="far")
    assert table.loc["near"].tolist() == [3 / 5, (1 + 0.5 + 0 + 0.5 + 0) / 5, 2, 1]
    assert table.loc["far"].tolist() == [2 / 5, (0 + 1 + 0 + 0 + 1) / 5, 0, 0]  # of a neighbour without a label


def test_precision_divides_as_evaluate_does():
    """By k, also where there are fewer than k neighbours."""
    features = am.Features(np.random.default_rng(0).standard_normal((4, 3)), list("abcd"), list("xxxy"))
    rows = am.ExactIndex.build(features).all_neighbours(3)[0]
    table = am.measure.precision({("net", "logits"): rows}, features.labels)
    assert table.columns.tolist() == ["P@1", "P@5"]
    assert table.index.tolist() == [("net", "logits")]
    expected = am.evaluate(features, am.Relevance.from_labels(features.ids, features.labels)).mean()
    assert table.iloc[0].tolist() == pytest.approx(expected[["P@1", "P@5"]].tolist())


def test_neighbours_without_a_label_are_neither_right_nor_wrong():
    labels = ["x", "x", "x", "y", None, None]
    rows = {"one": np.array([[4, 1, 3], [4, 5, 2], [5, 4, -1], [0, 1, 2], [0, 1, 2], [0, 1, 2]])}
    table = am.measure.precision(rows, labels, at=(1, 2))
    assert table.iloc[0].tolist() == [(1 + 1 + 0) / 3, (1 / 2 + 1 / 1 + 0 / 1) / 3]
    assert am.measure.chance_level(labels) == pytest.approx(2 / 3)
    assert am.measure.neighbour_purity(rows, labels)["purity"].iloc[0] == pytest.approx(2 / 4)


def test_differences(cartoons, bundled_features):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    one, two = (am.evaluate(bundled_features[name, "logits"], relevance) for name in am.models.BUNDLED[:2])
    table = am.measure.differences({"one over two": (one, two), "two over one": (two, one)})
    change = one.per_query.set_index("id")["P@1"] - two.per_query.set_index("id")["P@1"]
    assert table.loc[("one over two", "P@1"), "difference"] == pytest.approx(change.mean())
    assert table.loc[("two over one", "P@1"), "wins"] == (change < 0).sum()
    assert table["difference"].groupby(level=1).sum().abs().max() < 1e-12
    assert "nothing" not in repr(table)
    table.loc[("one over two", "mAP"), "difference"] = np.nan
    assert "<td></td>" in table._repr_html_() and "NaN" not in table._repr_html_()


def test_a_number_that_a_row_does_not_have_is_an_empty_cell(bundled_features):
    features = {key: bundled_features[key] for key in [("squeezenet1_1", "logits"), ("squeezenet1_1", "penultimate")]}
    table = am.compare(features, progress=False).table
    assert table["wins"].isna().sum() == 1
    shown = table[["system", "difference", "wins"]].round(3)._repr_html_()
    assert "squeezenet1_1 penultimate" in shown and "NaN" not in shown and "NA&gt;" not in shown


@pytest.mark.parametrize("labels", [[None] * 6, list("abcdef")])
def test_nothing_to_count(labels):
    relevance = am.Relevance.from_labels(list("abcdef"), labels)
    empty = am.evaluate(np.eye(6), relevance)
    for table in (
        am.measure.precision({"near": NEAR, "far": FAR}, labels, baseline="far"),
        am.measure.differences({"a": (empty, empty)}),
    ):
        for derived in (table, table.round(3), 100 * table.iloc[::-1], table - table.max(), table.iloc[:, :1].T):
            assert repr(derived) == am.measure.tables.NOTHING
            assert derived._repr_html_() == f"<p>{am.measure.tables.NOTHING}</p>"
        assert table.iloc[:, 0].isna().all()
    assert repr(pd.DataFrame(table)) != am.measure.tables.NOTHING
