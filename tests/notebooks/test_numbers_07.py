"""The numbers that notebook 07 and its solutions state."""

import io
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

import amulsearch as am
from amulsearch.features import encode

NOTEBOOK, SOLUTIONS = "07_which_is_better", "solutions/07_which_is_better"
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
BASELINE, PRESET = f"{LITE2} penultimate", "preset best"
LAYERS = ("logits", "penultimate", "last:gem")
BULB = "electronics/bulb/bulb.webp"


@pytest.fixture(scope="module")
def features(bundled_features, cartoons, store):
    return am.extract(cartoons, am.models.BUNDLED, LAYERS, store=store, progress=False)


@pytest.fixture(scope="module")
def relevance(cartoons):
    return am.Relevance.from_labels(cartoons.ids, cartoons.labels)


@pytest.fixture(scope="module")
def compared(features, preset):
    panel = am.Panel({**features, PRESET: preset}, fusions=("vote", "rrf", "combsum"))
    return am.compare(panel, baseline=BASELINE, measure="P@1", progress=False)


@pytest.fixture(scope="module")
def calibrations(features, preset):
    pair = {BASELINE: am.ExactIndex.build(features[LITE2, "penultimate"]), PRESET: preset}
    return {name: am.systems.calibrated(index).calibration for name, index in pair.items()}


@pytest.fixture(scope="module")
def lists(features):
    indexes = {name: am.ExactIndex.build(features[name, "penultimate"]) for name in am.models.BUNDLED}
    return {name: index.all_neighbours(10)[0] for name, index in indexes.items()}


def test_one_query(features, cartoons, compared, near):
    vectors = features[LITE2, "penultimate"].vectors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    row = cartoons.ids.index(BULB)
    order = np.argsort(-(vectors @ vectors[row]))
    order = order[order != row]
    right = np.array([cartoons.labels[place] == cartoons.labels[row] for place in order])
    assert (np.flatnonzero(right[:10]) + 1).tolist() == [1, 2, 3, 6, 7, 9]
    average = np.mean([right[: place + 1].mean() for place in np.flatnonzero(right)])
    near(average, "the average precision of this query is #.", within=0.0006)
    per_query = compared[BASELINE].per_query.set_index("id").loc[BULB]
    assert per_query[["P@1", "P@5", "AP"]].tolist() == pytest.approx([1, 0.6, average], abs=1e-6)


def test_table(compared, cartoons, lists, near):
    table = compared.table.set_index("system")
    assert len(cartoons) == 1631
    assert table[["P@1", "P@5", "mAP"]].idxmax().tolist() == [PRESET] * 3
    both = [PRESET, BASELINE]
    near(table["P@1"][both], "first neighbour is relevant for # % of the queries, that of the baseline for # %")
    near(table["mAP"][both], "Its mAP is # against #.")
    near(table["P@1"]["combsum of 4 penultimate"], "of the penultimate layers has a P@1 of #,")
    near(table["P@1"]["combsum of 4 last:gem"], "last maps with GeM #.")
    near(table["P@1"]["combsum of 4 logits"], "With the logits it has #.")
    near(table["P@1"]["vote of 4 logits"], "the vote of the logits, has #**")
    near(table["P@5"][["vote of 4 logits", BASELINE]], "at P@5 it is above the baseline: # against #.")
    votes = table["mAP"].nsmallest(3)
    assert all(name.startswith("vote") for name in votes.index)
    near([votes.min(), votes.max()], "the three votes are last**, from # to #.")
    for name in am.models.BUNDLED:
        assert table["P@1"][f"{name} last:gem"] > table["P@1"][f"{name} penultimate"] - 0.003
        assert table["P@1"][f"{name} penultimate"] > table["P@1"][f"{name} logits"] - 0.003
    first = am.measure.same_label(lists[LITE2][:, :1], cartoons.labels).mean()
    assert first == pytest.approx(table["P@1"][BASELINE], abs=0.002)


