"""Plausible mistakes are answered in a sentence that says what to do; none by a traceback of another library."""

import numpy as np
import pytest

import amulsearch as am

VECTORS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
FEATURES = am.Features(VECTORS, list("abcdef"), list("xxyyzz"))
INDEX = am.ExactIndex.build(FEATURES)
RELEVANCE = am.Relevance.from_labels(FEATURES.ids, FEATURES.labels)
TABLE = INDEX.query("a", 3)
ROWS = INDEX.all_neighbours(3)[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: am.extract("folder"), r"takes a Collection, not str: .*from_folder"),
        (lambda: am.AnnoyIndex.build({("model", "layer"): FEATURES}), r"choose features\[model, layer\]"),
        (lambda: am.Panel([INDEX]), "at least one system, by name"),
        (lambda: am.Fusion(INDEX), "the systems in a list"),
        (lambda: am.Fusion([INDEX], depth=0), "depth must be an integer of at least 1"),
        (lambda: am.evaluate(FEATURES, FEATURES.labels), "needs a Relevance, not list"),
        (lambda: am.compare(FEATURES), r"by \(model, layer\)"),
        (lambda: am.compare({("m", "l"): FEATURES}, measure="F1", progress=False), "unknown measure 'F1'"),
        (lambda: am.evaluate(FEATURES, RELEVANCE).by_label("F1"), "unknown measure 'F1'"),
        (lambda: am.measure.overlap(TABLE, TABLE), "rows .* of integers"),
        (lambda: am.embed([], "squeezenet1_1"), "at least one picture"),
        (lambda: am.models.load("squeezenet1_1", "float8"), "unknown precision 'float8'"),
        (lambda: am.transforms.PCA.fit(FEATURES, "x"), "width must be an integer"),
        (lambda: am.explore(None, FEATURES), r"by \(model, layer\)"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(call, words):
    with pytest.raises(am.errors.QueryError, match=words) as caught:
        call()
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(am.errors.PictureError, match=r"text\.png: not a picture"):
        am.open_image(tmp_path / "text.png")
    with pytest.raises(am.errors.ModelError, match="bundled is a group of models: use one of squeezenet1_1"):
        am.models.get("bundled")


def test_a_missing_key_is_a_key_error_with_a_plain_message():
    for call in (lambda: INDEX.vector("z"), lambda: FEATURES.vector("z"), lambda: INDEX.query("z")):
        with pytest.raises(KeyError) as caught:
            call()
        assert isinstance(caught.value, am.errors.QueryError) and not str(caught.value).startswith(("'no", '"'))


def test_what_a_system_does_not_answer_is_not_found_and_the_query_is_left_out():
    """It answers the last picture to all, and nothing (-inf) to the last itself; only "e" has the label of the last."""
    similarity = np.full((6, 6), -np.inf)
    similarity[:, 5] = 1.0
    found = am.evaluate(similarity, RELEVANCE).per_query
    assert found["P@1"].tolist() == found["AP"].tolist() == [0, 0, 0, 0, 1, 0]
