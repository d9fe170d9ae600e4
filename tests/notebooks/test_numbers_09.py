"""The numbers that lesson 09 and its solutions state."""

import numpy as np
import pytest
import torch
from PIL import ImageDraw
from plain import cosines as cosines_of

import amulsearch as am

NOTEBOOK, SOLUTIONS = "09_why", "solutions/09_why"
WRONG = {
    1: "swapped = 0.48",
    2: "legless = vectors[row_of[ant]] @ vectors[row_of[eggs]]",
    3: "nearest = eggs",
    4: "apart = len(rows)",
}
SQUEEZENET, LITE2 = am.models.BUNDLED[0], am.models.BUNDLED[-1]
ANT, EGGS = "animals/bugs/formicona_architetto_fra_01.webp", "food/meats_and_eggs/fried_eggs.webp"
BEE, OTHER_ANT = "animals/bugs/bee.webp", "animals/bugs/formichina_architetto_fr_01.webp"
GUITAR, CHERRY = "recreation/music/guitar_jarno_vasamaa1.webp", "food/fruit/cherry_jean_victor_balin_.webp"


@pytest.fixture(scope="module")
def unit(bundled_features):
    """Network -> unit vectors (N, D) of the penultimate layer."""
    return {name: am.features.l2_normalize(bundled_features[name, "penultimate"].vectors) for name in am.models.BUNDLED}


@pytest.fixture(scope="module")
def joined(bundled_features):
    return am.transforms.concatenate([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])


@pytest.fixture(scope="module")
def maps_of(defined):
    return defined(NOTEBOOK, "feature_maps", am=am, np=np, torch=torch)


@pytest.fixture(scope="module")
def heat(maps_of, unit):
    """`heat(network, query, match)`: the contributions of the places of two pictures, by gradients."""

    def explain(name, query, match):
        maps = torch.from_numpy(maps_of(name, [query, match])).requires_grad_()
        vectors = maps.mean((2, 3))
        units = vectors / vectors.detach().norm(dim=1, keepdim=True)
        others = units.detach().flip(0) - torch.from_numpy(unit[name].mean(axis=0))
        (gradient,) = torch.autograd.grad((units * others).sum(), maps)
        return (maps * gradient).sum(1).detach().numpy()

    return explain


def edited(cartoons, shape, box, colour):
    image = cartoons.open(ANT).copy()
    getattr(ImageDraw.Draw(image), shape)(box, fill=colour)
    return image


def asked(cartoons, unit, image):
    """The cosines of a changed ant with all pictures by Lite2, the ant itself last."""
    vector = am.embed(image, LITE2, "penultimate")["penultimate"][0]
    cosines = unit[LITE2] @ vector / np.linalg.norm(vector)
    cosines[cartoons.ids.index(ANT)] = -1
    return cosines


def rank_of(cosines, row):
    return 1 + (cosines > cosines[row]).sum()


def test_the_toy(near):
    first, second, parts = np.array([3, 4]), np.array([4, 3]), np.array([12 * 0.8, 8 * 0.6, 8 * 0.6, 0]) / (4 * 5)
    assert parts.sum() == pytest.approx(first @ second / 25)
    near([parts[0], parts.sum()], "half of the cosine, # of #.", within=0.001)
    near(first @ second / 25, "The cosine stays #.", of=SOLUTIONS, within=0.001)


def test_the_first_neighbours(bundled_features):
    lists = {
        name: am.ExactIndex.build(bundled_features[name, "penultimate"]).query(ANT, 4) for name in am.models.BUNDLED
    }
    assert "pizza" in lists[LITE2]["id"][0] and lists[LITE2]["id"][2] == EGGS
    assert lists[SQUEEZENET]["label"].tolist()[:2] == ["animals/bugs"] * 2
    table = am.ExactIndex.build(bundled_features[SQUEEZENET, "penultimate"]).query(GUITAR, 5)
    assert table["id"].iat[4] == CHERRY


def test_the_sum_of_the_heat_map(cartoons, unit, heat, near):
    ant, eggs = (unit[LITE2][cartoons.ids.index(id)] for id in (ANT, EGGS))
    usual = ant @ unit[LITE2].mean(axis=0)
    parts = heat(LITE2, cartoons.open(ANT), cartoons.open(EGGS))
    near(parts[0].size, "contributions of # places", within=0)
    near([ant @ eggs, usual, parts[0].sum()], "and the eggs, #. Of this, # is the ant's mean cosine with the whole "
         "collection, and # is")  # fmt: skip
    near([usual, eggs @ unit[LITE2].mean(axis=0)], "to Lite2, the ant's is #, the eggs' #.")
    row, column = np.divmod(parts[0].argmax(), 9)
    assert row in (3, 4, 5) and column == 3  # the neck
    row, column = np.divmod(parts[1].argmax(), 9)
    assert row == 3 and column in (4, 5)  # between the yolks
    eye = heat(SQUEEZENET, cartoons.open(ANT), cartoons.open(EGGS))[0].argmax()
    assert tuple(np.divmod(eye, 13)) == (6, 3)


