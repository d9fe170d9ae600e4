"""Queries by graphs that an extraction has converted: the same vectors, and no torch."""

import gc
import importlib.util
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch.features import converted, encode, engine
from amulsearch.models import preprocess

MODEL = "tf_efficientnet_lite0"

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of graphs for this test alone, filled however few pictures there are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "WORTH_CONVERTING", 0)
    converted._single.cache_clear()
    return tmp_path / "cache"


@needs_openvino
def test_a_query_takes_any_graph_that_has_its_layers(small_folder, own_cache, monkeypatch):
    features = am.extract(am.Collection.from_folder(small_folder), MODEL, "standard", progress=False)
    assert len(list(own_cache.rglob("*.xml"))) == 1
    images = [features.collection.open(id) for id in features.collection.ids[:3]]
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("torch computed something"))
    for made in features.values():
        vectors = encode(images, made.fingerprint, made.makers)
        np.testing.assert_allclose(vectors, made.vectors[:3], atol=1e-4 * abs(made.vectors).max())
    assert converted.single(am.models.get(MODEL), ["blocks.1:mean"], "float32") is None


@needs_openvino
def test_what_was_compiled_is_kept_and_gives_the_same_numbers(small_folder, own_cache, monkeypatch):
    features = am.extract(am.Collection.from_folder(small_folder), MODEL, "standard", progress=False)
    images = [features.collection.open(id) for id in features.collection.ids[:2]]

    def ask():
        converted._single.cache_clear()  # as in a new process
        return [encode(images, made.fingerprint, made.makers).tobytes() for made in features.values()]

    compiled = ask()
    (kept,) = own_cache.rglob("*.blob")
    content = kept.read_bytes()
    with monkeypatch.context() as patch:
        import openvino

        patch.setattr(openvino.Core, "compile_model", lambda *_: pytest.fail("a graph was compiled again"))
        assert ask() == compiled
    flipped = content[:9000] + bytes([content[9000] ^ 1]) + content[9001:]
    for damaged in (b"", content[:1000], flipped):
        kept.write_bytes(damaged)
        assert ask() == compiled
        assert kept.read_bytes() != damaged and len(kept.read_bytes()) > 0.9 * len(content)  # it was replaced
    kept.unlink()

    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", full)
    assert ask() == compiled and not list(own_cache.rglob("*.blob*"))


@needs_openvino
def test_an_engine_that_is_no_longer_used_is_freed(small_folder, own_cache):
    """Otherwise each extraction leaves its networks, hundreds of megabytes, in memory."""
    am.extract(am.Collection.from_folder(small_folder), MODEL, "penultimate", progress=False)
    (graph,) = own_cache.rglob("*.xml")
    run = converted.OpenVinoEngine(graph, ["penultimate"], "float32")
    run.submit("one", np.zeros((1, 224, 224, 3), dtype=np.uint8))
    assert [tag for tag, _ in run.results(wait=True)] == ["one"]
    left = weakref.ref(run)
    del run
    gc.collect()
    assert left() is None


@needs_openvino
def test_without_a_graph_or_with_a_damaged_one_torch_computes(small_folder, own_cache):
    features = am.extract(am.Collection.from_folder(small_folder), MODEL, "penultimate", progress=False)
    made, image = features[MODEL, "penultimate"], features.collection.open(features.collection.ids[0])
    (graph,) = own_cache.rglob("*.xml")
    for content in ("damaged", None):
        graph.write_text(content) if content else graph.unlink()
        converted._single.cache_clear()
        (vector,) = encode([image], made.fingerprint, made.makers)
        np.testing.assert_allclose(vector, made.vectors[0], atol=1e-4 * abs(made.vectors).max())


class Odd(torch.nn.Module):
    """A network with an operation that OpenVINO does not have."""

    def __init__(self):
        super().__init__()
        self.map, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

    def forward(self, values):
        return self.head(torch.special.bessel_j0(self.map(values)).mean((2, 3)))


@needs_openvino
def test_a_network_that_openvino_cannot_run_is_run_by_torch(small_folder, own_cache, tmp_path, capsys):
    torch.manual_seed(0)
    module, collection = Odd(), am.Collection.from_folder(small_folder)[:4]
    model = am.models.own("odd", module, am.models.Preprocess(32), version=1)
    made = am.extract(collection, [model, MODEL], "logits", store=tmp_path / "store", progress=False)
    assert [made[name, "logits"].fingerprint["backend"].split()[0] for name in ("odd", MODEL)] == ["torch", "openvino"]
    expected = am.embed([collection.open(id) for id in collection.ids], model, "logits")["logits"]
    np.testing.assert_allclose(made["odd", "logits"].vectors, expected, atol=1e-6)
    told = capsys.readouterr().err.strip()
    assert told.startswith("torch runs odd, which OpenVINO cannot run: ") and "bessel" in told
    assert len(told.splitlines()) == 1
    assert am.extract(collection, model, "logits", store=tmp_path / "store", progress=False).extracted == 0
    assert not capsys.readouterr().err


@needs_openvino
def test_a_graph_of_code_of_one_s_own_is_for_its_network_only(small_folder, own_cache):
    """Once, the second network got the graph of the first: their weights are the same."""
    collection = am.Collection.from_folder(small_folder, progress=False)[:4]
    images = [collection.open(id) for id in collection.ids]
    for factor in (1, 2):

        class Scaled(torch.nn.Linear):
            factor = 1.0

            def forward(self, values):
                return self.factor * super().forward(values.mean((2, 3)))

        Scaled.factor = factor
        torch.manual_seed(0)
        model = am.models.own("scaled", Scaled(3, 4), am.models.Preprocess(32))
        made = am.extract(collection, model, "logits", progress=False)["scaled", "logits"]
        assert made.fingerprint["backend"].startswith("openvino")
        expected = am.embed(images, model, "logits")["logits"]
        np.testing.assert_allclose(made.vectors, expected, atol=1e-4 * np.abs(expected).max())
    assert not list(own_cache.rglob("scaled-*"))


@needs_openvino
def test_the_command_line_answers_without_torch(small_folder, openclipart, own_cache, tmp_path):
    code = (
        "import sys\nfrom amulsearch.cli import main\n"
        "status = main(['query', *sys.argv[1:]])\n"
        "print('status', status, 'torch' in sys.modules)\n"
    )
    am.extract(am.Collection.from_folder(small_folder), MODEL, "penultimate", progress=False)  # converts the network
    index = [
        "index",
        str(small_folder),
        "--store",
        str(tmp_path / "store"),
        "--models",
        MODEL,
        "--layers",
        "penultimate",
    ]
    subprocess.run([sys.executable, "-m", "amulsearch", *index], check=True, capture_output=True)
    new = openclipart / "animals/birds/crow_01.webp"
    command = [sys.executable, "-c", code, str(new), "--store", str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 False"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_numpy_resizes_bit_for_bit_as_torch_does(interpolation):
    random = np.random.default_rng(0)
    for height, width, high, wide in random.integers(1, 400, (40, 4)):
        rgb = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        by_torch = torch.nn.functional.interpolate(
            torch.from_numpy(rgb).permute(2, 0, 1)[None],
            size=(int(high), int(wide)),
            mode=interpolation,
            antialias=True,
        )
        resized = preprocess._resize_width(rgb, wide, interpolation).swapaxes(0, 1)
        resized = preprocess._resize_width(resized, high, interpolation).swapaxes(0, 1)
        assert np.array_equal(resized, by_torch[0].permute(1, 2, 0).numpy())
