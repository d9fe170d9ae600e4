"""What lesson 12 and its solutions state."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from plain import cosines as cosines_of
from plain import neighbours, stems

import amulsearch as am

NOTEBOOK, SOLUTIONS = "12_explore_and_judge", "solutions/12_explore_and_judge"
WRONG = {
    1: "loaf = bread",
    2: "extremes = extremes[::-1]",
    3: "best = models[0]",
    4: "on_white = test.p_value(photo)",
}
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
DAMSELFLY, BULB = "animals/bugs/damselfly_leigh_purdie_r.webp", "electronics/bulb/bulb.webp"
BREAD = "food/bread_and_wine_mark_near_.webp"


@pytest.fixture(scope="module")
def penultimate(bundled_features):
    return {model: bundled_features[model, "penultimate"] for model in am.models.BUNDLED}


@pytest.fixture(scope="module")
def indexes(penultimate):
    return {model: am.ExactIndex.build(features) for model, features in penultimate.items()}


@pytest.fixture(scope="module")
def cosines(penultimate):
    return {model: cosines_of(features.vectors) for model, features in penultimate.items()}


@pytest.fixture(scope="module")
def folders(cartoons):
    return np.array(cartoons.labels, dtype=object)


@pytest.fixture(scope="module")
def photo(openclipart):
    return am.open_image(openclipart.parent / "queries" / "coffee.webp")


@pytest.fixture(scope="module")
def novelty(penultimate):
    return am.systems.NoveltyTest.build(list(penultimate.values()))


def test_the_damselfly(indexes):
    lists = am.Panel(indexes, fusions=["rrf"]).query(DAMSELFLY, 10)
    assert [table["label"].iat[0] == "animals/bugs" for table in lists.values()] == [False, True, True, True, False]
    sword = "tools/weapons/longsword_01.webp"
    assert lists["rrf of 4"]["id"].iat[0] == sword
    assert [sword in set(lists[model]["id"][:2]) for model in am.models.BUNDLED] == [True, True, False, True]


def test_bread_and_wine(indexes, cartoons):
    picture, index = cartoons.open(BREAD), indexes[LITE2]
    width, height = picture.size
    left, right = ((0, 0, width // 2, height), (width // 2, 0, width, height))
    assert stems(index.query(BREAD, 4)["id"]) == ["mcoon", "teacup", "africandrum", "teacup"]
    assert stems(index.query(picture.crop(left), 4)["id"]) == ["bread", "africandrum", "mcoon", "coffee"]
    assert stems(index.query(picture.crop(right), 4)["id"]) == ["bread", "arbre", "smiley115", "croissant"]


def test_ahead_and_behind(penultimate, indexes, cartoons, near):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    results = [am.evaluate(one, relevance).per_query.set_index("id")["AP"] for one in penultimate.values()]
    others = np.maximum.reduce(results[1:])
    lead = (results[0] - others).sort_values()
    ahead, behind = lead.index[-1], lead.index[0]
    assert "stickmen" in ahead and behind == BULB
    near(results[0][ahead], "precision is #, that", of=SOLUTIONS, within=0.006)
    near(max(one[ahead] for one in results[1:]), "others at most #.", of=SOLUTIONS, within=0.006)
    near([results[0][behind], results[3][behind]], "rays: #, against # for Lite2", of=SOLUTIONS, within=0.006)
    near((lead > 0).mean(), "For #% of the queries", of=SOLUTIONS, within=0.006)
    assert [sum(indexes[one].query(BULB, 4)["label"] == "electronics/bulb") for one in (SQUEEZENET, LITE2)] == [0, 3]


def by_thumbs(cosines, folders, queries, judged, k=4):
    """The P@1 of each network if the first k of the judged ones have thumbs, and the number of queries that count."""
    first = {model: [] for model in cosines}
    for query in queries:
        shown = np.unique([np.argsort(-cosines[model][query], kind="stable")[:k] for model in judged])
        good = folders[shown] == folders[query]
        if good.any() and not good.all():
            for model in first:
                first[model].append(good[np.argmax(cosines[model][query][shown])])
    return [np.mean(first[model]) for model in cosines], len(first[SQUEEZENET])


def test_thumbs(cosines, folders, cartoons, near):
    rows = {seed: [cartoons.ids.index(id) for id in cartoons.sample(60, seed)] for seed in (0, 1)}
    by_folders = [(folders[cosine.argmax(axis=1)] == folders).mean() for cosine in cosines.values()]
    assert np.argmax(by_folders) == 3 and np.argmin(by_folders) == 0
    near([by_folders[3], by_folders[0]], "Lite2 is best with #, and SqueezeNet last with #.")
    own, count = by_thumbs(cosines, folders, rows[0], [SQUEEZENET])
    near([count, 1 / count], "With # such queries, one moves a P@1 by #:", within=0.005)
    assert np.argmax(own) == 0 and np.argmin(own) == 3
    near([own[0], own[3]], "SqueezeNet is first with #, and Lite2 last with #.")
    every, _ = by_thumbs(cosines, folders, rows[0], list(cosines))
    assert np.argmax(every) == 3 and (np.array(own) > by_folders).all() and (np.array(every) > by_folders).all()
    near(every[3], "Lite2 is first again, with #.")
    other, count = by_thumbs(cosines, folders, rows[1], [SQUEEZENET])
    assert np.argmax(other) == 3
    near([other[3], other[0]], "with # against # for SqueezeNet", of=SOLUTIONS, within=0.006)
    text = "Only # queries have a good and a bad result, so a single query moves a P@1 by #."
    near([count, 1 / count], text, of=SOLUTIONS)


def test_distances_and_folders(cosines, folders):
    nearest = neighbours(cosines[LITE2], 20)
    distances = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(cosines[LITE2], nearest, axis=1), 0))
    same = folders[nearest] == folders[:, None]
    means = [same[(distances > low) & (distances <= low + 0.1)].mean() for low in np.arange(0.2, 1.2, 0.1)]
    assert means[:2] == pytest.approx([0.73, 0.73], abs=0.02)  # one in four is wrong
    assert means[4:] == sorted(means[4:], reverse=True)
    elsewhere = ~np.char.startswith(folders.astype(str), "transportation")
    assert same[elsewhere][(distances[elsewhere] > 0.2) & (distances[elsewhere] <= 0.4)].all()


def test_calibration(indexes, near):
    fits = [am.systems.calibrated(indexes[model]).calibration for model in (SQUEEZENET, LITE2)]
    errors = [np.average(abs(t["predicted"] - t["relevant"]), weights=t["pairs"]) for t in (fit.table for fit in fits)]
    near(errors, "The error is # for SqueezeNet and # for Lite2")
    for fit in fits:
        top = fit.table.iloc[-1][["predicted", "relevant"]].tolist()
        near(top, "at the top too much, # where # is right", within=0.008)
        middle = fit.table[fit.table["predicted"].round(2).between(0.54, 0.56)]["relevant"]
        assert len(middle) == 1 and middle.between(0.7, 0.83).all()  # 0.55 where 0.7 to 0.8 is right


def test_novelty(novelty, indexes, photo, cartoons, near):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))
    gradient = Image.linear_gradient("L").convert("RGB")
    near(novelty.p_value(noise), "the smallest p-value that a sample of a thousand allows, #.", within=0.0006)
    near(novelty.p_value(photo), "The photograph has #; its", within=0.002)
    (nearest,) = indexes[LITE2].query(photo, 1).itertuples()
    assert nearest.id == "food/beverages/coffe_tea_01.webp"
    fit = am.systems.calibrated(indexes[LITE2]).calibration
    near(fit.probability([nearest.distance])[0], "though the curve gives it #%", within=0.01)
    near(novelty.p_value(BULB), "The bulb has #, and its", within=0.02)
    near(novelty.p_value(ImageOps.mirror(cartoons.open(BULB))), "its mirror image #, since", within=0.02)
    near(novelty.p_value(gradient), "is no drawing, but has #: about one cartoon in six", within=0.02)
    white = ImageOps.expand(photo.resize((200, 200)), 100, "white")
    values = [novelty.p_value(photo), novelty.p_value(white)]
    near(values, "rises from # to #.", of=SOLUTIONS, within=0.004)


def test_the_jury_takes_what_the_folders_take(indexes, cartoons, folders, tmp_path, near):
    label = dict(zip(cartoons.ids, folders, strict=True))
    jury = am.measure.Jury(am.Panel(indexes), tmp_path / "jury.csv", most=20)
    answers = {(1, 0): "left", (0, 1): "right", (1, 1): "both", (0, 0): "neither"}
    while asked := jury.question:
        jury.answer(answers[tuple(int(label[one] == label[asked.query]) for one in (asked.left, asked.right))])
    truth = {name: (folders[index.all_neighbours(5)[0]] == folders[:, None]).mean() for name, index in indexes.items()}
    assert jury.table["system"][0] == max(truth, key=truth.get) == LITE1
    assert jury.count == 20 and "cannot be told apart" in jury.verdict
    near(jury.table["best"][0], "that Lite1 is the best at #% only", within=0.05)
