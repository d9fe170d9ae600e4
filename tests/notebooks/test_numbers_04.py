"""The numbers that notebook 04 and its solutions state."""

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from plain import cosines, neighbours, stems, unit

import amulsearch as am

NOTEBOOK, SOLUTIONS = "04_comparing_models", "solutions/04_comparing_models"
WRONG = {
    1: "cats = 16",
    2: "rank = 1",
    3: "different = different.iloc[::-1].set_axis(different.index)",
    4: "share = 0.33",
}
SQUEEZENET, LITE0, LITE1, LITE2 = MODELS = am.models.BUNDLED
TIGER = "animals/mammals/big_cats/tigre03_architetto_franc_01.webp"
BULB = "electronics/bulb/bulb.webp"
PERSON = "people/utente_singolo_architett_01.webp"
ANT = "animals/bugs/formicona_architetto_fra_01.webp"


@pytest.fixture(scope="module")
def found(bundled_features):
    """The rows (N, 4) of the neighbours, by model and layer."""
    keys = [(model, layer) for model in MODELS for layer in ("logits", "penultimate")]
    return {key: neighbours(cosines(bundled_features[key].vectors), 4) for key in keys}


@pytest.fixture(scope="module")
def same(found, cartoons):
    labels = np.array(cartoons.labels)
    return {key: labels[rows] == labels[:, None] for key, rows in found.items()}


@pytest.fixture(scope="module")
def hits(same, cartoons):
    return pd.DataFrame({model: same[model, "logits"].sum(axis=1) for model in MODELS}, cartoons.ids)


@pytest.fixture(scope="module")
def lists(found, cartoons):
    """The ids of the four neighbours of a query, for each model."""

    def of(id, layer="logits"):
        row = cartoons.ids.index(id)
        return {model: [cartoons.ids[place] for place in found[model, layer][row]] for model in MODELS}

    return of


@pytest.fixture(scope="module")
def asked(bundled_features, cartoons):
    """The ids of the four neighbours of an edited tiger, for each model; the tiger itself came first."""

    def ask(edit):
        answers = {}
        for model in MODELS:
            query = am.embed([edit(cartoons.open(TIGER))], model, "logits")["logits"][0]
            order = np.argsort(-(unit(bundled_features[model, "logits"].vectors) @ query))[:5]
            first, *others = [cartoons.ids[row] for row in order]
            assert first == TIGER
            answers[model] = others
        return answers

    return ask


def recoloured(shift):
    def edit(picture):
        pixels = np.asarray(picture.convert("HSV")).copy()
        pixels[..., 0] = (pixels[..., 0].astype(int) + shift) % 256
        return Image.fromarray(pixels, "HSV").convert("RGB")

    return edit


def folders(answers):
    return {model: Counter(id.rsplit("/", 1)[0] for id in ids) for model, ids in answers.items()}


def test_the_figures(lists, hits, near):
    tigers = lists(TIGER)
    assert {frozenset(ids) for ids in tigers.values()} == {frozenset(tigers[SQUEEZENET])}
    assert len({tuple(ids) for ids in tigers.values()}) == 3
    assert all("tig" in id for id in tigers[SQUEEZENET])
    near(hits.loc[BULB], "From left to right, #, #, # and # of the neighbours are bulbs", within=0)
    assert stems(lists(BULB)[SQUEEZENET]) == ["hands", "rocket", "pollo", "cone"]
    assert hits.loc[PERSON].tolist() == [4, 1, 0, 1]
    seen = {word for ids in lists(PERSON).values() for id in ids for word in ("egg", "smil", "eyes", "barrel", "pudim")
            if word in id.split("/")[-1]}  # fmt: skip
    assert len(seen) == 5
    ants = lists(ANT)
    assert all(id.startswith("food/") for id in ants[LITE2]) and "fried_eggs" in ants.pop(LITE2)[0]
    assert all(ids[0].startswith("animals/bugs/") for ids in ants.values())


def test_counts_of_hits(hits, near):
    near((hits.min(axis=1) == 4).sum(), "For # of the 1,631 pictures, all 16 neighbours are relevant", within=1)
    alone = {model: (hits[model] > hits.drop(columns=model).max(axis=1)).sum() for model in MODELS}
    said = [alone[model] for model in (LITE1, SQUEEZENET, LITE2, LITE0)]
    near(said, "best for # pictures, SqueezeNet for #, Lite2 for # and Lite0 for #.", within=1)
    assert said == sorted(said, reverse=True)
    near((hits.max(axis=1) == 0).sum(), "For # pictures, no network finds a relevant one", within=1)


