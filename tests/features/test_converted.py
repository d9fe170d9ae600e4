"""Queries by graphs that an extraction has converted: the same vectors, and no torch."""

import gc
import importlib.util
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch.cli import main
from amulsearch.features import converted, encode, engine
from amulsearch.models import preprocess, weights

MODEL = "squeezenet1_1"

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def with_graph(cartoons, tmp_path_factory):
    """A cache that holds the graph of the network with its standard layers."""
    folder = tmp_path_factory.mktemp("graph") / "cache"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(engine, "WORTH_CONVERTING", 0)
        am.extract(cartoons[:1], MODEL, "standard", progress=False)
    return folder


@pytest.fixture
def own_cache(with_graph, tmp_path, monkeypatch):
    """A copy of it for this test alone, filled further however few pictures there are."""
    shutil.copytree(with_graph, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "WORTH_CONVERTING", 0)
    converted._compiled_for_one.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def few(small_folder):
    return am.Collection.from_folder(small_folder, progress=False)[:4]


def first_pictures(features, count=2):
    return [features.collection.open(id) for id in features.collection.ids[:count]]


@needs_openvino
def test_a_query_takes_any_graph_that_has_its_layers(few, own_cache, monkeypatch):
    features = am.extract(few, MODEL, "standard", progress=False)
    assert len(list(own_cache.rglob("*.xml"))) == 1  # which was there
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("torch computed something"))
    for made in features.values():
        vectors = [encode(image, [made.fingerprint], made.makers)[0][0] for image in first_pictures(features)]
        np.testing.assert_allclose(vectors, made.vectors[:2], atol=1e-4 * abs(made.vectors).max())
    assert converted.query_graph(am.models.get(MODEL), ["features.4:mean"], "float32") is None


@needs_openvino
def test_what_was_compiled_is_kept_and_gives_the_same_numbers(few, own_cache):
    features = am.extract(few, MODEL, "standard", progress=False)
    images = first_pictures(features)

    def vectors():
        converted._compiled_for_one.cache_clear()  # as in a new process
        fingerprints = [made.fingerprint for made in features.values()]
        return [each.tobytes() for image in images for each in encode(image, fingerprints, [])]

    compiled = vectors()
    (kept,) = own_cache.rglob("*.blob")
    content = kept.read_bytes()
    assert vectors() == compiled and kept.read_bytes() == content
    for damaged in (b"", content[:1000], content[: len(content) // 2]):  # as a killed process leaves it
        kept.chmod(0o600)
        kept.write_bytes(damaged)
        assert vectors() == compiled
        assert len(kept.read_bytes()) > 0.9 * len(content)  # it was replaced


@needs_openvino
def test_an_engine_that_is_no_longer_used_is_freed(own_cache):
    """Otherwise each extraction leaves its networks, hundreds of megabytes, in memory."""
    (graph,) = own_cache.rglob("*.xml")
    run = converted.OpenVinoEngine(graph, am.models.standard_layers(MODEL), "float32")
    run.submit([7], np.zeros((1, 224, 224, 3), dtype=np.uint8))
    assert [rows for rows, _ in run.results(wait=True)] == [[7]]
    left = weakref.ref(run)
    del run
    gc.collect()
    assert left() is None


@needs_openvino
def test_without_a_graph_or_with_a_damaged_one_torch_computes(few, own_cache):
    features = am.extract(few, MODEL, "standard", progress=False)
    made = features[MODEL, "penultimate"]
    (graph,) = own_cache.rglob("*.xml")
    text = graph.read_bytes()
    for content in (b"damaged", b"\xff" + text[:-100], None):
        graph.write_bytes(content) if content else graph.unlink()
        converted._compiled_for_one.cache_clear()
        (vectors,) = encode(*first_pictures(features, 1), [made.fingerprint], made.makers)
        np.testing.assert_allclose(vectors, made.vectors[:1], atol=1e-4 * abs(made.vectors).max())


class Odd(torch.nn.Module):
    """A network with an operation that OpenVINO does not have."""

    def __init__(self):
        super().__init__()
        self.map, self.head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

    def forward(self, values):
        return self.head(torch.special.bessel_j0(self.map(values)).mean((2, 3)))


@needs_openvino
def test_a_network_that_openvino_cannot_run_is_run_by_torch(few, own_cache, tmp_path, capsys):
    torch.manual_seed(0)
    model = am.models.own("odd", Odd(), am.models.Preprocess(32), version=1)
    made = am.extract(few, [model, MODEL], "logits", store=tmp_path / "store", progress=False)
    assert [made[name, "logits"].fingerprint["backend"].split()[0] for name in ("odd", MODEL)] == ["torch", "openvino"]
    expected = am.embed(first_pictures(made, 4), model, "logits")["logits"]
    np.testing.assert_allclose(made["odd", "logits"].vectors, expected, atol=1e-6)
    told = capsys.readouterr().err.strip()
    assert told.startswith("torch runs odd, which OpenVINO cannot run: ") and "bessel" in told
    assert len(told.splitlines()) == 1
    assert am.extract(few, model, "logits", store=tmp_path / "store", progress=False).extracted == 0
    assert not capsys.readouterr().err


@needs_openvino
def test_a_graph_of_code_of_one_s_own_is_for_its_network_only(few, own_cache):
    """Once, the second network got the graph of the first: their weights are the same."""
    for factor in (1, 2):

        class Scaled(torch.nn.Linear):
            factor = 1.0

            def forward(self, values):
                return self.factor * super().forward(values.mean((2, 3)))

        Scaled.factor = factor
        torch.manual_seed(0)
        model = am.models.own("scaled", Scaled(3, 4), am.models.Preprocess(32))
        features = am.extract(few, model, "logits", progress=False)
        made = features["scaled", "logits"]
        assert made.fingerprint["backend"].startswith("openvino")
        expected = am.embed(first_pictures(features, 4), model, "logits")["logits"]
        np.testing.assert_allclose(made.vectors, expected, atol=1e-4 * np.abs(expected).max())
    assert not list(own_cache.rglob("scaled-*"))


@needs_openvino
def test_the_command_line_answers_without_torch(small_folder, openclipart, own_cache, tmp_path):
    code = (
        "import sys\nfrom amulsearch.cli import main\n"
        "status = main(['query', *sys.argv[1:]])\n"
        "print('status', status, 'torch' in sys.modules)\n"
    )
    store = tmp_path / "store"
    options = ["--store", str(store), "--models", MODEL, "--layers", "standard"]
    assert main(["index", str(small_folder), *options]) == 0
    command = [sys.executable, "-c", code, str(openclipart / "animals/birds/crow_01.webp"), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 False"


def test_an_empty_xdg_cache_home_counts_as_unset(tmp_path, monkeypatch):
    """The XDG base directory specification asks so; else the cache would lie in the current folder, as `amulsearch`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    places = []
    for value in ("", str(tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        places.append((converted.path_of(am.models.get(MODEL), ["logits"]), weights.cache_folder()))
    assert places[0] == places[1] and all(tmp_path in place.parents for place in places[0])


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
