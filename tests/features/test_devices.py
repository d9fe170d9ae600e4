"""The configuration of a device: with the processor in the place of a GPU, and on a GPU where there is one."""

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch.features import engine
from amulsearch.models import devices, network

MODEL = "squeezenet1_1"
LAYERS = ["logits", "penultimate", "last:gem"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture
def collection(small_folder):
    return am.Collection.from_folder(small_folder, progress=False)


def close(vectors, expected, tolerance):
    return np.allclose(vectors, expected, rtol=10 * tolerance, atol=tolerance * np.abs(expected).max())


def test_a_device_with_larger_batches_that_lie_ahead_gives_the_same_vectors(collection, monkeypatch):
    record = am.models.get(MODEL)
    same = am.models.own("same", am.models.load(MODEL).module, record.preprocess, feature_map="features")
    monkeypatch.setattr(engine, "openvino_precisions", tuple)  # so that torch runs
    expected = am.extract(collection, record, LAYERS, progress=False)
    monkeypatch.setitem(devices.DEVICES, "cpu", am.models.DeviceConfig(7, 2, channels_last=False, pinned=False))
    sizes, submit = [], engine.TorchEngine.submit
    monkeypatch.setattr(
        engine.TorchEngine, "submit", lambda self, rows, batch: (sizes.append(len(batch)), submit(self, rows, batch))
    )
    made = am.extract(collection, same, LAYERS, progress=False)
    assert sizes == [7, 7, 7, 7, 3]  # two of the 32 pictures have the same bytes
    for layer in LAYERS:
        assert made["same", layer].fingerprint["backend"].startswith("torch")
        assert close(made["same", layer].vectors, expected[MODEL, layer].vectors, 1e-5)


def test_batches_are_halved_where_memory_is_too_small(monkeypatch, capsys):
    network = am.models.load(MODEL)
    pixels = np.random.default_rng(0).integers(0, 256, (5, *network.blank().shape[1:]), np.uint8)
    whole, vectors, sizes, most = network(pixels, LAYERS), network.vectors, [], 2

    def short_of_memory(batch, layers):
        sizes.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return vectors(batch, layers)

    monkeypatch.setattr(network, "vectors", short_of_memory)
    runs = engine.TorchEngine(network, LAYERS)
    runs.submit(range(5), pixels)
    runs.submit(range(5, 7), pixels[:2])
    done = list(runs.results(wait=True))
    assert sizes == [8, 4, 2, 2, 2, 2] and runs.batch == 2
    assert [row for rows, _ in done for row in rows] == list(range(7))
    for layer in LAYERS:
        results = np.concatenate([vectors[layer] for _, vectors in done])
        np.testing.assert_allclose(results[:5], whole[layer], rtol=1e-3, atol=1e-4)
        assert np.array_equal(results[5:], results[:2])
    told = f"the device {network.device} has too little memory: {MODEL} goes on with {{}} pictures at a time"
    assert capsys.readouterr().err.splitlines() == [told.format(4), told.format(2)]
    most = 0
    with pytest.raises(
        am.errors.AmulsearchError, match=f"too little memory for one picture of {MODEL}: close what else"
    ):
        runs.submit(range(5), pixels)


def test_batches_that_lie_ahead_are_taken_when_there_are_enough(monkeypatch):
    network = am.models.load(MODEL)
    runs = engine.TorchEngine(network, ["logits"])
    monkeypatch.setattr(network, "config", am.models.DeviceConfig(8, 2, channels_last=True, pinned=False))
    done = []
    for row in range(4):
        runs.submit([row], network.blank())
        done.append([rows for rows, _ in runs.results()])
    assert done == [[], [], [[0]], [[1]]]
    assert [rows for rows, _ in runs.results(wait=True)] == [[2], [3]]


def test_float32_is_full_on_a_gpu_whatever_torch_was_told():
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    with devices.full_products(torch.device("cuda")):
        assert not convolutions.allow_tf32 and not matrices.allow_tf32
    assert (convolutions.allow_tf32, matrices.allow_tf32) == before


@needs_cuda
def test_a_gpu_gives_the_vectors_of_the_processor(collection, monkeypatch):
    made = am.extract(collection, MODEL, LAYERS, progress=False)
    monkeypatch.setattr(network, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(engine, "device", lambda: torch.device("cpu"))
    network._load.cache_clear()
    expected = am.extract(collection, MODEL, LAYERS, progress=False)
    network._load.cache_clear()
    for layer in LAYERS:
        assert made[MODEL, layer].fingerprint["backend"].endswith("cuda")
        assert close(made[MODEL, layer].vectors, expected[MODEL, layer].vectors, 1e-4)
