"""What a panel answers compared with its systems and with numpy, and on all the ways to it bit for bit."""

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.errors import QueryError
from amulsearch.index import NewPicture
from amulsearch.systems import METHODS

SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"
NAMES = [f"{model} penultimate" for model in (SQUEEZENET, LITE0)]


@pytest.fixture(scope="module")
def chosen(bundled_features):
    layers = ("logits", "penultimate")
    return {(model, layer): bundled_features[model, layer] for model in (SQUEEZENET, LITE0) for layer in layers}


@pytest.fixture(scope="module")
def panel(chosen):
    joined = am.transforms.concatenate([chosen[model, "penultimate"] for model in (SQUEEZENET, LITE0)])
    return am.Panel({**chosen, "joined": joined}, fusions=METHODS, calibrate=True)


def by_numpy(features, vector, without, k):
    vectors = features.vectors / np.linalg.norm(features.vectors, axis=1, keepdims=True)
    order = np.argsort(-(vectors @ vector), kind="stable")
    return [features.ids[row] for row in order if features.ids[row] not in without][:k]


def test_systems_are_networks_by_layer_and_their_fusions(panel, chosen, cartoons):
    assert panel.layers == ["logits", "penultimate"] and len(panel) == 5 + 2 * len(METHODS)
    assert list(panel.titles("logits").values()) == ["joined", SQUEEZENET, LITE0, *METHODS]
    id = panel.ids[70]
    tables = panel.query(id, 7)
    assert list(tables) == list(panel) and all(name in panel for name in tables) and "vgg19 logits" not in panel
    for model in (SQUEEZENET, LITE0):
        name, index = f"{model} logits", am.ExactIndex.build(chosen[model, "logits"])
        assert tables[name].drop(columns="probability").equals(index.query(id, 7))
        likely = am.systems.calibrate(index, am.Relevance.from_labels(panel.ids, index.labels))
        assert np.array_equal(tables[name]["probability"], likely.probability(tables[name]["distance"]))
    parts = [chosen[model, "logits"] for model in (SQUEEZENET, LITE0)]
    for method in METHODS:
        assert tables[f"{method} of 2 logits"].equals(am.Fusion(parts, method).query(id, 7))


def test_several_pictures_and_negatives(panel, chosen):
    one, two, three = panel.ids[3], panel.ids[50], panel.ids[90]
    features, name = chosen[LITE0, "penultimate"], NAMES[1]
    unit = {id: features.vector(id) / np.linalg.norm(features.vector(id)) for id in (one, two, three)}
    both = panel.query([one, two], 10, systems=[name])[name]
    assert both["id"].tolist() == by_numpy(features, unit[one] + unit[two], {one, two}, 10)
    less = panel.query([one, two], 10, less=[three], systems=[name])[name]
    expected = by_numpy(features, (unit[one] + unit[two]) / 2 - unit[three] / 2, {one, two, three}, 10)
    assert less["id"].tolist() == expected and less["rank"].tolist() == list(range(1, 11))
    few = panel.subset(panel.ids[:20])
    assert few.query(one, 3)[name]["id"].tolist() == by_numpy(features, unit[one], {one, *panel.ids[20:]}, 3)
    assert len(few.query(one, 19)["vote of 2 logits"]) > 9


def test_several_pictures_are_averaged_as_the_metric_compares_them():
    ids, places = [str(row) for row in range(9)], np.arange(9.0)[:, None] ** 2
    panel = am.Panel({"line": am.ExactIndex.build(places, ids, metric="euclidean")})
    found = panel.query(["3", "7"], 3)["line"]  # between 9 and 49 is 29: nearest 25, 36, 16
    assert found["id"].tolist() == ["5", "6", "4"]


def test_a_new_picture_runs_each_network_once_and_is_tested_for_novelty(panel, chosen, cartoons, monkeypatch):
    id = panel.ids[40]
    picture = NewPicture(cartoons.open(id))
    passes, encode = [], am.index.system.encode
    monkeypatch.setattr(am.index.system, "encode", lambda *args: passes.append(args[1]) or encode(*args))
    tables = panel.query(picture, 3, systems=[*NAMES, "joined", "combsum of 2 penultimate"])
    assert all(table["id"][0] == id for table in tables.values())
    assert all(table["distance"][0] < 0.01 for table in tables.values() if "distance" in table)
    panel.query(picture, 5, systems=NAMES)
    assert len(passes) == 1
    test = panel.novelty(NAMES)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    assert test.p_value(noise) < 0.01 < 0.9 < test.p_value(picture)
    fitted = am.transforms.PCA.fit(chosen[LITE0, "logits"], 8)(chosen[LITE0, "logits"])
    assert am.Panel({"fitted": fitted}).novelty() is None


