"""The numbers that notebook 06 and its solutions state."""

import pytest

import amulsearch as am

NAME, SOLUTIONS = "06_layers_and_pooling", "solutions/06_layers_and_pooling"
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
STAGES = {
    SQUEEZENET: ["features.1", "features.4", "features.7", "last"],
    LITE0: ["blocks.1.0.bn1", "blocks.2.0.bn1", "blocks.3.0.bn1", "blocks.5.0.bn1", "last"],
}


@pytest.fixture(scope="module")
def features(cartoons, bundled_features, store):
    """The layers that the notebook reads; those of the solutions as well."""
    found = {key: made for key, made in bundled_features.items() if key[1] in ("logits", "penultimate", "last:gem")}
    for name, stages in STAGES.items():
        layers = [f"{stage}:{pooling}" for stage in stages for pooling in ("mean", "gem")]
        found |= am.extract(cartoons, name, [*layers, "penultimate", "logits"], store=store, progress=False)
    for view in ("320", "mirror"):
        found |= am.extract(cartoons, f"{SQUEEZENET}@{view}", "last:gem", store=store, progress=False)
    return found


@pytest.fixture(scope="module")
def done(cartoons, features):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    return {key: am.evaluate(made, relevance) for key, made in features.items()}


@pytest.fixture(scope="module")
def first(done):
    return {key: result.mean()["P@1"] for key, result in done.items()}


def test_depths(first, stated):
    rises = r"with GeM rises from ([\d.]+\d) at the shallowest depth to [\d.]+ at the last map"
    assert stated(NAME, rises) == round(first[LITE0, "blocks.1.0.bn1:gem"], 3)
    ends = r"with GeM rises from [\d.]+ at the shallowest depth to ([\d.]+\d) at the last map"
    assert stated(NAME, ends) == round(first[LITE0, "last:gem"], 3)
    for name, stages in STAGES.items():
        curve = [first[name, f"{stage}:gem"] for stage in stages]
        assert curve == sorted(curve)
        for stage in stages:
            assert first[name, f"{stage}:gem"] > first[name, f"{stage}:mean"]
        assert first[name, "penultimate"] == pytest.approx(first[name, "last:mean"], abs=0.0007)
    assert stated(NAME, r"logits of `tf_efficientnet_lite0` have ([\d.]+\d)") == round(first[LITE0, "logits"], 3)
    assert stated(NAME, r"than its penultimate layer with ([\d.]+\d)") == round(first[LITE0, "penultimate"], 3)
    assert stated(NAME, r"differs there: ([\d.]+\d) against") == round(first[SQUEEZENET, "logits"], 3)
    assert stated(NAME, r"differs there: [\d.]+ against ([\d.]+\d)") == round(first[SQUEEZENET, "penultimate"], 3)
    assert stated(NAME, r"the mean has ([\d.]+\d) and GeM") == round(first[LITE0, "blocks.5.0.bn1:mean"], 3)
    assert stated(NAME, r"and GeM ([\d.]+\d)") == round(first[LITE0, "blocks.5.0.bn1:gem"], 3)
    assert stated(NAME, r"it is small, ([\d.]+\d) against") == round(first[LITE0, "last:mean"], 3)
    assert stated(NAME, r"of `tf_efficientnet_lite0`: ([\d.]+\d) against") == round(first[SQUEEZENET, "last:gem"], 3)


def test_gem_and_penultimate_of_all_networks(done):
    for name in am.models.BUNDLED:
        gem = {metric: done[name, "last:gem"].compare(done[name, "penultimate"], metric) for metric in ("P@1", "AP")}
        assert gem["P@1"]["difference"] > 0
        assert gem["AP"]["low"] > 0
        assert (gem["P@1"]["low"] > 0) == (name == LITE1)
        below = {metric: done[name, "penultimate"].compare(done[name, "logits"], metric) for metric in ("P@1", "AP")}
        if name == SQUEEZENET:
            assert abs(below["P@1"]["difference"]) < 0.002
            assert round(100 * below["AP"]["difference"], 1) == -0.3
        else:
            assert all(0.005 <= change["difference"] <= 0.0208 and change["low"] > 0 for change in below.values())


def test_what_is_said_of_the_two_grids(features):
    def right(query, layer):
        found = am.ExactIndex.build(features[LITE0, layer]).query(query, 4)
        return found["label"].tolist().count(query.rpartition("/")[0])

    trumpet = "recreation/music/trumpet_pocket_colour_ganso.webp"
    counts = [right(trumpet, f"{stage}:gem") for stage in STAGES[LITE0]] + [right(trumpet, "logits")]
    assert counts == [0, 0, 0, 2, 4, 4]
    lion = "animals/mammals/big_cats/leone_architetto_frances_01.webp"
    assert [right(lion, f"{stage}:gem") for stage in STAGES[LITE0]] == [3, 0, 0, 0, 0]


def test_solutions(cartoons, features, done, first, stated):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    last, below = features[SQUEEZENET, "last:gem"], features[SQUEEZENET, "features.7:gem"]

    def measured(made):
        return am.evaluate(made, relevance).mean()

    narrow = measured(am.PCA.fit(last, 128)(last))
    assert stated(SOLUTIONS, r"512 numbers: ([\d.]+\d) against") == round(narrow["P@1"], 3)
    assert stated(SOLUTIONS, r"a little better, ([\d.]+\d) against") == round(narrow["mAP"], 3)
    loss = first[SQUEEZENET, "last:gem"] - measured(am.PCA.fit(last, 32)(last))["P@1"]
    assert stated(SOLUTIONS, r"With 32 the loss at P@1 is ([\d.]+\d),") == pytest.approx(loss, abs=0.0011)
    assert stated(SOLUTIONS, r"the two together have ([\d.]+\d) at P@1") == round(
        measured(am.concatenate([last, below]))["P@1"], 3
    )
    assert stated(SOLUTIONS, r"larger picture has ([\d.]+\d) at P@1") == round(
        first[f"{SQUEEZENET}@320", "last:gem"], 3
    )
    both = am.evaluate(am.average([last, features[f"{SQUEEZENET}@mirror", "last:gem"]]), relevance)
    assert stated(SOLUTIONS, r"mirror image has ([\d.]+\d)\.") == round(both.mean()["P@1"], 3)
    change = both.compare(done[SQUEEZENET, "last:gem"], "AP")
    assert round(100 * change["difference"], 1) == 0.3
    assert change["p"] < 0.001