def test_without_the_eye(cartoons, unit, heat, near):
    blind = edited(cartoons, "ellipse", (43, 55, 89, 107), (63, 63, 63))
    cosines, eggs = asked(cartoons, unit, blind), cartoons.ids.index(EGGS)
    assert cartoons.ids[cosines.argmax()] == OTHER_ANT
    near([3, rank_of(cosines, eggs)], "eggs fall from rank # to #. So the eye", within=0)
    near(cosines[eggs], "than without the eye (#)", of=SOLUTIONS)
    lost = heat(LITE2, cartoons.open(ANT), cartoons.open(EGGS))[0] - heat(LITE2, blind, cartoons.open(EGGS))[0]
    near(lost.sum(), "The eye adds #,", within=0.002)
    assert lost.argmax() % 9 == 3  # the eye covers columns 1 and 2


def test_without_the_legs(cartoons, unit, near):
    cosines = asked(cartoons, unit, edited(cartoons, "rectangle", (116, 102, 238, 153), "white"))
    eggs = cartoons.ids.index(EGGS)
    plain = unit[LITE2][cartoons.ids.index(ANT)] @ unit[LITE2][eggs]
    near([plain, cosines[eggs]], "The cosine falls from # to #", of=SOLUTIONS)
    near(rank_of(cosines, eggs), "and the eggs fall to rank #", of=SOLUTIONS, within=0)


def test_less_of_what_all_cartoons_share(cartoons, unit, near):
    vectors, usual = unit[LITE2], unit[LITE2].mean(axis=0)
    ant, eggs, bee = (cartoons.ids.index(id) for id in (ANT, EGGS, BEE))
    above = vectors @ vectors[ant] - vectors @ usual
    above[ant] = -1
    assert cartoons.ids[above.argmax()] == BEE
    near(rank_of(above, eggs), "the eggs fall from rank ~ to #: the eggs", of=SOLUTIONS, within=0)
    near([vectors[eggs] @ usual, vectors[bee] @ usual], "mean cosine is #, that of the bee #", of=SOLUTIONS)
    labels = np.array(cartoons.labels)
    right = [(labels[cosines_of(made).argmax(axis=1)] == labels).mean() for made in (vectors, vectors - usual)]
    near(right, "rises from # to # if", of=SOLUTIONS)


def test_the_guitar_and_the_cherry(cartoons, heat):
    pair = cartoons.open(GUITAR), cartoons.open(CHERRY)
    assert all(tuple(np.divmod(parts.argmax(), 13)) == (6, 6) for parts in heat(SQUEEZENET, *pair))
    assert heat(LITE2, *pair)[1].sum() < 0


def test_near_duplicates(joined, cartoons, near):
    vectors, labels = am.features.l2_normalize(joined.vectors), np.array(cartoons.labels)
    cosines = vectors @ vectors.T
    for threshold, pattern in ((0.90, "In # of # pairs, the labels differ"), (0.95, "At 0.95 it is # of #.")):
        rows, columns = np.nonzero(np.triu(cosines >= threshold, 1))
        differ = labels[rows] != labels[columns]
        near([differ.sum(), len(rows)], pattern, of=SOLUTIONS, within=0)
    signs = ["transportation", "transportation/roadsigns", "transportation/vehicles"]
    assert np.isin([labels[rows[differ]], labels[columns[differ]]], signs).all(axis=0).sum() > 30
    groups = am.systems.near_duplicates(joined)
    mixed = groups[groups.groupby("group")["label"].transform("nunique") > 1]
    shown = mixed[mixed["group"].isin(mixed["group"].unique()[:2])].groupby("group").head(6)
    assert len(shown) == 12 and set(shown["label"]) == set(signs)


def test_the_map(joined, cartoons, near):
    folders = [label.split("/")[0] for label in cartoons.labels]
    layout = am.views.Map.fit(joined)
    rows = {"map": layout.neighbours(10), "vectors": am.ExactIndex.build(joined).all_neighbours(10)[0]}
    purity = am.measure.precision_at_k(rows, folders, at=[10])["P@10"]
    near(purity["map"], "On the map, # of the ten", within=0.012)
    near([purity["vectors"], am.measure.chance_level(folders)], "against # by the vectors and # by chance")
    middle = {
        name: np.median(layout.positions[np.array(cartoons.labels) == name], axis=0)
        for name in ("people/smilies", "transportation/roadsigns", "people/stickmen")
    }
    assert middle["people/smilies"][0] < 0.1 and middle["transportation/roadsigns"][0] > 0.85
    assert middle["people/stickmen"][1] < 0.1
