"""The numbers that notebook 11 and its solutions state, against what its own cells compute: AMULSEARCH_FULL=1."""

import os

import numpy as np
import pytest
from PIL import Image, ImageOps

import amulsearch as am

NOTEBOOK, SOLUTIONS = "11_before_networks", "solutions/11_before_networks"
slow = pytest.mark.skipif("AMULSEARCH_FULL" not in os.environ, reason="two minutes: AMULSEARCH_FULL=1")


@pytest.fixture(scope="module")
def ran(executed):
    return executed(NOTEBOOK, "fused.table")


def test_the_functions_on_what_can_be_counted_by_hand(executed):
    ran = executed(NOTEBOOK, "def count_words")
    flag = Image.new("RGB", (128, 128), "white")
    flag.paste((255, 0, 0), (0, 0, 128, 32))
    counts = ran["colour"](flag) ** 2
    assert counts.sum() == pytest.approx(128 * 128)
    assert counts[511] == pytest.approx(96 * 128, rel=0.02) and counts[7 * 64] == pytest.approx(32 * 128, rel=0.05)
    assert not ran["hog"](Image.new("RGB", (50, 80), "white")).any()
    words = ran["learn_words"]([np.eye(128)[:2], np.eye(128)[2:3]], 3)
    assert sorted(ran["count_words"](words, np.eye(128)[[0, 0, 1]])) == [0, 1, 2]
    assert len(ran["patches"](Image.new("RGB", (50, 80), "white"))) == 0
    assert ran["rarity"](np.array([[1, 0], [2, 1]])) == pytest.approx([np.log(3 / 3), np.log(3 / 2)])


@slow
def test_the_table(ran, near):
    hog, colour, sift, small, large = (
        ran["compared"][name].mean() for name in ("hog", "colour", "sift", "squeezenet1_1", "tf_efficientnet_lite2")
    )
    near([hog["P@1"], hog["P@5"]], "best of the three, with a P@1 of # and a P@5 of #; `sift`", within=0.002)
    near(sift["P@5"], "`sift` has a P@5 of #", within=0.005)
    near(colour["P@5"], "and `colour` #. The smallest", within=0.002)
    near(small["P@5"], "`squeezenet1_1`, has #,", within=0.002)
    near(large["P@5"], "`tf_efficientnet_lite2` #. The chance", within=0.002)


@slow
def test_by_category(ran, near):
    gains = ran["gains"]
    near((gains["hog"] > 0).sum(), "`hog` is ahead of the network in # of the 49", within=0)
    assert (gains["colour"] > 0).sum() == 2 and len(gains) == 49
    assert gains["hog"].idxmax() == "food/meats_and_eggs" and gains["colour"].idxmax() == "transportation/boating"
    assert gains["colour"].idxmin() == "electronics/bulb"
    near(-gains["colour"].min(), "many looks: # of P@5", within=0.01)


@slow
def test_edits(ran, near):
    hog, colour, sift = (ran["table"][name] for name in ("hog", "colour", "sift"))
    assert (hog[["colour", "greyscale", "caption"]] == 1).all() and hog["recompress"] > 0.9
    moved = hog[["flip", "rotate", "crop", "border"]].max()
    near(moved, "finds at most #.", within=0.01)
    assert colour["flip"] == 1
    near(colour["greyscale"], "every mirrored picture, but only # in grey", within=0.01)
    near(sift["rotate"], "`sift` finds # after a rotation", within=0.05)


@slow
def test_solution_1(ran, near):
    cartoons = ran["cartoons"]
    chosen = cartoons.sample(400)
    relevance = am.Relevance.from_labels(chosen, cartoons.subset(chosen).labels)
    some = [ran["patches"](cartoons[id]) for id in chosen]
    for number, pattern in ((50, "from # with 50 words"), (500, "words to # with 500")):
        words = ran["learn_words"](some[:200], number)
        counts = np.array([ran["count_words"](words, bag) for bag in some])
        index = am.ExactIndex.build(ran["unit"](np.sqrt(counts * ran["rarity"](counts))), chosen)
        near(am.evaluate(index, relevance).mean()["mAP"], pattern, of=SOLUTIONS, within=0.005)


@slow
def test_solutions_2_and_3(ran, near):
    cartoons, unit, hog, relevance = (ran[name] for name in ("cartoons", "unit", "hog", "relevance"))
    ways = {"one": lambda image: unit(hog(image))}
    ways["both"] = lambda image: (ways["one"](image) + ways["one"](ImageOps.mirror(image))) / 2
    for way, pattern in {"one": "P@5 goes from # to", "both": "P@5 goes from ~ to #."}.items():
        index = am.ExactIndex.build(np.array([ways[way](cartoons[id]) for id in cartoons]), cartoons.ids)
        near(am.evaluate(index, relevance).mean()["P@5"], pattern, of=SOLUTIONS, within=0.002)
    near(ran["table"].at["flip", "hog"], "`hog` finds # of the mirrored", of=SOLUTIONS, within=0.01)
    for framing, white, right in (
        ("squash", "white, # of a squashed", "P@5 is ~, # and"),
        ("crop", "and # of the cropped middle", "P@5 is ~, ~ and #."),
    ):
        vectors = unit([ran["colour"](cartoons[id], framing) for id in cartoons])
        near((vectors[:, 511] ** 2).mean(), white, of=SOLUTIONS, within=0.01)
        measured = am.evaluate(am.ExactIndex.build(vectors, cartoons.ids), relevance).mean()["P@5"]
        near(measured, right, of=SOLUTIONS, within=0.002)
