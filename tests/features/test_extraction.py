"""The extraction engine: batches and precisions. Interrupted runs are tested in test_faults.py."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch import models
from amulsearch.features import converted, engine
from amulsearch.models import weights

MODEL = "squeezenet1_1"
LAYERS = ["logits", "penultimate", "last:gem"]
BLANK = Path(__file__).parents[1] / "pictures" / "football_pitch__andy_bur_01.webp"  # white on transparent


@pytest.fixture(scope="module")
def pixels(cartoons) -> np.ndarray:
    """A batch of cartoons in the form that the network takes."""
    images = am.intake.decode([cartoons.request(id) for id in cartoons.sample(converted.BATCH)])
    return np.stack([models.get(MODEL).preprocess.pixels(image, "pad", "white") for image in images])


def backend_of(library: str, precision: str = "float32") -> str:
    """The backend that a library is on this machine."""
    if library == "openvino":
        pytest.importorskip("openvino")
    found = engine.backends(models.get(MODEL), LAYERS, precision)
    return next(backend for backend in found if backend.startswith(library))


@pytest.mark.parametrize("library", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_vectors_of_a_picture_do_not_depend_on_its_batch(pixels, library, precision):
    runs = engine.engine_for(models.get(MODEL), LAYERS, precision, backend_of(library, precision), print)
    batches = [pixels, pixels[::-1].copy(), pixels[:1], pixels[5:7]]
    for tag, batch in enumerate(batches):
        runs.submit(tag, batch)
    found = dict(runs.results(wait=True))
    for layer in LAYERS:
        whole = found[0][layer]
        assert whole.dtype == np.float32
        assert np.array_equal(found[1][layer], whole[::-1])
        assert np.array_equal(found[2][layer], whole[:1])
        assert np.array_equal(found[3][layer], whole[5:7])


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


def test_the_fastest_precision_is_named_in_the_fingerprint(small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    made = am.extract(collection, MODEL, "logits", precision="auto", progress=False)[MODEL, "logits"]
    assert made.fingerprint["precision"] in engine.PRECISIONS
    with pytest.raises(am.QueryError, match="'int4': use one of float32, bfloat16, float16, auto"):
        am.extract(collection, MODEL, precision="int4")


def test_gem_does_not_overflow_half_precision():
    import torch

    values = torch.rand((2, 5, 7, 7), generator=torch.Generator().manual_seed(0)) * 1000
    expected = values.double().pow(3).mean((2, 3)).pow(1 / 3)
    assert np.allclose(am.models.pool(values.half(), "gem").float(), expected, rtol=0.01)


def test_a_network_that_overflows_in_float16_is_left_out_and_the_others_stay(small_folder, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    convolution = torch.nn.Conv2d(3, 8, 1)
    torch.nn.init.constant_(convolution.weight, 10_000)  # white, which is about 2.4 in each channel, becomes 72,000
    module = torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
    large = models.own("large", module, models.Preprocess(64), version=1)
    collection, store = am.Collection.from_folder(small_folder, progress=False)[:4], tmp_path / "store"
    half = {"layers": "logits", "precision": "float16", "store": store, "progress": False}
    features = am.extract(collection, [large, MODEL], **half)
    assert list(features) == [(MODEL, "logits")] and features.rejected.empty and features.extracted == 4
    told = "the values of large at logits for '.*webp' are too large for float16: use the precision bfloat16 or float32"
    assert re.search(f"^large is left out: {told}$", capsys.readouterr().err, re.MULTILINE)
    assert list(am.features.FeatureSet.open(store)) == [(MODEL, "logits")]
    with pytest.raises(am.errors.ModelError, match=f"^{told}$"):
        am.extract(collection, large, **half)
    features = am.extract(collection, [large, MODEL], **{**half, "precision": "float32"})
    assert len(features["large", "logits"]) == 4


def test_a_layer_answers_by_the_name_it_was_asked_by(small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)[:4]
    features = am.extract(collection, MODEL, ["last", "logits"], progress=False)
    assert list(features) == [(MODEL, "last:mean"), (MODEL, "logits")]
    assert features[MODEL, "last"] is features[MODEL, "last:mean"]
    for error in (KeyError, ValueError, am.QueryError):
        with pytest.raises(error, match=r"no features .*'last:gem'.* there are .*'last:mean'"):
            features[MODEL, "last:gem"]


def test_the_first_run_gives_the_vectors_of_every_later_one(pixels, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, backend = [], backend_of("openvino")
    for _ in range(2):  # converted, then read from the cache
        runs = engine.engine_for(models.get(MODEL), LAYERS, "float32", backend, print)
        runs.submit(0, pixels)
        found.append(dict(runs.results(wait=True))[0])
    assert list(tmp_path.rglob("*.xml"))
    for layer in LAYERS:
        assert np.array_equal(found[0][layer], found[1][layer])


def test_an_empty_xdg_cache_home_counts_as_unset(tmp_path, monkeypatch):
    """The XDG base directory specification asks so; else the cache would lie in the current folder, as `amulsearch`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    places = []
    for value in ("", str(tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        places.append((converted.path_of(models.get(MODEL), LAYERS), weights.cache_folder()))
    assert places[0] == places[1] and all(tmp_path in place.parents for place in places[0])


def test_a_backend_that_is_not_here_is_told():
    with pytest.raises(am.AmulsearchError, match=r"torch 1.0 cuda is not on this machine: install the same versions"):
        engine.engine_for(models.get(MODEL), LAYERS, "float32", "torch 1.0 cuda", print)


def test_a_picture_that_is_blank_on_white_is_extracted_and_ranked(small_folder, tmp_path):
    blank, empty = "food/fruit/football_pitch__andy_bur_01.webp", "food/fruit/empty.png"
    shutil.copy(BLANK, small_folder / blank)
    Image.new("RGBA", (226, 320)).save(small_folder / empty)  # fully transparent
    collection = am.Collection.from_folder(small_folder, progress=False)
    for id in (blank, empty):
        assert (np.asarray(collection.open(id)) == 255).all()
    networks = ["squeezenet1_1", "tf_efficientnet_lite0"]
    features = am.extract(collection, networks, LAYERS, store=tmp_path / "store", progress=False)
    assert features.extracted == 33 and len(features.collection) == 34 and features.rejected.empty
    relevance = am.Relevance.from_labels(collection.ids, collection.labels)
    for made in features.values():
        assert np.isfinite(made.vectors).all() and made.vectors[made.ids.index(blank)].any()
        index = am.ExactIndex.build(made)
        for asked in (blank, collection.open(blank), collection.ids[0]):
            found = index.query(asked, 33)
            assert len(set(found["id"])) == 33 and np.isfinite(found["distance"]).all()
        nearest = index.query(blank, 1).iloc[0]
        assert nearest["id"] == empty and nearest["distance"] < 1e-3
        assert am.AnnoyIndex.build(made).query(blank, 1)["id"].tolist() == [empty]
        assert am.evaluate(made, relevance).per_query.set_index("id").loc[blank, "P@1"] == 1