def test_the_tiger_in_other_colours(asked, near):
    green = folders(asked(recoloured(64)))
    cats = "animals/mammals/big_cats"
    assert [green[model][cats] for model in MODELS] == [0, 2, 4, 4]
    assert sum(found[cats] for found in green.values()) == 10  # "Ten of the 16 are still tigers"
    others = [id.split("/")[-1] for id in asked(recoloured(64))[LITE0] if id.startswith("animals/dinosaurs/")]
    assert others == ["dinosauro_architetto_fra_01.webp", "dino_architetto_francesc_02.webp"]  # the second is a dragon
    words = ("rana", "hopper", "dinosaur", "hot_dog")
    assert all(word in id for word, id in zip(words, asked(recoloured(64))[SQUEEZENET], strict=True))
    grey = folders(asked(lambda picture: picture.convert("L").convert("RGB")))
    near(sum(found[cats] for found in grey.values()), "Without any colour, # of the 16 are tigers", within=0)
    others = {id for ids in asked(lambda picture: picture.convert("L").convert("RGB")).values() for id in ids}
    assert {*stems(id for id in others if not id.startswith(cats))} == {"gatto", "topo"}
    blue = folders(asked(recoloured(128)))
    near(sum(found[cats] for found in blue.values()), "There are #: one in SqueezeNet's column", of=SOLUTIONS, within=0)
    assert [blue[model][cats] for model in MODELS] == [1, 4, 4, 4]
    assert "rana" in asked(recoloured(128))[SQUEEZENET][0]


def test_agreement(found, near):
    rows = {model: found[model, "logits"] for model in MODELS}
    agreed = (np.ptp([rows[model][:, 0] for model in MODELS], axis=0) == 0).mean()
    assert agreed == pytest.approx(0.24, abs=0.006)
    shared = {pair: np.mean([len({*a} & {*b}) / 4 for a, b in zip(rows[pair[0]], rows[pair[1]], strict=True)])
              for pair in combinations(MODELS, 2)}  # fmt: skip
    assert all(0.45 < value < 0.5 for pair, value in shared.items() if SQUEEZENET not in pair)
    assert all(0.31 < value < 0.35 for pair, value in shared.items() if SQUEEZENET in pair)


def test_precision(same, near):
    first = pd.Series({key: right[:, 0].mean() for key, right in same.items()}).unstack().loc[list(MODELS)]
    four = pd.Series({key: right.mean() for key, right in same.items()}).unstack().loc[list(MODELS)]
    near(first["penultimate"][[LITE2, SQUEEZENET]], "Lite2 is right for #%, SqueezeNet for #%.", within=0.001)
    assert (first.diff().iloc[1:] > 0).all(axis=None)  # the expected order
    assert (first["penultimate"] > first["logits"]).all() and (four["penultimate"] > four["logits"]).all()
    assert four["logits"].idxmax() == LITE1
    steps = first.loc[[LITE0, LITE1, LITE2]].diff().iloc[1:].max(axis=None)
    assert (first["penultimate"] - first["logits"])[1:].min() > steps


def test_the_paired_tests(bundled_features, cartoons, near):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    results = {
        model: am.evaluate(bundled_features[model, "penultimate"], relevance) for model in (SQUEEZENET, LITE1, LITE2)
    }
    assert results[LITE2].compare(results[SQUEEZENET], "P@1")["p"] < 0.001
    near(results[LITE2].compare(results[LITE1], "P@1")["p"], "may be luck (p = #);", within=0.02)
    logits = am.evaluate(bundled_features[LITE2, "logits"], relevance)
    near(logits.per_query["P@1"].mean(), "(Lesson 3 has # for Lite2's logits: it counts", within=0.0005)
    assert logits.per_query["P@1"].eq(0.5).any()  # two pictures at equal distance


def test_the_networks_of_the_post(near):
    table = am.models.table().set_index("name").loc[list(am.models.BLOG)]
    near(table["MB"].sum() / 1000, "downloads them once, # GB", within=0.05)
    near([0.751, 0.767, 0.776], "Google reported that #%, #% and #% of", within=0)


def test_the_solutions(found, same, hits, lists, cartoons, near):
    assert stems(lists(ANT, "penultimate")[LITE2][:3]) == ["pizza", "bee", "fried"]
    together = np.concatenate([found[model, "logits"] for model in MODELS], axis=1)
    different = np.array([len(set(row)) for row in together])
    assert different[cartoons.ids.index(TIGER)] == 4
    near((different == 4).sum(), "find the same four for # pictures", of=SOLUTIONS, within=1)
    near((different == 16).sum(), "For # pictures, no neighbour is found twice", of=SOLUTIONS, within=1)
    relevant = pd.Series(hits.to_numpy().mean(axis=1) / 4).groupby(different).mean()
    near(relevant[[4, 16]], "from #% if they agree to #% if", of=SOLUTIONS, within=0.01)
    place = {id: row for row, id in enumerate(cartoons.ids)}
    named = {id: id.replace("_bw", "") for id in place if "_bw" in id}
    twins = [(place[id], place[other]) for id, other in named.items() if other in place]
    black, coloured = np.array(twins).T
    assert "cone1_bw_ganson.webp" in {cartoons.ids[row].split("/")[-1] for row in black}
    near(len(twins), "There are # twins", of=SOLUTIONS, within=0)
    shares = {model: (found[model, "penultimate"][black, 0] == coloured).mean() for model in MODELS}
    text = "finds the most, #%, and Lite2 the fewest, #%:"
    near([shares[SQUEEZENET], shares[LITE2]], text, of=SOLUTIONS, within=0.006)
    assert shares[SQUEEZENET] == max(shares.values()) and shares[LITE2] == min(shares.values())
