"""The numbers that notebook 07 and its solutions state."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

NAME, SOLUTIONS = "07_which_is_better", "solutions/07_which_is_better"
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
BASELINE = f"{LITE2} penultimate"


@pytest.fixture(scope="module")
def relevance(cartoons):
    return am.Relevance.from_labels(cartoons.ids, cartoons.labels)


@pytest.fixture(scope="module")
def best(cartoons, bundled_features, store):
    return am.BEST.features(cartoons, store=store, progress=False)


@pytest.fixture(scope="module")
def compared(bundled_features, relevance, best):
    layers = ("logits", "penultimate", "last:gem")
    features = {key: made for key, made in bundled_features.items() if key[1] in layers}
    return am.compare(
        features,
        relevance,
        fusions=("vote", "rrf", "combsum"),
        others={"preset best": best},
        baseline=BASELINE,
        metric="P@1",
        progress=False,
    )


def test_one_query_by_hand(bundled_features, stated):
    index = am.ExactIndex.build(bundled_features[LITE2, "penultimate"])
    right = (index.query("food/desserts/pie_pumpkin.webp", 5)["label"] == "food/desserts").tolist()
    assert right[0]
    assert stated(NAME, r"so \*\*P@5\*\* is ([\d.]+\d)") == np.mean(right)


def test_the_table(compared, stated):
    table = compared.table.set_index("system")
    preset = table.loc["preset best"]
    assert table.index[0] == "preset best"
    for metric in ("P@1", "P@5", "mAP", "R-precision", "MAP@R", "nDCG@10"):
        assert preset[metric] == table[metric].max()
    assert stated(NAME, r"neighbour is right for ([\d.]+) %") == pytest.approx(preset["P@1"], abs=0.0005)
    assert stated(NAME, r"against ([\d.]+) % of the baseline") == pytest.approx(table.loc[BASELINE, "P@1"], abs=0.0005)
    assert stated(NAME, r"It wins (\d+) queries") == preset["wins"]
    assert stated(NAME, r"queries and loses (\d+)\.") == preset["losses"]
    assert stated(NAME, r"of the last maps has ([\d.]+\d)") == round(table.loc["combsum of 4 last:gem", "P@1"], 3)
    assert stated(NAME, r"that of the penultimate layers ([\d.]+\d)") == round(
        table.loc["combsum of 4 penultimate", "P@1"], 3
    )
    assert stated(NAME, r"Its mAP is ([\d.]+\d),") == round(table.loc["vote of 4 penultimate", "mAP"], 3)
    assert stated(NAME, r"far below the ([\d.]+\d) of the baseline") == round(table.loc[BASELINE, "mAP"], 3)
    assert table.loc["vote of 4 penultimate", "P@1"] > table.loc[BASELINE, "P@1"]
    assert table.loc["vote of 4 penultimate", "P@5"] > table.loc[BASELINE, "P@5"]
    for layer in ("logits", "penultimate", "last:gem"):
        single = max(table.loc[f"{name} {layer}", "P@1"] for name in am.models.BUNDLED)
        assert table.loc[f"combsum of 4 {layer}", "P@1"] > single
    assert (table["p"].dropna() > 0.3).sum() >= 6
    assert len(table) - 1 == 21


def test_the_half_held_back(cartoons, bundled_features, relevance, best, compared, stated):
    names = np.array(sorted(set(cartoons.labels)))
    chosen_on = set(names[np.random.default_rng(0).permutation(len(names))[: len(names) // 2]])
    halves = {True: [], False: []}
    for id, label in zip(cartoons.ids, cartoons.labels, strict=True):
        halves[label in chosen_on].append(id)
    ours = am.evaluate(best, relevance, queries=halves[False]).mean()
    base = am.evaluate(bundled_features[LITE2, "penultimate"], relevance, queries=halves[False]).mean()
    assert stated(NAME, r"held back, a P@1 of ([\d.]+\d)") == pytest.approx(ours["P@1"], abs=0.0006)
    assert stated(NAME, r"a P@5 of ([\d.]+\d)") == pytest.approx(ours["P@5"], abs=0.0006)
    assert stated(NAME, r"and a mAP of ([\d.]+\d)\.") == pytest.approx(ours["mAP"], abs=0.0006)
    assert stated(NAME, r"The baseline has ([\d.]+\d),") == pytest.approx(base["P@1"], abs=0.0006)
    assert stated(NAME, r"The baseline has [\d.]+, ([\d.]+\d) and") == pytest.approx(base["P@5"], abs=0.0006)
    assert stated(NAME, r"The baseline has [\d.]+, [\d.]+ and ([\d.]+\d)") == pytest.approx(base["mAP"], abs=0.0006)
    per_query = {name: compared[name].per_query.set_index("id")["P@1"] for name in ("preset best", BASELINE)}
    gain = per_query["preset best"] - per_query[BASELINE]
    assert gain[halves[False]].mean() < gain[halves[True]].mean()


def test_wins_by_category(compared, stated):
    gain = compared["preset best"].by_label("P@5") - compared[BASELINE].by_label("P@5")
    assert gain.idxmax() == "recreation/holiday/valentines"
    assert stated(NAME, r"valentines gain most: ([\d.]+\d) at") == round(gain.max(), 3)
    assert -stated(NAME, r"loses more than ([\d.]+\d)\.") < gain.min()


def test_agreement(bundled_features, stated):
    lists = {
        name: am.ExactIndex.build(bundled_features[name, "penultimate"]).all_neighbours(10)[0]
        for name in am.models.BUNDLED
    }
    shared = {name: am.overlap(rows, lists[LITE2]).mean() for name, rows in lists.items()}
    assert round(shared[SQUEEZENET], 1) == 0.3
    assert round(shared[LITE0], 1) == round(shared[LITE1], 1) == 0.5
    cka = {
        name: am.cka(bundled_features[name, "penultimate"], bundled_features[LITE2, "penultimate"])
        for name in (SQUEEZENET, LITE0, LITE1)
    }
    assert stated(NAME, r"the same: ([\d.]+\d) for the siblings") == round(cka[LITE0], 2) == round(cka[LITE1], 2)
    assert stated(NAME, r"the siblings, ([\d.]+\d) for the stranger") == round(cka[SQUEEZENET], 2)


def test_edited_pictures(cartoons, bundled_features):
    index = am.ExactIndex.build(bundled_features[SQUEEZENET, "penultimate"])
    found = am.known_items(cartoons, index, sample=20, progress=False)
    lost = (found["rank"] > 1).groupby(found["edit"]).sum()
    assert not lost[["recompress", "rotate", "border", "caption"]].any()
    assert lost[["colour", "greyscale", "flip", "crop"]].between(1, 2).all()


def test_contributions(bundled_features, relevance, stated):
    features = {name: bundled_features[name, "penultimate"] for name in am.models.BUNDLED}
    brings = am.contributions(features, relevance).set_index("model")
    assert stated(NAME, r"brings most, ([\d.]+\d) points") == round(100 * brings.loc[LITE2, "contribution"], 1)
    order = brings["contribution"].sort_values(ascending=False).index.tolist()
    assert order == [LITE2, SQUEEZENET, LITE0, LITE1]
    assert brings.loc[LITE1, "low"] < 0


def test_solutions(cartoons, bundled_features, relevance, best, openclipart, stated):
    joined = am.concatenate([bundled_features[name, "last:gem"] for name in am.models.BUNDLED])

    def measured(made):
        return am.evaluate(made, relevance).mean()

    none, half, full = (am.PCA.fit(joined, 256, whiten=power)(joined) for power in (0, 0.5, 1))
    assert stated(SOLUTIONS, r"P@1 and P@5: ([\d.]+\d) against") == round(measured(half)["P@1"], 3)
    assert stated(SOLUTIONS, r"against ([\d.]+\d) without") == round(measured(none)["P@1"], 3)
    assert stated(SOLUTIONS, r"mAP falls from ([\d.]+\d) to") == round(measured(none)["mAP"], 3)
    assert stated(SOLUTIONS, r"mAP falls from [\d.]+ to ([\d.]+\d)\.") == round(measured(full)["mAP"], 3)
    twenty = measured(am.Expansion.fit(half, 20)(half))
    assert stated(SOLUTIONS, r"mAP rises from ([\d.]+\d) to") == round(measured(half)["mAP"], 3)
    assert stated(SOLUTIONS, r"mAP rises from [\d.]+ to ([\d.]+\d) with") == round(twenty["mAP"], 3)
    assert stated(SOLUTIONS, r"P@1 falls from [\d.]+ to ([\d.]+\d)\.") == round(twenty["P@1"], 3)

    keywords = pd.read_csv(openclipart.with_suffix(".csv")).set_index("id")["keywords"].dropna()
    by_words = am.Relevance.from_keywords(cartoons.ids, keywords.to_dict())
    ours, plain = (am.evaluate(made, by_words).mean()["nDCG@10"] for made in (best, joined))
    assert stated(SOLUTIONS, r"no expansion: ([\d.]+\d) against") == round(ours, 3)
    assert stated(SOLUTIONS, r"against ([\d.]+\d) in nDCG") == round(plain, 3)
