"""Plausible mistakes are answered in a sentence that says what to do; none by a traceback of another library."""

import numpy as np
import pytest

import amulsearch as am

VECTORS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
FEATURES = am.Features(VECTORS, list("abcdef"), list("xxyyzz"))
INDEX = am.ExactIndex.build(FEATURES)
RELEVANCE = am.Relevance.from_labels(FEATURES.ids, FEATURES.labels)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: am.extract("folder"), r"takes a Collection, not str: .*from_folder"),
        (lambda: am.AnnoyIndex.build({("model", "layer"): FEATURES}), r"choose features\[model, layer\]"),
        (lambda: am.Panel([INDEX]), "at least one system, by name"),
        (lambda: am.compare(FEATURES), r"by \(model, layer\)"),
        (lambda: am.evaluate(FEATURES, RELEVANCE).by_label("F1"), "unknown measure 'F1'"),
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


def test_a_missing_key_is_a_key_error_with_a_plain_message():
    for call in (lambda: INDEX.vector("z"), lambda: FEATURES.vector("z"), lambda: INDEX.query("z")):
        with pytest.raises(KeyError) as caught:
            call()
        assert isinstance(caught.value, am.errors.QueryError) and not str(caught.value).startswith(("'no", '"'))
