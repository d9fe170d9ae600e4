"""The results of the explorer compared with the indexes and numpy."""

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.views.exploration import Exploration, Look, NewPicture, Question

SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def chosen(bundled_features):
    layers = ("logits", "penultimate")
    return {(model, layer): bundled_features[model, layer] for model in (SQUEEZENET, LITE0) for layer in layers}


@pytest.fixture(scope="module")
def exploration(chosen):
    preset = am.transforms.concatenate([chosen[SQUEEZENET, "penultimate"], chosen[LITE0, "penultimate"]])
    return Exploration(chosen, {"joined": preset})


def by_numpy(features, vector, leave_out, k):
    vectors = features.vectors / np.linalg.norm(features.vectors, axis=1, keepdims=True)
    order = np.argsort(-(vectors @ vector), kind="stable")
    return [features.ids[row] for row in order if features.ids[row] not in leave_out][:k]


def test_columns_are_networks_fusions_and_presets(exploration, chosen, cartoons):
    assert exploration.layers == ["logits", "penultimate"]
    columns = exploration.columns("logits")
    assert columns == ["joined", SQUEEZENET, LITE0, *am.measure.METHODS]
    id = cartoons.ids[70]
    found = exploration.answer(Question((id,)), Look("logits", tuple(columns), k=7))
    assert list(found) == columns
    lists = {model: am.ExactIndex.build(chosen[model, "logits"]).query(id, 50) for model in (SQUEEZENET, LITE0)}
    labels = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    for model in (SQUEEZENET, LITE0):
        assert found[model].drop(columns="probability").equals(lists[model].head(7))
        likely = am.measure.calibrate(am.ExactIndex.build(chosen[model, "logits"]), labels)
        assert np.array_equal(found[model]["probability"], likely.probability(found[model]["distance"]))
    for method in am.measure.METHODS:
        assert found[method]["id"].tolist() == am.fuse(lists, method, k=7)["id"].tolist()
    assert exploration.answer(Question((id,)), Look("logits", ("rrf",), k=7))["rrf"].equals(found["rrf"])
    assert exploration.answer(Question((id,)), Look("penultimate", ("joined",), k=7))["joined"].equals(found["joined"])


def test_several_pictures_and_negatives(exploration, chosen, cartoons):
    one, two, three = cartoons.ids[3], cartoons.ids[50], cartoons.ids[90]
    features = chosen[LITE0, "penultimate"]
    unit = {id: features.vector(id) / np.linalg.norm(features.vector(id)) for id in (one, two, three)}
    look = Look("penultimate", (LITE0,), k=10)
    both = exploration.answer(Question((one, two)), look)[LITE0]
    assert both["id"].tolist() == by_numpy(features, unit[one] + unit[two], {one, two}, 10)
    question = Question((one,)).with_(two, "more").with_(three, "less")
    assert question == Question((one, two), (three,))
    less = exploration.answer(question, look)[LITE0]
    expected = by_numpy(features, (unit[one] + unit[two]) / 2 - unit[three] / 2, {one, two, three}, 10)
    assert less["id"].tolist() == expected and less["rank"].tolist() == list(range(1, 11))
    assert question.with_(three, "more") == Question((one, two, three))
    assert question.without(three).without(two) == Question((one,))
    with pytest.raises(am.QueryError, match="needs at least one picture"):
        exploration.answer(Question((), (one,)), look)


def test_a_preset_can_be_an_index(chosen, cartoons):
    graph = am.indexes.DiffusionIndex.build(list(chosen.values()))
    exploration = Exploration(chosen, {"graph": graph})
    one, look = cartoons.ids[40], Look("logits", ("graph", LITE0), k=4)
    found = exploration.answer(Question((one,)), look)["graph"]
    assert found["id"].tolist() == graph.query(one, 4)["id"].tolist()
    assert exploration.p_value(Question((one,)), look) is None
    assert exploration.answer(Question((one, cartoons.ids[41])), look)["graph"]["id"].nunique() == 4


def test_a_new_picture_is_tested_for_novelty(exploration, chosen, cartoons):
    look = Look("penultimate", (SQUEEZENET,), k=3)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    test = am.indexes.NoveltyTest.build([chosen[model, "penultimate"] for model in (SQUEEZENET, LITE0)])
    strange = exploration.p_value(Question((NewPicture("noise", noise),)), look)
    assert strange == test.p_value(noise) < 0.01
    known = NewPicture("the same", cartoons.open(cartoons.ids[40]))
    assert exploration.p_value(Question((known,)), look) > 0.9
    assert exploration.p_value(Question((known, cartoons.ids[3])), look) is None


def test_a_new_picture(exploration, chosen, cartoons):
    id = cartoons.ids[40]
    picture = NewPicture("the same", cartoons.open(id))
    found = exploration.answer(Question((picture,)), Look("penultimate", (SQUEEZENET, "joined"), k=3))
    assert all(table["id"][0] == id and table["distance"][0] < 0.01 for table in found.values())


def test_annoy_in_place_of_exact_search(exploration, chosen, cartoons):
    id = cartoons.ids[40]
    found = exploration.answer(Question((id,)), Look("logits", (LITE0,), k=5, n_trees=3, search_k=20))[LITE0]
    alone = am.AnnoyIndex.build(chosen[LITE0, "logits"], n_trees=3).query(id, 5, search_k=20)
    assert found.drop(columns="probability").equals(alone)


def test_what_cannot_be_asked_is_told(exploration, chosen, cartoons):
    look = Look("logits", ("vgg19",))
    with pytest.raises(am.QueryError, match="there is no vgg19 logits: choose from joined, squeezenet1_1"):
        exploration.answer(Question((cartoons.ids[0],)), look)
    with pytest.raises(am.QueryError, match="k=160 is more than the 159 other pictures"):
        exploration.answer(Question((cartoons.ids[0],)), Look("logits", (LITE0,), k=160))
    with pytest.raises(am.QueryError, match="nothing to explore"):
        Exploration({})
    some = am.Features(chosen[LITE0, "logits"].vectors[:5], cartoons.ids[:5])
    with pytest.raises(am.QueryError, match="not of the same pictures"):
        Exploration({("a", "logits"): chosen[LITE0, "logits"], ("b", "logits"): some})
