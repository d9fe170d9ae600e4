"""The table of many systems compared with single calls, and the trends that it shows."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.errors import QueryError

SQUEEZENET, _, _, LITE2 = am.models.BUNDLED


@pytest.fixture(scope="module")
def relevance(cartoons):
    return am.Relevance.from_labels(cartoons.ids, cartoons.labels)


def compare(features) -> am.measure.Comparison:
    layers = ("logits", "penultimate", "last:gem")
    chosen = {key: layer for key, layer in features.items() if key[1] in layers}
    panel = am.Panel(chosen, fusions=("vote", "rrf", "combsum"))
    return am.compare(panel, baseline=f"{LITE2} penultimate", measure="P@1", progress=False)


@pytest.fixture(scope="module")
def compared(bundled_features):
    return compare(bundled_features)


def test_rows_are_what_the_single_calls_say(compared, bundled_features, relevance):
    table = compared.table.set_index("system")
    assert len(table) == 12 + 9
    assert table["P@1"].is_monotonic_decreasing
    one = am.evaluate(bundled_features[SQUEEZENET, "logits"], relevance)
    base = am.evaluate(bundled_features[LITE2, "penultimate"], relevance)
    row = table.loc[f"{SQUEEZENET} logits"]
    assert row["mAP"] == pytest.approx(one.mean()["mAP"], abs=1e-5)
    assert (row["low"], row["high"]) == one.interval("P@1")
    against = one.compare(base, "P@1")
    assert (row["difference"], row["p"], row["wins"]) == (against["difference"], against["p"], against["wins"])
    assert (row["label_low"], row["label_high"]) == one.interval("P@1", by="label")
    assert row["label_p"] == one.compare(base, "P@1", by="label")["p"]
    widths = (table["label_high"] - table["label_low"]) / (table["high"] - table["low"])
    assert widths.min() > 1.2  # queries of one category share their answers
    corrected = table["holm"].dropna()
    assert len(corrected) == len(table) - 1 and (corrected >= table["label_p"].dropna()).all()
    assert corrected.min() == pytest.approx(min(1, len(corrected) * table["label_p"].min()))
    assert np.isnan(table.loc[f"{LITE2} penultimate", "difference"])
    parts = [bundled_features[name, "penultimate"] for name in am.models.BUNDLED]
    fused = am.evaluate(am.Fusion(parts, "rrf"), relevance)
    assert table.loc["rrf of 4 penultimate", "mAP"] == fused.mean()["mAP"]


def test_the_trends(all_features):
    """Penultimate beats logits, GeM beats mean; fusion by scores or ranks beats the best network and the vote."""
    table = compare(all_features).table.set_index("system")
    for name in am.models.BUNDLED:
        for measure in ("P@1", "P@5"):
            assert table.loc[f"{name} penultimate", measure] > table.loc[f"{name} logits", measure]
            assert table.loc[f"{name} last:gem", measure] > table.loc[f"{name} penultimate", measure]
    for method in ("rrf", "combsum"):
        assert table.loc[f"{method} of 4 penultimate", "P@1"] > table.loc[f"{LITE2} penultimate", "P@1"]
        assert table.loc[f"{method} of 4 penultimate", "mAP"] > table.loc["vote of 4 penultimate", "mAP"]
    assert table.loc["combsum of 4 last:gem", "p"] < 0.01


def test_any_system_is_compared(cartoons, bundled_features, relevance):
    features, queries = bundled_features[SQUEEZENET, "penultimate"], cartoons.ids[::5]
    systems = {
        (SQUEEZENET, "penultimate"): features,
        "PCA 64": am.transforms.PCA.fit(features, 64)(features),
        "all the same": np.zeros((len(cartoons),) * 2, dtype=np.float32),
    }
    found = am.compare(systems, relevance, queries=queries, progress=False)
    table = found.table.set_index("system")
    assert table["width"].dropna().sort_values().tolist() == [64, 512]
    assert table.index[-1] == "all the same"
    assert len(found["all the same"].per_query) == len(queries)
    assert "<table" in found._repr_html_()


@pytest.fixture
def flat():
    """300 pictures of which 200 share a label with another, and their features."""
    ids = [f"{row:03}" for row in range(300)]
    labels = [f"kind {row % 20}" if row % 3 else None for row in range(300)]
    vectors = np.random.default_rng(0).standard_normal((300, 8))
    return {("net", "logits"): am.Features(vectors, ids, labels)}


def test_a_sample_queries_in_a_large_collection_and_the_result_says_so(flat):
    everything, first, again = (am.compare(flat, progress=False, **how) for how in ({}, {"sample": 60}, {"sample": 60}))
    assert everything.queries == 200 and everything.note == ""
    assert everything["net logits"].excluded == 100
    assert first.queries == 60 and first.note == "A random sample of 60 of 200 pictures queried."
    assert first.note in repr(first) and f"<p>{first.note}</p>" in first._repr_html_()
    assert "<p>" not in everything._repr_html_() and "random" not in repr(everything)
    some, same, whole = (made["net logits"].per_query for made in (first, again, everything))
    assert some.equals(same) and some.equals(whole[whole["id"].isin(some["id"])].reset_index(drop=True))


def test_given_queries_are_never_sampled(flat):
    ids = flat["net", "logits"].ids[1:200]
    found = am.compare(flat, queries=ids, sample=10, progress=False)
    assert found.note == "" and found.queries == sum(int(id) % 3 > 0 for id in ids)


def test_only_pictures_with_a_relevant_one_are_sampled(flat):
    ids = flat["net", "logits"].ids
    judged = pd.DataFrame({"query": ids[7:12] * 2, "id": ids[20:30], "relevance": [1] * 5 + [0] * 5})
    keywords = {id: ["rare" if row in (3, 200) else f"own {row}"] for row, id in enumerate(ids)}
    for relevance, asked in (
        (am.Relevance.from_judgements(ids, judged), ids[7:12]),
        (am.Relevance.from_keywords(ids, keywords), [ids[3], ids[200]]),
    ):
        found = am.compare(flat, relevance, sample=len(asked), progress=False)
        assert found["net logits"].per_query["id"].tolist() == asked and found.note == ""
        assert am.compare(flat, relevance, sample=1, progress=False).note == (
            f"A random sample of 1 of {len(asked)} pictures queried."
        )


def test_without_labels_it_says_why_there_are_no_numbers():
    features = {("net", layer): am.Features(np.eye(3), "abc") for layer in ("logits", "penultimate")}
    found = am.compare(features, progress=False)
    assert found.queries == 0 and found.table["P@1"].isna().all() and len(found.table) == 2
    assert "nothing to count" in repr(found) == repr(found.table)
    assert "nothing to count" in found._repr_html_() and "NaN" not in found._repr_html_()


def test_wrong_use_is_told(bundled_features, relevance):
    key = SQUEEZENET, "logits"
    one = {key: bundled_features[key]}
    for call, words in (
        (lambda: am.compare({}), "at least one system"),
        (lambda: am.compare(one, relevance, baseline="x", progress=False), "'x' is not among"),
        (lambda: am.compare(one, relevance, measure="F1", progress=False), "unknown measure"),
    ):
        with pytest.raises(QueryError, match=words):
            call()
