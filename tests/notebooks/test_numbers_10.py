"""The numbers that lesson 10 and its solutions state, against what its own cells compute."""

import numpy as np
import pytest
from PIL import Image
from plain import cosines

import amulsearch as am

NOTEBOOK, SOLUTIONS = "10_before_networks", "solutions/10_before_networks"
WRONG = {
    1: "angle = 45",
    2: 'coarse = precision({"fine": am.ExactIndex.build(vectors["colour"], cartoons.ids).all_neighbours(5)}).iat[0, 0]',
    3: 'together = precision({"HOG": am.ExactIndex.build(vectors["HOG"], cartoons.ids).all_neighbours(5)}).iat[0, 0]',
}


@pytest.fixture(scope="module")
def ran(executed):
    return executed(NOTEBOOK, "answers = {")


@pytest.fixture(scope="module")
def first_right(ran):
    """`first_right(vectors)`: the P@1 of vectors (N, D), by plain numpy."""
    labels = np.array(ran["labels"])

    return lambda vectors: (labels[cosines(vectors).argmax(axis=1)] == labels).mean()


def test_the_descriptors_on_what_can_be_counted_by_hand(ran):
    flag = Image.new("RGB", (128, 128), "white")
    flag.paste((255, 0, 0), (0, 0, 128, 32))
    counts = ran["colour"](np.asarray(flag)) ** 2
    assert counts.sum() == pytest.approx(128 * 128)
    assert counts[511] == pytest.approx(96 * 128) and counts[7 * 64] == pytest.approx(32 * 128)
    blank = np.full((128, 128, 3), 255, np.uint8)
    assert ran["hog"](blank).size == 7 * 7 * 4 * 9 == 1764
    assert not ran["hog"](blank).any() and len(ran["patches"](blank)) == 0
    assert not ran["sift"](ran["patches"](blank)).any()
    bag = ran["bags"][0]
    assert 24 <= np.median([len(bag) for bag in ran["bags"]]) < 100  # dozens of patches
    nearest = ((bag[:, None] - ran["words"]) ** 2).sum(axis=2).argmin(axis=1)
    assert np.allclose(ran["sift"](bag) ** 2, np.bincount(nearest, minlength=500))


def test_the_results(ran, first_right, bundled_features, near):
    vectors = ran["vectors"]
    near(first_right(vectors["HOG"]), "of the three, with a P@1 of #;")
    near([first_right(vectors["colour"]), first_right(vectors["SIFT"])], "colour has # and SIFT #.", within=0.008)
    near(am.measure.chance_level(ran["labels"]), "The chance level is #", within=0.001)
    networks = [first_right(bundled_features[name, "penultimate"].vectors) for name in am.models.BUNDLED[::3]]
    near(networks, "the smallest network, has #, and Lite2 #.")
    near(networks[0] - first_right(vectors["HOG"]), "networks: the gap is # or more.", within=0.006)


def test_the_neighbours_of_the_guitar(ran):
    found = {name: ran["indexes"][name].query(ran["query"], 4) for name in ran["few"]}
    assert found["colour"]["label"].str.split("/").str[-1].tolist() == ["music", "food", "food", "mammals"]
    assert found["HOG"]["label"].str.split("/").str[-1].tolist() == ["music", "music", "vehicles", "music"]
    assert found["SIFT"]["label"].str.split("/").str[-1].tolist() == ["vehicles", "birds", "music", "smilies"]
    assert found["Lite2"]["id"].str.contains("guitar").all() and found["HOG"]["id"].str.contains("guitar").sum() == 2


def test_the_edits(ran, near):
    table = ran["table"]
    colour, hog, sift, network = (table[name] for name in ("colour", "HOG", "SIFT", "SqueezeNet"))
    assert (hog[["saved as a poor JPEG", "other hues", "in grey", "with a caption"]] == 1).all()
    near(hog[["mirrored", "with a red border", "turned by 15 degrees"]], "finds # of the mirrored pictures, # of those "
         "with a border and # of those turned", within=0.001)  # fmt: skip
    assert colour["mirrored"] == 1
    assert colour["other hues"] == colour["in grey"]
    near(colour["in grey"], "and only # with other hues or in grey", within=0)
    near([sift.min(), network.min()], "at least # after every edit, and SqueezeNet at least #.", within=0.051)
    assert len(ran["sample"]) == 20


def test_the_costs(ran):
    cost = ran["cost"]
    assert min(cost, key=cost.get) == "colour" and cost["Lite2"] > 3 * cost["HOG"]


def test_the_card(ran):
    labels = {name: [label.split("/")[-1] for label in table["label"]] for name, table in ran["answers"].items()}
    assert labels["colour"] == ["flowers", "flowers", "tools", "beverages"]
    assert labels["Lite2"].count("roadsigns") == 2


def test_the_solutions(ran, first_right, near):
    coarse = first_right([ran["colour"](picture, 2) for picture in ran["small"]])
    near([coarse, first_right(ran["vectors"]["colour"])], "P@1 is #, against # with 512", of=SOLUTIONS)
    together = first_right(np.hstack(list(ran["vectors"].values())))
    near([together, first_right(ran["vectors"]["HOG"])], "a P@1 of #, well above #,", of=SOLUTIONS, within=0.005)
