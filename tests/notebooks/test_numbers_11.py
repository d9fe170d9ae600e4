"""The numbers that notebook 11 and its solutions state. Those of SIFT take a minute: AMULSEARCH_FULL=1."""

import os

import pytest

import amulsearch as am

NOTEBOOK, SOLUTIONS = "11_before_networks", "solutions/11_before_networks"
slow = pytest.mark.skipif("AMULSEARCH_FULL" not in os.environ, reason="a minute: AMULSEARCH_FULL=1")


@pytest.fixture(scope="module")
def relevance(cartoons):
    return am.Relevance.from_labels(cartoons.ids, cartoons.labels)


@pytest.fixture(scope="module")
def found(cartoons, bundled_features):
    names = ["colour", "hog", "hog@mirror"]
    return am.extract(bundled_features.collection, names, "descriptor", progress=False)


@pytest.fixture(scope="module")
def measured(found, bundled_features, relevance):
    systems = {name: made for (name, _), made in found.items()}
    systems |= {name: bundled_features[name, "penultimate"] for name in am.models.BUNDLED}
    return {name: am.evaluate(made, relevance) for name, made in systems.items()}


def test_the_table(measured, stated):
    hog, colour, small, large = (
        measured[name].mean() for name in ("hog", "colour", "squeezenet1_1", "tf_efficientnet_lite2")
    )
    about = {"abs": 0.002}
    assert stated(NOTEBOOK, r"best of the three, with a P@1 of (\d\.\d+)") == pytest.approx(hog["P@1"], **about)
    assert stated(NOTEBOOK, r"and a P@5 of (\d\.\d+); `sift`") == pytest.approx(hog["P@5"], **about)
    assert stated(NOTEBOOK, r"and `colour` (\d\.\d+)\. The smallest") == pytest.approx(colour["P@5"], **about)
    assert stated(NOTEBOOK, r"`squeezenet1_1`, has (\d\.\d+),") == pytest.approx(small["P@5"], **about)
    assert stated(NOTEBOOK, r"`tf_efficientnet_lite2` (\d\.\d+)\. The chance") == pytest.approx(large["P@5"], **about)
    assert hog["P@5"] > 0.24 and hog["P@5"] < small["P@5"] - 0.1


def test_by_category(measured, stated):
    base = measured["tf_efficientnet_lite2"].by_label("P@5")
    hog, colour = (measured[name].by_label("P@5") - base for name in ("hog", "colour"))
    assert stated(NOTEBOOK, r"`hog` is ahead of the network in (\d+) of the 49") == (hog > 0).sum()
    assert (colour > 0).sum() == 2 and len(base) == 49
    assert hog.idxmax() == "food/meats_and_eggs" and colour.idxmax() == "transportation/boating"
    assert colour.idxmin() == "electronics/bulb"
    assert stated(NOTEBOOK, r"many looks: (\d\.\d+) of P@5") == pytest.approx(-colour.min(), abs=0.01)


def test_edits(cartoons, found, stated):
    ranks = {
        name: am.measure.mean_reciprocal_rank(
            am.measure.known_items(cartoons, am.ExactIndex.build(made), sample=24, progress=False)
        )
        for (name, _), made in found.items()
        if name != "hog@mirror"
    }
    hog, colour = (ranks[name]["recall@1"] for name in ("hog", "colour"))
    assert (hog[["colour", "greyscale", "caption"]] == 1).all() and hog["recompress"] > 0.9
    moved = hog[["flip", "rotate", "crop", "border"]].max()
    assert stated(NOTEBOOK, r"finds at most (\d\.\d+)\.") == pytest.approx(moved, abs=0.01)
    assert colour["flip"] == 1
    assert stated(NOTEBOOK, r"every mirrored picture, but only (\d\.\d+) in grey") == pytest.approx(
        colour["greyscale"], abs=0.01
    )


def test_solution_2(cartoons, found, relevance, stated):
    hog, mirrored = found["hog", "descriptor"], found["hog@mirror", "descriptor"]
    average = am.transforms.average([hog, mirrored])
    flip = {"flip": am.measure.EDITS["flip"]}
    rows = [
        (
            am.measure.known_items(cartoons, am.ExactIndex.build(made), edits=flip, sample=24, progress=False)["rank"]
            == 1
        ).mean()
        for made in (hog, average)
    ]
    assert stated(SOLUTIONS, r"`hog` finds (\d\.\d+) of the mirrored") == pytest.approx(rows[0], abs=0.01)
    assert rows[1] == 1
    before, after = (am.evaluate(made, relevance).mean()["P@5"] for made in (hog, average))
    assert stated(SOLUTIONS, r"P@5 goes from (\d\.\d+) to") == pytest.approx(before, abs=0.002)
    assert stated(SOLUTIONS, r"P@5 goes from \d\.\d+ to (\d\.\d+)\.") == pytest.approx(after, abs=0.002)


def test_solution_3(cartoons, found, relevance, stated):
    white, right = {}, {}
    for framing in ("pad", "squash", "crop"):
        made = (
            found if framing == "pad" else am.extract(cartoons, "colour", "descriptor", framing=framing, progress=False)
        )
        white[framing] = (made["colour", "descriptor"].vectors[:, 511] ** 2).mean()
        right[framing] = am.evaluate(made["colour", "descriptor"], relevance).mean()["P@5"]
    for framing, pattern in {
        "pad": r"cartoons, (\d\.\d+) of a padded",
        "squash": r"white, (\d\.\d+) of a squashed",
        "crop": r"and (\d\.\d+) of the cropped middle",
    }.items():
        assert stated(SOLUTIONS, pattern) == pytest.approx(white[framing], abs=0.01)
    for framing, pattern in {
        "pad": r"P@5 is (\d\.\d+),",
        "squash": r"P@5 is \d\.\d+, (\d\.\d+) and",
        "crop": r"P@5 is \d\.\d+, \d\.\d+ and (\d\.\d+)\.",
    }.items():
        assert stated(SOLUTIONS, pattern) == pytest.approx(right[framing], abs=0.002)


@slow
def test_words(cartoons, relevance, stated):
    words = am.learning.learn_sift(cartoons, progress=False)
    made = am.extract(cartoons, words, "descriptor", progress=False)["sift", "descriptor"]
    assert stated(NOTEBOOK, r"`sift` has a P@5 of (\d\.\d+)") == pytest.approx(
        am.evaluate(made, relevance).mean()["P@5"], abs=0.005
    )
    some = cartoons.subset(cartoons.sample(400))
    of = am.Relevance.from_labels(some.ids, some.labels)
    for count, pattern in ((50, r"from (\d\.\d+) with 50 words"), (500, r"words to (\d\.\d+) with 500")):
        words = am.learning.learn_sift(some, count, sample=200, progress=False)
        made = am.extract(some, words, "descriptor", progress=False)["sift", "descriptor"]
        assert stated(SOLUTIONS, pattern) == pytest.approx(am.evaluate(made, of).mean()["mAP"], abs=0.005)
