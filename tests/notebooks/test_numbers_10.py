"""What notebook 10 and its solutions state."""

import pandas as pd
import pytest

import amulsearch as am

SOLUTIONS = "solutions/10_explore"
SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED
DAMSELFLY = "animals/bugs/damselfly_leigh_purdie_r.webp"
BREAD = "food/bread_and_wine_mark_near_.webp"


@pytest.fixture(scope="module")
def indexes(bundled_features):
    return {model: am.ExactIndex.build(bundled_features[model, "penultimate"]) for model in am.models.BUNDLED}


def stems(table):
    return [id.split("/")[-1].split("_")[0].split(".")[0] for id in table["id"]]


def test_the_damselfly(indexes):
    lists = am.Panel(indexes).query(DAMSELFLY, 10)
    assert [table["label"].iat[0] == "animals/bugs" for table in lists.values()] == [False, True, True, True]
    shown = [table.head(4) for table in lists.values()]
    shown += [am.Fusion(list(indexes.values()), method).query(DAMSELFLY, 4) for method in ("vote", "rrf", "combsum")]
    assert [(table["label"] == "animals/bugs").sum() for table in shown] == [0, 3, 4, 2, 2, 2, 2]


def test_bread_and_wine(indexes, cartoons):
    picture, index = cartoons.open(BREAD), indexes[LITE2]
    width, height = picture.size
    left, right = ((0, 0, width // 2, height), (width // 2, 0, width, height))
    assert stems(index.query(BREAD, 4)) == ["mcoon", "teacup", "africandrum", "teacup"]
    assert stems(index.query(picture.crop(left), 4)) == ["bread", "africandrum", "mcoon", "coffee"]
    assert stems(index.query(picture.crop(right), 4)) == ["bread", "arbre", "smiley115", "croissant"]


def test_ahead_and_behind(indexes, bundled_features, cartoons, near):
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    results = {name: am.evaluate(bundled_features[name, "penultimate"], relevance).per_query for name in indexes}
    precision = pd.DataFrame({name: table.set_index("id")["AP"] for name, table in results.items()})
    others = precision.drop(columns=SQUEEZENET).max(axis=1)
    lead = (precision[SQUEEZENET] - others).sort_values()
    ahead, behind = lead.index[-1], lead.index[0]
    assert "stickmen" in ahead and behind == "electronics/bulb/bulb.webp"
    near(precision.loc[ahead, SQUEEZENET], "precision is #, that", of=SOLUTIONS, within=0.006)
    near(others[ahead], "others at most #.", of=SOLUTIONS, within=0.006)
    near(precision.loc[behind, SQUEEZENET], "rays: #", of=SOLUTIONS, within=0.006)
    near(precision.loc[behind, LITE2], "against # for `tf", of=SOLUTIONS, within=0.006)
    near((lead > 0).mean(), "For #% of the queries", of=SOLUTIONS, within=0.006)
    assert all(label == "people/stickmen" for index in indexes.values() for label in index.query(ahead, 4)["label"])
    assert [sum(index.query(behind, 4)["label"] == "electronics/bulb") for index in indexes.values()] == [0, 3, 2, 3]
