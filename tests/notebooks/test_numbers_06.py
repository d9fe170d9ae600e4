"""The numbers that notebook 06 and its solutions state."""

import numpy as np
import pytest

import amulsearch as am

NOTEBOOK, SOLUTIONS = "06_layers_and_pooling", "solutions/06_layers_and_pooling"
WITHIN = 0.0005  # the notebook rounds to three digits
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
STAGES = {
    SQUEEZENET: ["features.1", "features.4", "features.7", "last"],
    LITE0: ["blocks.1.0.bn1", "blocks.2.0.bn1", "blocks.3.0.bn1", "blocks.5.0.bn1", "last"],
}


@pytest.fixture(scope="module")
def features(cartoons, bundled_features, store):
    """The layers that the notebook and its solutions use."""
    found = {key: made for key, made in bundled_features.items() if key[1] in ("logits", "penultimate", "last:gem")}
    for name, stages in STAGES.items():
        layers = [f"{stage}:{pooling}" for stage in stages for pooling in ("mean", "gem")]
        found |= am.extract(cartoons, name, [*layers, "penultimate", "logits"], store=store, progress=False)
    views = [f"{SQUEEZENET}@{view}" for view in ("320", "mirror")]
    return found | am.extract(cartoons, views, "last:gem", store=store, progress=False)


@pytest.fixture(scope="module")
def done(cartoons, features):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    return {key: am.evaluate(made, relevance) for key, made in features.items()}


@pytest.fixture(scope="module")
def first(done):
    return {key: result.mean()["P@1"] for key, result in done.items()}


def test_depths(first, near):
    lite0 = {layer: value for (name, layer), value in first.items() if name == LITE0}
    ends = [lite0["blocks.1.0.bn1:gem"], lite0["last:gem"]]
    near(ends, "with GeM rises from # at the shallowest depth to # at the last map")
    for name, stages in STAGES.items():
        curve = [first[name, f"{stage}:gem"] for stage in stages]
        assert curve == sorted(curve)
        for stage in stages:
            assert first[name, f"{stage}:gem"] > first[name, f"{stage}:mean"]
        assert first[name, "penultimate"] == pytest.approx(first[name, "last:mean"], abs=0.0007)
    near(lite0["logits"], "logits of `tf_efficientnet_lite0` have #")
    near(lite0["penultimate"], "than its penultimate layer with #")
    near([first[SQUEEZENET, "logits"], first[SQUEEZENET, "penultimate"]], "differs there: # against #")
    near([lite0["blocks.5.0.bn1:mean"], lite0["blocks.5.0.bn1:gem"]], "the mean has # and GeM #")
    near([lite0["last:mean"], lite0["last:gem"]], "it is small, # against #")
    near([lite0["blocks.5.0.bn1:mean"], lite0["blocks.5.0.bn1:gem"]], "have # pooled by the mean and # pooled")
    near(first[SQUEEZENET, "last:gem"], "last map of `squeezenet1_1` have #,")
    assert first[SQUEEZENET, "last:gem"] > first[LITE0, "blocks.5.0.bn1:gem"]


def test_widths_and_the_stages_that_the_notebook_finds(features):
    for name, stages in STAGES.items():
        found = am.models.load(name).stages()
        assert found["node"].tolist() == stages
    assert dict(zip(found["node"], found["shape"], strict=True))["blocks.1.0.bn1"] == (96, 112, 112)
    width = {key: made.vectors.shape[1] for key, made in features.items()}
    assert width[LITE0, "blocks.5.0.bn1:gem"] == 672
    assert (width[SQUEEZENET, "last:gem"], width[SQUEEZENET, "logits"]) == (512, 1000)


def test_shallow_against_deep(done, near):
    change = done[LITE0, "blocks.1.0.bn1:gem"].compare(done[LITE0, "penultimate"], "P@1")
    near(change["wins"], "penultimate layer wrong for # queries", within=0)
    near(change["losses"], "the other way round for #: the lion", within=0)
    for name, stages in STAGES.items():
        for metric in ("P@5", "mAP"):
            for stage in stages:
                means = [done[name, f"{stage}:{pooling}"].mean()[metric] for pooling in ("mean", "gem")]
                assert means[0] < means[1]


def points(changes):
    """The smallest and the largest of some differences, in percentage points as in the prose."""
    found = [100 * change["difference"] for change in changes]
    return [round(min(found), 1), round(max(found), 1)]


