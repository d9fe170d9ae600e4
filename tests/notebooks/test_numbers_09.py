"""The numbers that notebook 09 and its solutions state."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import amulsearch as am

NOTEBOOK, SOLUTIONS = "09_why", "solutions/09_why"
SQUEEZENET, LITE2 = am.models.BUNDLED[0], am.models.BUNDLED[-1]
GUITAR, CHERRY = "recreation/music/guitar_jarno_vasamaa1.webp", "food/fruit/cherry_jean_victor_balin_.webp"


@pytest.fixture(scope="module")
def classes() -> list[str]:
    return am.models.categories()


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def joined(bundled_features) -> am.Features:
    return am.transforms.concatenate([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])


@pytest.fixture(scope="module")
def indexes(bundled_features):
    return {name: am.ExactIndex.build(bundled_features[name, "penultimate"]) for name in am.models.BUNDLED}


@pytest.fixture(scope="module")
def lists(indexes):
    return am.Panel(indexes).query(GUITAR, 10)


@pytest.fixture(scope="module")
def explained(defined, bundled_features, cartoons):
    """The contributions of the places of two pictures to their cosine, by the functions of the notebook."""
    features = {(SQUEEZENET, "last:mean"): bundled_features[SQUEEZENET, "penultimate"]}
    features[SQUEEZENET, "last:gem"] = bundled_features[SQUEEZENET, "last:gem"]
    known = {"am": am, "np": np, "torch": torch, "cartoons": cartoons, "features": features}
    maps_of = defined(NOTEBOOK, "feature_maps", models=[SQUEEZENET], query=GUITAR, **known)
    known["mean"] = lambda maps: maps.mean((2, 3))
    poolings = {"last:mean": known["mean"], "last:gem": lambda maps: am.models.pool(maps, "gem")}
    contributions, usual = (defined(NOTEBOOK, name, **known) for name in ("contributions", "usual"))

    def explain(query, match, layer="last:mean", above_the_mean=True):
        maps = maps_of(SQUEEZENET, [cartoons.open(query), cartoons.open(match)])
        return contributions(maps, usual(SQUEEZENET, layer) * above_the_mean, poolings[layer])[0]

    return explain


def test_the_contributions_add_up_to_the_cosine_that_search_compares(bundled_features, explained):
    features = {"last:mean": "penultimate", "last:gem": "last:gem"}
    for layer, stored in features.items():
        table = am.ExactIndex.build(bundled_features[SQUEEZENET, stored]).query(GUITAR, 10)
        for row in table.iloc[[0, 9]].itertuples():
            total = explained(GUITAR, row.id, layer, above_the_mean=False).sum()
            assert total == pytest.approx(1 - row.distance**2 / 2, abs=4e-3)


def test_the_bad_match(lists, explained, near):
    assert lists[SQUEEZENET]["id"].iat[4] == CHERRY
    assert not any(CHERRY in lists[name]["id"].tolist() for name in am.models.BUNDLED[1:])
    above, plain = (explained(GUITAR, CHERRY, above_the_mean=choice).sum() for choice in (True, False))
    near(above, "the cosine is # above the mean", within=0.004)
    near(plain, "add up to the cosine, #.", of=SOLUTIONS, within=0.004)
    near(plain - above, "Of this, # is the mean", of=SOLUTIONS, within=0.004)


def test_gem_relies_on_fewer_places(bundled_features, cartoons, explained, near):
    for layer, pattern in (("last:mean", "tenth contributes # of"), ("last:gem", "and # with GeM")):
        stored, share = layer.replace("last:mean", "penultimate"), []
        index = am.ExactIndex.build(bundled_features[SQUEEZENET, stored])
        for id in cartoons.sample(12):
            values = explained(id, index.query(id, 1)["id"].iloc[0], layer)
            light = np.sort(np.maximum(values, 0), axis=None)[::-1]
            share.append(light[: len(light) // 10].sum() / light.sum())
        near(np.mean(share), pattern, within=0.01)


def test_classes_and_votes(bundled_features, classes, indexes, lists, near):
    logits = bundled_features[SQUEEZENET, "logits"]
    guitar, cherry = (softmax(logits.vector(id)) for id in (GUITAR, CHERRY))
    shovel, plunger = (classes.index(name) for name in ("shovel", "plunger"))
    assert np.minimum(guitar, cherry).argmax() == shovel and cherry[shovel] < 0.005 and guitar[plunger] < 0.1
    near(cherry[plunger], "with a probability of #, and the guitar", within=0.01)
    votes = am.Fusion(list(indexes.values()), "vote", depth=10).query(GUITAR, 8)
    assert (votes["votes"] == 4).sum() == 4 and CHERRY not in votes["id"].tolist()
    pear = "food/fruit/pear_02.webp"
    assert pear in votes["id"].tolist()
    assert [pear in lists[name]["id"].tolist() for name in am.models.BUNDLED] == [False, True, True, True]


def test_the_handle_speaks_for_the_shovel_and_the_fruit_against_it(cartoons, classes):
    falls = []
    for id in (GUITAR, CHERRY):
        picture = np.asarray(ImageOps.pad(cartoons.open(id), (256, 256), color="white"))
        copies = [picture.copy() for _ in range(65)]
        for place, copy in enumerate(copies[1:]):
            top, left = 32 * (place // 8), 32 * (place % 8)
            copy[top : top + 32, left : left + 32] = 255
        logits = am.embed([Image.fromarray(copy) for copy in copies], SQUEEZENET, "logits")["logits"]
        logits = logits[:, classes.index("shovel")]
        falls.append((logits[0] - logits[1:]).reshape(8, 8))
    guitar, cherry = falls
    assert guitar.argmax() // 8 < 2  # the head
    assert cherry.argmax() // 8 in (1, 2) and cherry[:4].sum() > 2  # the stem
    assert cherry[4:].sum() < -2


def test_the_links_of_the_guitar(bundled_features, near, stated):
    diffusion = am.Diffusion.build([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])
    links, pear, violin = (
        diffusion.graph.edges(GUITAR),
        "food/fruit/pear_02.webp",
        "recreation/music/violin_ganson.webp",
    )
    weight = links.set_index("id")["score"]
    assert links["id"][7] == pear and 29 <= weight.iat[0] / weight[pear] <= 31
    near(weight[violin], "its link to the guitar (#)", within=6e-4)
    near(weight[pear], "lighter than that of the pear (#)", within=6e-4)
    found = diffusion.query(GUITAR, 14)["id"].tolist()
    assert all(id.startswith("recreation/music/") for id in found[:8])
    assert found.index(violin) == 5 and found.index(pear) + 1 == stated("09_why", "The pear drops to rank #")


def test_the_missile(bundled_features, classes):
    logits = {name: bundled_features[name, "logits"] for name in am.models.BUNDLED}
    chances = {name: softmax(made.vectors)[:, classes.index("missile")] for name, made in logits.items()}
    points = np.zeros(len(chances[LITE2]))
    for chance in chances.values():
        points[np.argsort(-chance, kind="stable")[:10]] += 1 / np.arange(61, 71)
    fused = [logits[LITE2].ids[row] for row in np.argsort(-points, kind="stable")[:6]]
    assert [any(word in id for id in fused) for word in ("dolphin", "ch_teau", "lighthouse")] == [True] * 3
    assert "airplane" in fused[0] and "projectile" in fused[1]
    assert {name: (chance > 0.3).sum() for name, chance in chances.items() if chance.max() > 0.3} == {LITE2: 1}


def test_near_duplicates(joined, cartoons, near):
    tables = {threshold: am.systems.near_duplicates(joined, threshold) for threshold in (0.90, 0.95, 0.99)}
    near([tables[0.95]["group"].nunique(), len(tables[0.95])], "there are # groups with # pictures", within=0)
    near(len(cartoons.duplicates()), "only # of these pictures are files with identical bytes", within=0)
    near(tables[0.90]["group"].nunique(), "# groups at .90", of=SOLUTIONS, within=0)
    near(tables[0.99]["group"].nunique(), "and # at .99", of=SOLUTIONS, within=0)


def test_the_map(joined, bundled_features, cartoons, near):
    folders = [label.split("/")[0] for label in cartoons.labels]
    rows = {
        "map": am.views.Map.fit(joined).neighbours(10),
        "vectors": am.ExactIndex.build(joined).all_neighbours(10)[0],
    }
    purity = am.measure.precision_at_k(rows, folders, at=[10])["P@10"]
    near(purity["map"], "# of the ten nearest pictures on the map", within=0.012)
    near(am.measure.chance_level(folders), "the chance level is #.", within=0.001)
    near(purity["vectors"], "In the vectors themselves, the fraction is #:")
    one = bundled_features[SQUEEZENET, "penultimate"]
    rows = {"map": am.views.Map.fit(one).neighbours(10), "vectors": am.ExactIndex.build(one).all_neighbours(10)[0]}
    on_map, in_vectors = am.measure.precision_at_k(rows, folders, at=[10])["P@10"]
    near(on_map, "has a purity of # on its map", of=SOLUTIONS, within=0.012)
    near(in_vectors, "on its map and # in its vectors", of=SOLUTIONS)
