"""The numbers that notebook 02 and its solutions state about the bundled cartoons."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

NOTEBOOK = "02_from_picture_to_vector"
SOLUTIONS = f"solutions/{NOTEBOOK}"
NAME = am.models.BUNDLED[-1]


@pytest.fixture(scope="module")
def classes() -> list[str]:
    return am.models.categories()


@pytest.fixture(scope="module")
def shares(bundled_features, classes) -> pd.DataFrame:
    """The probabilities of the classes, (N, 1000)."""
    logits = bundled_features[NAME, "logits"]
    powers = np.exp(logits.vectors - logits.vectors.max(axis=1, keepdims=True))
    return pd.DataFrame(powers / powers.sum(axis=1, keepdims=True), index=logits.ids, columns=classes)


@pytest.mark.parametrize(
    ("pattern", "id", "answer"),
    [
        ("the guitar (#)", "recreation/music/guitar_jarno_vasamaa1.webp", "acoustic guitar"),
        ("the carved pumpkin (#)", "food/pumpkin_erik_postma_01.webp", "jack-o'-lantern"),
        ("as a Band Aid with #,", "food/meats_and_eggs/breakfast_sausage.webp", "Band Aid"),
        ("as an electric fan with #.", "plants/flowers/flower_01.webp", "electric fan"),
    ],
)
def test_what_it_takes_a_cartoon_for(shares, near, pattern, id, answer):
    assert shares.loc[id].idxmax() == answer
    near(shares.loc[id].max(), pattern, within=0.02)


def test_what_it_takes_most_cartoons_for(shares, near):
    counts = shares.idxmax(axis=1).value_counts()
    assert counts.index[:3].tolist() == ["envelope", "hook", "pick"]
    near([counts["envelope"], counts["hook"]], "# are classified as an envelope, # as a hook", within=4)
    near(counts["pick"], "# as a pick", within=4)
    median = shares.max(axis=1).median()
    near(median, "no class has a probability above #.", within=0.01)


def test_what_framing_and_transparency_do(bundled_features, near):
    cartoons, layer = bundled_features.collection, "penultimate"
    index = am.ExactIndex.build(bundled_features[NAME, layer])
    ids = cartoons.sample(40)
    pictures = [cartoons.open(id) for id in ids]
    dark = [am.open_image(cartoons.path(id), background="black") for id in ids]
    vectors = {
        "squash": am.embed(pictures, NAME, layer, framing="squash")[layer],
        "crop": am.embed(pictures, NAME, layer, framing="crop")[layer],
        "black": am.embed(dark, NAME, layer, background="black")[layer],
    }
    own = np.array([index.vector(id) for id in ids])
    first = [index.query(id, 1).iloc[0] for id in ids]
    moved, kept = {"neighbour": np.median([row["distance"] for row in first])}, {}
    for name, values in vectors.items():
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        moved[name] = np.median(np.linalg.norm(own - unit, axis=1))
        after = [index.query(value, 2)["id"].tolist() for value in values]
        others = [next(other for other in two if other != id) for two, id in zip(after, ids, strict=True)]
        kept[name] = np.mean([row["id"] == other for row, other in zip(first, others, strict=True)])
    near(moved["neighbour"], "distance to the nearest neighbour is #.", within=0.01)
    near(moved["squash"], "Squashing moves a vector by #", within=0.01)
    near([moved["crop"], moved["black"]], "Cropping moves it by # and a black background by #,", within=0.01)
    # one picture of the 40
    near(kept["squash"], "squashed picture as the query, #% of the 40", within=0.026)
    near([kept["crop"], kept["black"]], "with the cropped one, #%; with the one on black, #%", within=0.026)


def test_solution_1(bundled_features, classes, near):
    picture = bundled_features.collection.open("people/safety_pin_timothy_whit_r.webp")
    for framing, answer, pattern in (
        ("pad", "safety pin", "its correct name, with #, only under"),
        ("crop", "hook", "classifies as a hook with #."),
    ):
        logits = am.embed(picture, NAME, "logits", framing=framing)["logits"][0]
        assert classes[logits.argmax()] == answer
        near(1 / np.exp(logits - logits.max()).sum(), pattern, of=SOLUTIONS, within=0.02)


def test_solution_2(bundled_features, classes):
    logits = bundled_features[NAME, "logits"]
    best = np.argsort(-logits.vectors[:, classes.index("acoustic guitar")])[:8]
    names = [logits.ids[row].rpartition("/")[2] for row in best]
    assert all("violin" in name for name in names[1:3]) and "pear" in names[4]
    assert sum("guitar" in name for name in names) == 5


def test_solution_3(bundled_features, stated):
    network = am.models.load(am.models.get(NAME))
    head = network.modules[network.tap("penultimate").module]
    computed = bundled_features[NAME, "penultimate"].vectors @ head.weight.cpu().numpy().T + head.bias.cpu().numpy()
    difference = abs(computed - bundled_features[NAME, "logits"].vectors).max()
    assert difference < stated(SOLUTIONS, "the largest difference is below #,")