def test_gem_over_the_penultimate_layer(done, near, features):
    gem = {
        metric: {name: done[name, "last:gem"].compare(done[name, "penultimate"], metric) for name in am.models.BUNDLED}
        for metric in ("P@1", "AP")
    }
    near(points(gem["AP"].values()), "In mAP the gain is # to # points")
    near(points(gem["P@1"].values()), "At P@1 the gain is # to # points")
    assert all(change["low"] > 0 for change in gem["AP"].values())
    assert all(change["low"] < 0 < change["high"] for change in gem["P@1"].values())
    assert min(gem["P@1"], key=lambda name: gem["P@1"][name]["p"]) == LITE1
    near(round(gem["P@1"][LITE1]["p"], 2), "the lowest p is #, that of", within=0)
    for name in (SQUEEZENET, LITE0):
        assert np.array_equal(features[name, "last:mean"].vectors, features[name, "penultimate"].vectors)


def test_penultimate_over_logits(done, near, features):
    below = {
        metric: {name: done[name, "penultimate"].compare(done[name, "logits"], metric) for name in am.models.BUNDLED}
        for metric in ("P@1", "AP")
    }
    lites = {metric: [of[name] for name in (LITE0, LITE1, LITE2)] for metric, of in below.items()}
    assert all(change["low"] > 0 for changes in lites.values() for change in changes)
    near([*points(lites["P@1"]), *points(lites["AP"])], "networks gain # to # points at P@1 and # to # in mAP")
    assert (features[SQUEEZENET, "logits"].vectors >= 0).all()
    assert abs(below["P@1"][SQUEEZENET]["difference"]) < 0.002
    near(-points([below["AP"][SQUEEZENET]])[0], "the logits are ahead by # points", within=0)
    near(below["AP"][SQUEEZENET]["p"], "with a p of #.")


def test_the_intervals_of_one_network_overlap(done):
    for name in am.models.BUNDLED:
        intervals = [done[name, layer].interval("mAP") for layer in ("logits", "penultimate", "last:gem")]
        assert max(low for low, _ in intervals) < min(high for _, high in intervals)


def test_what_is_said_of_the_two_grids(features):
    def right(query, layer):
        found = am.ExactIndex.build(features[LITE0, layer]).query(query, 4)
        return found["label"].tolist().count(query.rpartition("/")[0])

    trumpet = "recreation/music/trumpet_pocket_colour_ganso.webp"
    counts = [right(trumpet, f"{stage}:gem") for stage in STAGES[LITE0]] + [right(trumpet, "logits")]
    assert counts == [0, 0, 0, 2, 4, 4]
    lion = "animals/mammals/big_cats/leone_architetto_frances_01.webp"
    first = am.ExactIndex.build(features[LITE0, "penultimate"]).query(lion, 1)  # wrong: one of the 56
    assert first["label"].tolist() != ["animals/mammals/big_cats"]
    assert [right(lion, f"{stage}:gem") for stage in STAGES[LITE0]] == [3, 0, 0, 0, 0]


def test_solutions(cartoons, features, done, first, near):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    last, below = features[SQUEEZENET, "last:gem"], features[SQUEEZENET, "features.7:gem"]

    def measured(made):
        return am.evaluate(made, relevance).mean()

    narrow = measured(am.transforms.PCA.fit(last, 128)(last))
    near(narrow["P@1"], "512 numbers: # against", of=SOLUTIONS)
    near(narrow["mAP"], "slightly better in mAP, # against", of=SOLUTIONS)
    loss = first[SQUEEZENET, "last:gem"] - measured(am.transforms.PCA.fit(last, 32)(last))["P@1"]
    near(loss, "With 32, the loss at P@1 is #,", of=SOLUTIONS, within=0.0011)
    near(
        round(measured(am.transforms.concatenate([last, below]))["P@1"], 3),
        "the two together have # at P@1",
        of=SOLUTIONS,
        within=0,
    )
    near(first[f"{SQUEEZENET}@320", "last:gem"], "larger picture has # at P@1", of=SOLUTIONS)
    mirrored = features[f"{SQUEEZENET}@mirror", "last:gem"]
    mean = sum(am.features.l2_normalize(made.vectors) for made in (last, mirrored))
    both = am.evaluate(am.Features(mean, last.ids, last.labels), relevance)
    near(both.mean()["P@1"], "mirror image has #.", of=SOLUTIONS)
    change = both.compare(done[SQUEEZENET, "last:gem"], "AP")
    assert round(100 * change["difference"], 1) == 0.3
    assert change["p"] < 0.001
