"""Which layers `extract` computes: the same of all models, others of each, the standard ones; in one pass."""

import pytest

import amulsearch as am

SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"


@pytest.fixture
def some(small_folder):
    return am.Collection.from_folder(small_folder)


def test_each_model_has_its_own_layers(some, tmp_path):
    asked = {SQUEEZENET: ["penultimate", "features.9:gem"], LITE0: "logits"}
    found = am.extract(some, list(asked), asked, store=tmp_path / "store", progress=False)
    keys = [(SQUEEZENET, "penultimate"), (SQUEEZENET, "features.9:gem"), (LITE0, "logits")]
    assert list(found) == keys == list(am.features.FeatureSet.open(tmp_path / "store"))
    for name, layer in keys:
        alone = am.extract(some, name, layer, progress=False)[name, layer]
        assert abs(found[name, layer].vectors - alone.vectors).max() < 1e-4 * abs(alone.vectors).max()
    with pytest.raises(am.QueryError, match="at least one layer of each"):
        am.extract(some, [SQUEEZENET, LITE0], {SQUEEZENET: ["logits"]}, progress=False)


def test_the_standard_layers_are_all_that_the_preset_needs(some, tmp_path, monkeypatch):
    store = tmp_path / "store"
    found = am.extract(some, "bundled", "standard", store=store, progress=False)
    for name in am.models.BUNDLED:
        assert {"logits", "penultimate", "last:gem", *am.BEST.layers[name]} == {
            key[1] for key in found if key[0] == name
        }
    again = am.extract(some, "bundled", ["penultimate", "standard"], store=store, progress=False)
    assert again.extracted == 0 and set(again) == set(found)

    def run(*_):
        raise AssertionError("a network ran again")

    monkeypatch.setattr("amulsearch.features.extraction.Run.__call__", run)
    assert len(am.BEST.layers_of(some, store=store, progress=False)) == 8