def test_what_cannot_be_asked_is_told(panel, chosen):
    some = am.Features(chosen[LITE0, "logits"].vectors[:5], panel.ids[:5])
    for call, words in (
        (lambda: panel.query(panel.ids[0], systems=["vgg19 logits"]), "there is no system 'vgg19 logits': choose from"),
        (lambda: panel.query(panel.ids[0], len(panel.ids)), "is more than the .* other pictures"),
        (lambda: panel.query([], less=[panel.ids[0]]), "needs at least one picture"),
        (lambda: panel.query(panel.ids), "every picture is an example"),
        (lambda: panel.query(am.Words("a bird")), "no system reads words"),
        (lambda: am.Panel({}), "at least one system"),
        (lambda: am.Panel({"a": chosen[LITE0, "logits"], "b": some}), "not of the same pictures"),
        (lambda: am.Panel({"a": np.eye(3)}), "takes Features and systems, not ndarray"),
        (lambda: am.Panel({"a": some}, fusions="vote"), "fusions must be a list"),
        (lambda: am.Panel({"a b": some, ("a", "b"): some}), "the same name"),
        (lambda: panel.query(np.ones(3)), "pictures or words, not with a ndarray"),
    ):
        with pytest.raises(QueryError, match=words):
            call()


def test_every_way_to_a_panel_gives_the_same_answer(small_folder, tmp_path, run):
    """The command line, Python, the column of the explorer and the page, bit for bit; also for a new picture."""
    pytest.importorskip("anywidget")
    store = tmp_path / "store"
    run("index", small_folder, "--store", store, "--models", f"{SQUEEZENET},{LITE0}")
    panel, name = am.open_panel(store), "combsum of 2 penultimate"
    id, new = panel.ids[9], tmp_path / "new.png"
    Image.open(small_folder / id).convert("RGB").rotate(9, fillcolor="white").save(new)
    collection = am.Collection.from_folder(small_folder, progress=False)
    explorer = am.explore(collection, panel, query=id, k=5)
    explorer._receive(explorer, {"do": "look", "columns": ["combsum"]}, [])
    for query in (id, new):
        expected = panel.query(query, 5)[name]
        results = json.loads(run("query", query, "--store", store, "--fuse", "combsum", "-k", "5", "--json").out)[
            "results"
        ]
        assert [result["id"] for result in results] == expected["id"].tolist()
        assert [result["score"] for result in results] == expected["score"].tolist()
        if query == new:
            explorer._receive(explorer, {"do": "upload", "name": "new.png"}, [new.read_bytes()])
        assert explorer.found["combsum"].equals(expected)
    page = am.views.Page("page").answers(collection, {"combsum": panel[name]}, k=5).html()
    (shown,) = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])["systems"]
    rows, values = (
        np.frombuffer(base64.b64decode(shown[key]), kind).reshape(-1, 5)[9]
        for key, kind in (("rows", "<i4"), ("values", "<f4"))
    )
    expected = panel.query(id, 5)[name]
    assert [collection.ids[row] for row in rows] == expected["id"].tolist()
    assert np.array_equal(values, expected["score"].astype(np.float32))


def test_features_and_systems_are_of_the_same_pictures(bundled_features):
    layer = bundled_features["squeezenet1_1", "penultimate"]
    turned = am.ExactIndex.build(am.Features(layer.vectors[::-1].copy(), layer.ids[::-1]))
    with pytest.raises(am.errors.QueryError, match="not of the same pictures in the same order"):
        am.Panel({"one": layer, "other": turned})
    with pytest.raises(am.errors.QueryError, match="give indexes or Features, not Fusion"):
        am.Diffusion.build([am.Fusion([am.ExactIndex.build(layer)] * 2, "vote")])
