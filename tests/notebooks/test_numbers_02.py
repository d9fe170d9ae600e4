"""The numbers that notebook 02 and its solutions state about the bundled cartoons."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

NOTEBOOK = "02_from_picture_to_vector"
SOLUTIONS = f"solutions/{NOTEBOOK}"
NAME = am.models.BUNDLED[-1]
CLASSES = am.models.categories()


@pytest.fixture(scope="module")
def shares(bundled_features) -> pd.DataFrame:
    """The probabilities of the classes, (N, 1000)."""
    logits = bundled_features[NAME, "logits"]
    powers = np.exp(logits.vectors - logits.vectors.max(axis=1, keepdims=True))
    return pd.DataFrame(powers / powers.sum(axis=1, keepdims=True), index=logits.ids, columns=CLASSES)


@pytest.mark.parametrize(
    ("pattern", "id", "answer"),
    [
        (r"the guitar \((\.\d+)\)", "recreation/music/guitar_jarno_vasamaa1.webp", "acoustic guitar"),
        (r"the carved pumpkin \((\.\d+)\)", "food/pumpkin_erik_postma_01.webp", "jack-o'-lantern"),
        (r"as a Band Aid with (\.\d+),", "food/meats_and_eggs/breakfast_sausage.webp", "Band Aid"),
        (r"as an electric fan with (\.\d+)\.", "plants/flowers/flower_01.webp", "electric fan"),
    ],
)
def test_what_it_takes_a_cartoon_for(shares, stated, pattern, id, answer):
    assert shares.loc[id].idxmax() == answer
    assert stated(NOTEBOOK, pattern) == pytest.approx(shares.loc[id].max(), abs=0.02)


def test_what_it_takes_most_cartoons_for(shares, stated):
    counts = shares.idxmax(axis=1).value_counts()
    assert counts.index[:3].tolist() == ["envelope", "hook", "pick"]
    assert stated(NOTEBOOK, r"(\d+) are classified as an envelope") == pytest.approx(counts["envelope"], abs=4)
    assert stated(NOTEBOOK, r"(\d+) as a hook") == pytest.approx(counts["hook"], abs=4)
    assert stated(NOTEBOOK, r"(\d+) as a pick") == pytest.approx(counts["pick"], abs=4)
    median = shares.max(axis=1).median()
    assert stated(NOTEBOOK, r"no class has a probability above (\.\d+)\.") == pytest.approx(median, abs=0.01)


def test_what_framing_and_transparency_do(bundled_features, stated):
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
    about = {"abs": 0.01}
    assert stated(NOTEBOOK, r"distance to the nearest neighbour is (\.\d+)\.") == pytest.approx(
        moved["neighbour"], **about
    )
    assert stated(NOTEBOOK, r"Squashing moves a vector by (\.\d+)") == pytest.approx(moved["squash"], **about)
    assert stated(NOTEBOOK, r"Cropping moves it by (\.\d+)") == pytest.approx(moved["crop"], **about)
    assert stated(NOTEBOOK, r"and a black background by (\.\d+),") == pytest.approx(moved["black"], **about)
    one = {"abs": 0.026}  # one picture of the 40
    assert stated(NOTEBOOK, r"squashed picture as the query, (\d+)% of the 40") == pytest.approx(kept["squash"], **one)
    assert stated(NOTEBOOK, r"with the cropped one, (\d+)%") == pytest.approx(kept["crop"], **one)
    assert stated(NOTEBOOK, r"with the one on black, (\d+)%") == pytest.approx(kept["black"], **one)


def test_solution_1(bundled_features, stated):
    picture = bundled_features.collection.open("people/safety_pin_timothy_whit_r.webp")
    for framing, answer, pattern in (
        ("pad", "safety pin", r"its correct name, with (\.\d+), only under"),
        ("crop", "hook", r"classifies as a hook with (\.\d+)\."),
    ):
        logits = am.embed(picture, NAME, "logits", framing=framing)["logits"][0]
        assert CLASSES[logits.argmax()] == answer
        assert stated(SOLUTIONS, pattern) == pytest.approx(1 / np.exp(logits - logits.max()).sum(), abs=0.02)


def test_solution_2(bundled_features):
    logits = bundled_features[NAME, "logits"]
    best = np.argsort(-logits.vectors[:, CLASSES.index("acoustic guitar")])[:8]
    names = [logits.ids[row].rpartition("/")[2] for row in best]
    assert all("violin" in name for name in names[1:3]) and "pear" in names[4]
    assert sum("guitar" in name for name in names) == 5


def test_solution_3(bundled_features, stated):
    network = am.models.load(am.models.get(NAME))
    head = network.modules[network.tap("penultimate").module]
    computed = bundled_features[NAME, "penultimate"].vectors @ head.weight.cpu().numpy().T + head.bias.cpu().numpy()
    difference = abs(computed - bundled_features[NAME, "logits"].vectors).max()
    assert difference < stated(SOLUTIONS, r"the largest difference is below (\.\d+),")