def test_chance(compared, near):
    table = compared.table.set_index("system")
    row = table.loc["combsum of 4 penultimate"]
    near([row["wins"], row["losses"]], "there are # wins and # losses,", within=3)
    near(row["wins"] - row["losses"], "losses, # more wins", within=5)
    near(100 * row["difference"], "more wins, or # points", within=0.3)
    change = (compared["combsum of 4 penultimate"].per_query["P@1"] - compared[BASELINE].per_query["P@1"]).to_numpy()
    coins = np.random.default_rng(1).choice([-1, 1], (10_000, len(change)))
    chance = (np.abs(coins @ change) >= abs(change.sum()) - 1e-9).mean()
    near(chance, "a fraction of about # is at least as far", within=0.006)
    assert row["p"] == pytest.approx(chance, abs=0.006)
    p = table["p"].dropna()
    near(len(p), "There are # tests", within=0)
    near((p < 0.05).sum(), "In the bundled cartoons, # of the 21 are below 0.05 by query", within=1)
    near((table["label_p"] < 0.05).sum(), "by query, # by category", within=1)
    sure = table[table["holm"] < 0.05]
    near(len(sure), "by category, and # after the correction", within=0)
    assert sure.index[sure["difference"] > 0].tolist() == [PRESET, "combsum of 4 last:gem"]
    assert set(sure.index[sure["difference"] < 0]) == {"squeezenet1_1 logits", "squeezenet1_1 penultimate"}
    near(row["p"], "its `p` of # has become", within=0.005)
    near(row["holm"], "has become a `holm` of #.", within=0.1)
    preset = table.loc[PRESET]
    assert ((table["label_high"] - table["label_low"]) > 2 * (table["high"] - table["low"])).all()
    near(preset["P@1"], "The P@1 of the preset, #, lies", within=0.002)
    near(preset[["low", "high"]], "lies between # and # if queries", within=0.005)
    near(preset[["label_low", "label_high"]], "and between # and # if categories", within=0.005)


