"""What lesson 0 and its solutions state."""

from collections import Counter

import numpy as np
import pytest
from plain import stems, unit

import amulsearch as am

NOTEBOOK = "00_a_search"
WRONG = {1: "cat_columns = 4", 2: "kept = k", 3: "counts = counts[::-1]"}
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
CUPS = {"zielony", "coffe", "kubek", "teacup", "tazza", "coffee", "mug"}


@pytest.fixture(scope="module")
def nearest(bundled_features):
    """What a query's first neighbours in each network are called, and their folders, by cosine alone."""

    def find(query, k=4):
        found = {}
        for model in am.models.BUNDLED:
            features = bundled_features[model, "penultimate"]
            vectors = unit(features.vectors)
            row = features.ids.index(query) if isinstance(query, str) else None
            asked = vectors[row] if row is not None else am.embed([query], model, "penultimate")["penultimate"][0]
            found[model] = [features.ids[near] for near in np.argsort(-(vectors @ asked)) if near != row][:k]
        return found

    return find


def folders(ids):
    return [id.split("/")[-2] for id in ids]


def test_the_collection_and_the_vectors(cartoons, bundled_features, near):
    near(len(cartoons), "the cups among # drawings", within=0)
    widths = [bundled_features[model, "penultimate"].vectors.shape[1] for model in am.models.BUNDLED]
    near([widths[0], widths[1]], "a list of # or # numbers", within=0)
    assert widths[1:] == [1280] * 3


def test_the_coffee(nearest, openclipart):
    found = nearest(am.open_image(openclipart.parent / "queries" / "coffee.webp"), 10)
    shown = {model: stems(ids[:4]) for model, ids in found.items()}
    cups = [len(CUPS & set(names)) for names in shown.values()]
    assert cups == [2, 3, 4, 4]  # with the four of the vote, seventeen of twenty
    assert all(names[0] in CUPS for names in shown.values())
    assert "pudim" in shown[LITE0] and {"small", "come"} <= set(shown[SQUEEZENET])
    votes = Counter(id for ids in found.values() for id in ids)
    ranks = {id: sum((*ids, id).index(id) for ids in found.values()) for id in votes}
    first = sorted(votes, key=lambda id: (-votes[id], ranks[id]))[:4]  # of equal votes, the nearer
    assert set(stems(first)) <= CUPS


def test_the_cat_and_the_coffee_in_grey(nearest, openclipart):
    cat = nearest(am.open_image(openclipart.parent / "queries" / "cat.webp"))
    assert [folders(ids)[0] for ids in cat.values()] == ["smilies", "housecats", "big_cats", "housecats"]
    assert folders(cat[SQUEEZENET]) == ["smilies"] * 4 and stems(cat[LITE1])[0].startswith("tigre")
    coffee = am.open_image(openclipart.parent / "queries" / "coffee.webp")
    colour, grey = (nearest(image)[LITE2] for image in (coffee, coffee.convert("L").convert("RGB")))
    assert len(set(colour) & set(grey)) == 3 and grey[3].endswith("teacup_bw.webp")


def test_the_trumpet_and_the_guitar(nearest):
    trumpet = nearest("recreation/music/trumpet_pocket_colour_ganso.webp")
    assert all(ids[0] == "recreation/music/trumpet_pocket__ganson.webp" for ids in trumpet.values())
    for model in (LITE0, LITE1, LITE2):
        assert stems(trumpet[model]) == ["trumpet"] * 3 + ["french"]
    assert all(id.startswith("food/") for id in trumpet[SQUEEZENET][1:])
    guitar = nearest("recreation/music/guitar_ganson.webp")
    assert [folders(ids)[0] for ids in guitar.values()] == ["birds", "food", "bears", "bears"]
    names = Counter(name for ids in guitar.values() for name in stems(ids))
    assert (names["guitar"], names["violin"]) == (1, 3)
    of_ten = nearest("recreation/music/guitar_ganson.webp", 10)
    votes = Counter(id for ids in of_ten.values() for id in ids)
    bear = guitar[LITE1][0]
    assert bear == guitar[LITE2][0] and votes[bear] == max(votes.values()) == 3


def test_five_others(nearest, cells_of):
    few = {}
    (source,) = [cell["source"] for cell in cells_of(f"solutions/{NOTEBOOK}") if "few = [" in cell["source"]]
    exec(source[source.index("few = [") : source.index("]") + 1], few)
    found = {id: nearest(id)[LITE2] for id in few["few"]}
    same = [sum(near.rpartition("/")[0] == id.rpartition("/")[0] for near in ids) for id, ids in found.items()]
    assert same == [3, 0, 3, 4, 4]
    assert stems(found["animals/mammals/big_cats/contour_cheetah.webp"])[:3] == ["contour", "bull", "olifant"]
