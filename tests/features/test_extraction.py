"""Extraction: layers, batches and precisions. Interrupted runs are tested in test_faults.py."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import amulsearch as am
from amulsearch import models
from amulsearch.features import converted, engine

MODEL, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"
LAYERS = ["logits", "penultimate", "last:gem"]
BLANK = Path(__file__).parents[1] / "pictures" / "football_pitch__andy_bur_01.webp"  # white on transparent


@pytest.fixture
def few(small_folder):
    return am.Collection.from_folder(small_folder, progress=False)[:6]


@pytest.fixture(scope="module")
def pixels(cartoons) -> np.ndarray:
    """A batch of cartoons in the form that the network takes."""
    images = am.intake.decode([cartoons.request(id) for id in cartoons.sample(converted.BATCH)])
    return np.stack([models.get(MODEL).preprocess.pixels(image, "pad", "white") for image in images])


def backend_of(library: str, precision: str = "float32") -> str:
    """The backend that a library is on this machine."""
    if library == "openvino":
        pytest.importorskip("openvino")
    here = engine.backends(models.get(MODEL), LAYERS, precision)
    return next(backend for backend in here if backend.startswith(library))


@pytest.mark.parametrize("library", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_vectors_of_a_picture_do_not_depend_on_its_batch(pixels, library, precision):
    runs = engine.engine_for(models.get(MODEL), LAYERS, precision, backend_of(library, precision))
    batches = [pixels, pixels[::-1].copy(), pixels[:1], pixels[5:7]]
    for tag, batch in enumerate(batches):
        runs.submit([tag] * len(batch), batch)
    results = {rows[0]: vectors for rows, vectors in runs.results(wait=True)}
    for layer in LAYERS:
        whole = results[0][layer]
        assert whole.dtype == np.float32
        for tag, expected in enumerate((whole, whole[::-1], whole[:1], whole[5:7])):
            assert np.array_equal(results[tag][layer], expected)


def test_each_model_has_its_own_layers(few, tmp_path):
    layers = {MODEL: ["penultimate", "features.9:gem"], LITE0: "logits"}
    made = am.extract(few, list(layers), layers, store=tmp_path / "store", progress=False)
    keys = [(MODEL, "penultimate"), (MODEL, "features.9:gem"), (LITE0, "logits")]
    assert list(made) == keys == list(am.features.FeatureSet.open(tmp_path / "store"))
    for name, layer in keys:
        alone = am.extract(few, name, layer, progress=False)[name, layer]
        assert abs(made[name, layer].vectors - alone.vectors).max() < 1e-4 * abs(alone.vectors).max()
    with pytest.raises(am.errors.QueryError, match="at least one layer of each"):
        am.extract(few, [MODEL, LITE0], {MODEL: ["logits"]}, progress=False)


def test_the_standard_layers_are_all_that_the_preset_needs(few, tmp_path):
    store = tmp_path / "store"
    made = am.extract(few, "bundled", "standard", store=store, progress=False)
    for name in am.models.BUNDLED:
        layers = {layer for model, layer in made if model == name}
        assert layers == {"logits", "penultimate", "last:gem", *am.systems.SAME_KIND.layers[name]}
    again = am.extract(few, "bundled", ["penultimate", "standard"], store=store, progress=False)
    assert again.extracted == 0 and set(again) == set(made)
    layers = am.systems.SAME_KIND.layers
    assert am.extract(few, list(layers), layers, store=store, progress=False).extracted == 0


def test_a_layer_answers_by_the_name_it_was_asked_by(few):
    features = am.extract(few, MODEL, ["last", "logits"], progress=False)
    assert list(features) == [(MODEL, "last:mean"), (MODEL, "logits")]
    assert features[MODEL, "last"] is features[MODEL, "last:mean"]
    for error in (KeyError, ValueError, am.errors.QueryError):
        with pytest.raises(error, match=r"no features .*'last:gem'.* there are .*'last:mean'"):
            features[MODEL, "last:gem"]


def test_a_precision_is_another_set_of_features(small_folder, tmp_path):
    collection = am.Collection.from_folder(small_folder, progress=False)
    full, less = (
        am.extract(collection, MODEL, LAYERS, precision=precision, store=tmp_path / "store", progress=False)
        for precision in ("float32", "bfloat16")
    )
    assert full.extracted == less.extracted == collection.table["digest"].nunique()
    for key, made in full.items():
        assert made.fingerprint["precision"] == "float32"
        assert less[key].fingerprint == {**made.fingerprint, "precision": "bfloat16"}
        cosine = (am.features.l2_normalize(made.vectors) * am.features.l2_normalize(less[key].vectors)).sum(axis=1)
        assert cosine.min() > 0.99 and not np.array_equal(made.vectors, less[key].vectors)
    again = am.extract(collection, MODEL, LAYERS, store=tmp_path / "store", progress=False)
    assert again.extracted == 0 and np.array_equal(again[MODEL, "logits"].vectors, full[MODEL, "logits"].vectors)


def test_the_fastest_precision_is_named_in_the_fingerprint(few):
    made = am.extract(few, MODEL, precision="auto", progress=False)
    assert list(made) == [(MODEL, layer) for layer in models.main_layers(MODEL)]
    assert made[MODEL, "logits"].fingerprint["precision"] in engine.PRECISIONS
    with pytest.raises(am.errors.QueryError, match="'int4': use one of float32, bfloat16, float16, auto"):
        am.extract(few, MODEL, precision="int4")


def test_gem_does_not_overflow_half_precision():
    values = torch.rand((2, 5, 7, 7), generator=torch.Generator().manual_seed(0)) * 1000
    expected = values.double().pow(3).mean((2, 3)).pow(1 / 3)
    assert np.allclose(am.models.pool(values.half(), "gem").float(), expected, rtol=0.01)


def test_a_network_that_overflows_in_float16_is_left_out_and_the_others_stay(few, tmp_path, capsys):
    convolution = torch.nn.Conv2d(3, 8, 1)
    torch.nn.init.constant_(convolution.weight, 10_000)  # white, which is about 2.4 in each channel, becomes 72,000
    module = torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
    large, store = models.own("large", module, models.Preprocess(64), version=1), tmp_path / "store"
    half = {"layers": "logits", "precision": "float16", "store": store, "progress": False}
    features = am.extract(few, [large, MODEL], **half)
    assert list(features) == [(MODEL, "logits")] and features.rejected.empty and features.extracted == 6
    told = "the values of large at logits for '.*webp' are too large for float16: use the precision bfloat16 or float32"
    assert re.search(f"^large is left out: {told}$", capsys.readouterr().err, re.MULTILINE)
    assert list(am.features.FeatureSet.open(store)) == [(MODEL, "logits")]
    with pytest.raises(am.errors.ModelError, match=f"^{told}$"):
        am.extract(few, large, **half)
    features = am.extract(few, [large, MODEL], **{**half, "precision": "float32"})
    assert len(features["large", "logits"]) == 6


def test_a_backend_that_is_not_here_is_told():
    with pytest.raises(
        am.errors.AmulsearchError, match=r"torch 1.0 cuda is not on this machine: install the same versions"
    ):
        engine.engine_for(models.get(MODEL), LAYERS, "float32", "torch 1.0 cuda")


def test_a_saved_fingerprint_of_very_deep_json_is_damage(few, tmp_path):
    am.extract(few, MODEL, "logits", store=tmp_path / "store", progress=False)
    database = am.Store(tmp_path / "store").database
    entry = next(database.select("features"))
    with database.transaction():
        database.insert("features", [(*entry[:3], "[" * 100_000 + "]" * 100_000, *entry[4:])])
    for call in (am.features.FeatureSet.open, lambda store: am.extract(few, MODEL, "logits", store=store)):
        with pytest.raises(am.errors.StoreError, match="is damaged"):
            call(tmp_path / "store")


def test_a_picture_that_is_blank_on_white_is_extracted_and_ranked(small_folder, tmp_path):
    blank, empty = "food/fruit/football_pitch__andy_bur_01.webp", "food/fruit/empty.png"
    shutil.copy(BLANK, small_folder / blank)
    Image.new("RGBA", (226, 320)).save(small_folder / empty)  # fully transparent
    collection = am.Collection.from_folder(small_folder, progress=False)
    for id in (blank, empty):
        assert (np.asarray(collection.open(id)) == 255).all()
    features = am.extract(collection, MODEL, LAYERS, store=tmp_path / "store", progress=False)
    assert features.extracted == 33 and len(features.collection) == 34 and features.rejected.empty
    relevance = am.Relevance.from_labels(collection.ids, collection.labels)
    for made in features.values():
        assert np.isfinite(made.vectors).all() and made.vectors[made.ids.index(blank)].any()
        index = am.ExactIndex.build(made)
        for query in (blank, collection.open(blank), collection.ids[0]):
            neighbours = index.query(query, 33)
            assert len(set(neighbours["id"])) == 33 and np.isfinite(neighbours["distance"]).all()
        nearest = index.query(blank, 1).iloc[0]
        assert nearest["id"] == empty and nearest["distance"] < 1e-3
        assert am.AnnoyIndex.build(made).query(blank, 1)["id"].tolist() == [empty]
        assert am.evaluate(made, relevance).per_query.set_index("id").loc[blank, "P@1"] == 1