def test_held_back(compared, cartoons, near):
    names = np.array(sorted(set(cartoons.labels)))
    chosen_on = set(names[np.random.default_rng(0).permutation(len(names))[: len(names) // 2]])

    def half(name, held_back):
        table = compared[name].per_query
        return am.measure.Evaluation(table[table["label"].isin(chosen_on) != held_back], 0)

    ours, base, vote = (half(name, True) for name in (PRESET, BASELINE, "vote of 4 logits"))
    measures = ["P@1", "P@5", "mAP"]
    near(ours.mean()[measures], "on the half held back, the preset has a P@1 of #, a P@5 of # and a mAP of #.")
    near(base.mean()[measures], "The baseline has #, # and #. The")
    for metric in ("P@1", "P@5", "mAP"):
        against = ours.compare(base, metric)
        assert against["low"] > 0
        assert against["p"] < 0.00011
    gain = 100 * (ours.mean() - vote.mean())
    near([gain["P@1"], gain["P@5"]], "it gains # points at P@1 and # at P@5", within=0.35)
    near(gain["mAP"], "the # points in mAP are not a fair", within=0.35)
    here = 100 * (ours.mean() - base.mean())
    other = 100 * (half(PRESET, False).mean() - half(BASELINE, False).mean())
    near([here["P@1"], other["P@1"]], "over the baseline is # points here and # on the half", within=0.35)
    near([here["P@5"], other["P@5"]], "at P@5, it is # points here and # there.", within=0.35)


def test_categories(compared, cartoons, features, preset, near):
    gain = (compared[PRESET].by_label("P@5") - compared[BASELINE].by_label("P@5")).sort_values()
    sizes = pd.Series(cartoons.labels).value_counts()
    near((gain < 0).sum(), "In the bundled cartoons, # of 49 categories loses:", within=1)
    assert len(gain) == 49
    assert gain.idxmin() == "people/smilies"
    near(-gain.min(), "the smilies, by #.", within=0.01)
    assert gain.idxmax() == "recreation/holiday/valentines"
    near(gain.max(), "The valentines gain most, #,", within=0.02)
    assert sizes[gain.idxmax()] == 11
    near(gain["education/books"], "Books gain # and boats", within=0.02)
    near(gain["transportation/boating"], "and boats #, with", within=0.02)
    assert sizes[["education/books", "transportation/boating"]].tolist() == [18, 33]
    assert sizes[["people", "animals/mammals/bears"]].tolist() == [157, 8]


def test_won_and_lost(compared, cartoons, features, preset):
    ours, base = (compared[name].per_query.set_index("id")["P@5"] for name in (PRESET, BASELINE))
    change = (ours - base).sort_values(kind="stable")
    guitar, grandparents = change.index[-1], change.index[0]
    assert guitar == "recreation/music/guitar_profile_philippe__01.webp"
    assert grandparents == "people/grampa_39_n_gramma_celso_02.webp"

    single = am.ExactIndex.build(features[LITE2, "penultimate"])
    starts = lambda index, id: {name.split("/")[-1][:4] for name in index.query(id, 4)["id"]}  # noqa: E731
    assert starts(single, guitar) == {"key_", "gumn", "cock", "dril"}
    assert starts(preset, guitar) == {"bass", "guit", "viol"}
    assert starts(single, grandparents) == {"head"}
    assert starts(preset, grandparents) == {"comp", "cd.w", "bobi", "45_r"}

    edges = preset.graph.edges(grandparents)
    assert edges["id"][0] == "electronics/compact_disc.webp"
    assert edges.loc[0, preset.graph.names].notna().sum() == 13
    assert len(preset.graph.names) == 16
    assert edges["score"][0] > 4 * edges["score"][1]


def test_calibration(calibrations, cartoons, features, preset, near):
    single, best = calibrations[BASELINE], calibrations[PRESET]
    near([best.ece, single.ece], "it is # for the preset and # for the single network", within=0.005)
    for calibration in (single, best):
        assert calibration.table["pairs"].sum() == 20 * len(cartoons)
    near(best.table["predicted"].iloc[-1], "where it predicts #, a fraction", within=0.01)
    near(best.table["relevant"].iloc[-1], "a fraction of # is relevant", within=0.03)
    near(single.table["predicted"].iloc[-1], "at the top, # where", within=0.01)
    near(single.table["relevant"].iloc[-1], "at the top, ~ where # is right", within=0.03)
    off = (best.table["relevant"] - best.table["predicted"]).abs()
    assert off[:-1].max() < 0.05
    middle = single.table[single.table["predicted"].between(0.4, 0.8)]
    assert (middle["relevant"] > middle["predicted"] + 0.08).all()

    labels = np.array(cartoons.labels)
    alone = am.ExactIndex.build(features[LITE2, "penultimate"])
    for index, calibration, least in ((alone, single, 0.9), (preset, best, 0.6)):
        rows, distances = index.all_neighbours(20)
        asked, found = labels[:, None].repeat(20, axis=1), labels[rows]
        wrong = (calibration.probability(distances) > 0.9) & (asked != found)
        roads = np.char.startswith(asked[wrong], "transportation") & np.char.startswith(found[wrong], "transportation")
        assert wrong.sum() > 50
        assert roads.mean() > least


def test_probabilities_of_the_bulb(calibrations, preset, near):
    answer = preset.query(BULB, 10)
    likely = calibrations[PRESET].probability(answer["distance"])
    stems = [answer["id"][place].split("/")[-1].split("_")[0] for place in (0, 7, 9)]
    assert stems == ["lightbulb", "elephant", "rugby"]
    near(likely[0], "the first bulb has a probability of #,", within=0.01)
    near(likely[9], "the rugby ball in tenth place #.", within=0.01)
    near(likely[7], "The elephant in eighth place has #.", within=0.01)


def test_a_picture_unlike_all_others(calibrations, cartoons, features, preset, near):
    test = am.systems.NoveltyTest.build([features[name, "penultimate"] for name in am.models.BUNDLED])
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    noise = Image.fromarray(pixels)
    near(test.p_value(noise), "the p-value of the noise is #, the smallest", within=0.0002)
    (nearest,) = preset.query(noise, 1).itertuples()
    assert nearest.id == "plants/bamboo_danny_allen_r.webp"
    (likely,) = calibrations[PRESET].probability([nearest.distance])
    near(likely, "a drawing of bamboo, has a probability of #.", within=0.05)
    near(test.p_value(BULB), "The bulb has #. Its mirror", within=0.02)
    near(test.p_value(ImageOps.mirror(cartoons.open(BULB))), "Its mirror image has #, since", within=0.02)
    near(test.p_value(Image.linear_gradient("L").convert("RGB")), "but its p-value is #: about", within=0.02)


def test_agreement(cartoons, compared, features, lists, near):
    sets = {name: [set(row) for row in rows.tolist()] for name, rows in lists.items()}
    shared = {name: np.mean([len(a & b) / 10 for a, b in zip(sets[name], sets[LITE2], strict=True)]) for name in sets}
    assert [shared[LITE0], shared[LITE1]] == pytest.approx([0.5, 0.5], abs=0.02)
    assert shared[SQUEEZENET] == pytest.approx(1 / 3, abs=0.02)
    centred = {name: features[name, "penultimate"].vectors.astype(np.float64) for name in sets}
    centred = {name: vectors - vectors.mean(axis=0) for name, vectors in centred.items()}
    squares = {name: np.linalg.norm(x.T @ centred[LITE2]) ** 2 for name, x in centred.items()}
    cka = {
        name: squares[name] / np.linalg.norm(x.T @ x) / np.linalg.norm(centred[LITE2].T @ centred[LITE2])
        for name, x in centred.items()
    }
    assert cka[LITE0] == pytest.approx(cka[LITE1], abs=0.012)
    near(cka[LITE0], "gives the same order: # for the siblings", within=0.006)
    near(cka[SQUEEZENET], "for the siblings and # for `squeezenet1_1`", within=0.006)

    shared = np.mean([am.measure.overlap(a, b) for a, b in combinations(lists.values(), 2)], axis=0)
    order = np.argsort(shared, kind="stable")
    castle, drink = (cartoons.ids[row] for row in order[:2])
    assert [castle, drink] == ["buildings/homes/pinkhome3.webp", "food/beverages/softdrink_icon_01.webp"]
    places = {id: cartoons.ids.index(id) for id in (castle, drink)}
    neighbours = {id: [row for rows in lists.values() for row in rows[place, :4]] for id, place in places.items()}
    folders = {id: [cartoons.labels[row] for row in neighbours[id]] for id in (castle, drink)}
    assert folders[castle].count("buildings/homes") == 2
    assert "food/beverages" not in folders[drink]
    assert len(set(neighbours[drink])) == 16

    hit = compared[BASELINE].per_query.set_index("id")["P@1"][[cartoons.ids[row] for row in order]].to_numpy()
    quarters = [part.mean() for part in np.array_split(hit, 4)]
    assert quarters == sorted(quarters)
    near(quarters[0], "first neighbour is relevant for # % of the queries on which", within=0.006)
    near(quarters[3], "and for # % of those on which they agree most", within=0.006)


def test_edited_pictures(cartoons, features, compared, cells_of):
    index = am.ExactIndex.build(features[SQUEEZENET, "penultimate"])
    first, notebook = (
        {},
        {"io": io, "Image": Image, "ImageDraw": ImageDraw, "ImageFont": ImageFont, "ImageOps": ImageOps},
    )
    (cell,) = [cell["source"] for cell in cells_of(NOTEBOOK) if "edits = {" in cell["source"]]
    exec(cell, notebook)
    for name, edit in notebook["edits"].items():
        ids = cartoons.sample(12)
        edited = [encode(edit(cartoons.open(id)), [index.fingerprint], index.makers)[0] for id in ids]
        rows, far = index.search(np.concatenate(edited), len(index))
        own = rows == [[cartoons.ids.index(id)] for id in ids]
        first[name] = (far[:, 0] > far[own] - 1e-6).sum()
    found_all = dict.fromkeys(("recompress", "rotate", "caption", "colour", "crop"), 12)
    assert first == found_all | {"border": 10, "flip": 11, "greyscale": 11}
    singles = compared.table["system"].str.rpartition(" ")[[0, 2]].set_axis(["model", "layer"], axis=1)
    singles = singles.assign(P1=compared.table["P@1"])[singles["model"].isin(am.models.BUNDLED)]
    assert singles.groupby("layer")["P1"].idxmin().map(singles["model"]).tolist() == [SQUEEZENET] * 3


def test_contributions(features, relevance, near):
    parts = {name: features[name, "penultimate"] for name in am.models.BUNDLED}
    whole, *others = (
        am.evaluate(am.Fusion(list(some.values()), "combsum"), relevance)
        for some in (parts, *({name: parts[name] for name in parts if name != out} for out in parts))
    )
    table = 100 * pd.DataFrame([whole.compare(rest, "mAP") for rest in others], index=list(parts))
    brought = table["difference"]
    assert brought.sort_values(ascending=False).index.tolist()[:2] == [LITE2, SQUEEZENET]
    near(brought[LITE2], "contributes most, # points of mAP", within=0.03)
    near(brought[SQUEEZENET], "comes second with #:", within=0.03)
    near(brought[LITE1], "The contribution of `tf_efficientnet_lite1`, # points", within=0.03)
    assert table["low"][LITE1] < 0 < table["low"].drop(LITE1).min()


def test_whitening_and_expansion(features, relevance, near):
    joined = am.transforms.concatenate([features[name, "last:gem"] for name in am.models.BUNDLED])
    made = {power: am.transforms.PCA.fit(joined, 256, whiten=power)(joined) for power in (0, 0.5, 1)}
    cosine = made[0.5].vectors @ made[0.5].vectors.T
    np.fill_diagonal(cosine, 0)
    for count in (1, 5, 20):
        nearest = np.where(cosine >= np.sort(cosine)[:, -count, None], np.maximum(cosine, 0), 0)
        made[f"n {count}"] = am.Features(made[0.5].vectors + nearest**2 @ made[0.5].vectors, joined.ids)
    made["joined"] = joined
    table = pd.DataFrame({name: am.evaluate(vectors, relevance).mean() for name, vectors in made.items()}).T
    first, mean = table["P@1"], table["mAP"]
    powers = [0, 0.5, 1]
    near(first[powers[:2]], "P@1 rises from # without whitening to # at half", of=SOLUTIONS)
    near(first[1], "full whitening has #.", of=SOLUTIONS)
    near(mean[powers], "falls throughout, from # to # and #.", of=SOLUTIONS)
    measures = ["P@1", "P@5", "mAP"]
    assert (table.loc[0, measures] > table.loc["joined", measures]).all()
    near([mean[0.5], mean["n 20"]], "mAP rises from # without expansion to # with 20", of=SOLUTIONS)
    near([first["n 1"], first["n 20"]], "the same with one neighbour, #, and falls to # with 20", of=SOLUTIONS)
    near(table["P@5"]["n 5"], "it is highest at five, #.", of=SOLUTIONS)
    assert first["n 1"] == pytest.approx(first[0.5], abs=0.003)
    assert table["P@5"]["n 5"] > table["P@5"].max() - 0.003


def test_keywords(openclipart, cartoons, features, preset, compared, near):
    keywords = pd.read_csv(openclipart.with_suffix(".csv")).set_index("id")["keywords"].dropna()
    relevance = am.Relevance.from_keywords(cartoons.ids, keywords.to_dict())
    ours, base = (am.evaluate(made, relevance) for made in (preset, features[LITE2, "penultimate"]))
    near(ours.mean()["nDCG@10"], "its nDCG@10 is #, that", of=SOLUTIONS)
    near(base.mean()["nDCG@10"], "that of `tf_efficientnet_lite2` #, and", of=SOLUTIONS)
    assert ours.compare(base, "nDCG@10")["low"] > 0.05
    assert ours.mean()["P@1"] > compared[PRESET].mean()["P@1"]
    apart = ~np.eye(len(cartoons), dtype=bool)
    shared = (relevance.grades(np.arange(len(cartoons))) > 0) & apart
    codes = pd.factorize(np.array(cartoons.labels, dtype=object))[0]
    same = (codes[:, None] == codes) & apart
    near(shared[same].mean(), "in one folder, # % share", of=SOLUTIONS, within=0.006)
    near(same[shared].mean(), "while only # % of the pairs", of=SOLUTIONS, within=0.006)
