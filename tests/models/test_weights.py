"""Weights: downloaded from a local server, put in place by hand, damaged, or malicious."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch import models
from amulsearch.models import network as networks
from amulsearch.models import weights
from amulsearch.models.weights import Downloaded, HuggingFace, OwnFile, Packaged


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """A checkpoint of squeezenet1_1 with random weights."""
    torch.manual_seed(2)
    file = io.BytesIO()
    torch.save(models.get("squeezenet1_1").build().state_dict(), file)
    return file.getvalue()


def named(data: bytes, name: str = "squeezenet1_1") -> str:
    return f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def downloaded(url: str) -> models.Model:
    return dataclasses.replace(models.get("squeezenet1_1"), weights=Downloaded(url), rename=None)


def first_bias(model) -> torch.Tensor:
    return networks.load(model).module.features[0].bias.cpu()


def saved_bias(checkpoint: bytes) -> torch.Tensor:
    return torch.load(io.BytesIO(checkpoint), weights_only=True)["features.0.bias"]


# Downloads


def test_weights_are_downloaded_once(server, cache, checkpoint):
    name = named(checkpoint)
    server.files[f"/{name}"] = checkpoint
    model = downloaded(f"{server.url}/{name}")
    assert not model.ready
    assert torch.equal(first_bias(model), saved_bias(checkpoint))
    assert model.ready and [path.name for path in cache.iterdir()] == [name]
    assert (cache / name).read_bytes() == checkpoint
    model.weights.read()
    assert server.asked.count(f"GET /{name}") == 1


@pytest.mark.parametrize("fault", ["spoiled", "cut"])
def test_a_damaged_download_is_refused_and_not_kept(server, cache, checkpoint, fault):
    name = named(checkpoint, fault)
    server.files[f"/{name}"] = checkpoint
    getattr(server, fault).add(f"/{name}")
    model = downloaded(f"{server.url}/{name}")
    with pytest.raises(am.ModelError, match=rf"squeezenet1_1: the download of .*{name} broke off or was .*: try again"):
        networks.load(model)
    assert list(cache.iterdir()) == [] and not model.ready
    assert torch.equal(first_bias(model), saved_bias(checkpoint))


def test_a_download_without_a_digest_is_kept_only_if_it_is_whole(server, cache, checkpoint):
    server.files["/plain.pth"] = checkpoint
    server.cut.add("/plain.pth")
    model = downloaded(f"{server.url}/plain.pth")
    with pytest.raises(am.ModelError, match=r"plain\.pth cannot be read as a checkpoint"):
        networks.load(model)
    assert list(cache.iterdir()) == []
    assert torch.equal(first_bias(model), saved_bias(checkpoint))


def test_two_processes_download_a_file_at_once(server, cache, checkpoint):
    name = named(checkpoint, "twice")
    server.files[f"/{name}"] = checkpoint
    program = "import sys; from amulsearch.models.weights import Downloaded; Downloaded(sys.argv[1]).fetch()"
    command = [sys.executable, "-c", program, f"{server.url}/{name}"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0], [one.stderr.read() for one in both]
    assert (cache / name).read_bytes() == checkpoint and len(list(cache.iterdir())) == 1


def test_a_missing_file_is_told_with_what_to_do(server, cache):
    model = downloaded(f"{server.url}/absent-01234567.pth")
    with pytest.raises(am.ModelError) as told:
        networks.load(model)
    message = str(told.value)
    assert "the file absent-01234567.pth is not on this machine and could not be downloaded (Not Found)" in message
    assert f"download {server.url}/absent-01234567.pth and save it in {cache}" in message
    assert message.endswith(f"Ready on this machine: {', '.join(models.ready())}")
    assert set(models.BUNDLED) <= set(models.ready())
    assert list(cache.iterdir()) == []


def test_no_network(cache):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(am.ModelError, match=r"could not be downloaded \(.*refused.*\): download .* and save it"):
        networks.load(downloaded(f"http://127.0.0.1:{port}/absent-01234567.pth"))


def test_a_server_that_does_not_answer(cache, local_hub, monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/{filename}")
        started = time.monotonic()
        for source in (Downloaded(f"{url}/absent-01234567.pth"), HuggingFace("timm/absent")):
            with pytest.raises(am.ModelError, match=r"could not be downloaded \(.*timed out\): download .* and save"):
                source.fetch()
    assert time.monotonic() - started < 10 and socket.getdefaulttimeout() is None


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("words")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(am.ModelError, match=r"absent-01234567.pth is not on this machine .* save it in .*file/hub"):
        networks.load(downloaded("http://127.0.0.1:9/absent-01234567.pth"))


def test_a_file_put_in_place_by_hand(cache, checkpoint):
    cache.mkdir(parents=True)
    name = named(checkpoint)
    (cache / name).write_bytes(checkpoint)
    assert torch.equal(first_bias(downloaded(f"http://127.0.0.1:9/by-hand/{name}")), saved_bias(checkpoint))
    wrong = "squeezenet1_1-01234567.pth"
    (cache / wrong).write_bytes(checkpoint)
    with pytest.raises(am.ModelError, match=rf"{wrong} is damaged or not the expected .* not 01234567; delete it"):
        networks.load(downloaded(f"http://127.0.0.1:9/{wrong}"))


def test_the_cache_folder_is_torch_s(monkeypatch):
    for variables in ({}, {"XDG_CACHE_HOME": "/somewhere"}, {"TORCH_HOME": "~/torch", "XDG_CACHE_HOME": "/somewhere"}):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert weights.cache_folder() == Path(torch.hub.get_dir()).expanduser() / "checkpoints"


@pytest.mark.parametrize("links", [True, False])
def test_the_folder_of_weights_is_used_wherever_it_is_copied(
    server, local_hub, checkpoint, timm_files, tmp_path, monkeypatch, links
):
    """With its links, or with files in their place: found without a connection, and verified."""
    name, file = "test_resnet.r160_in1k", named(checkpoint, "travels")
    server.files |= {f"/timm/{name}/resolve/main/model.safetensors": timm_files[name], f"/{file}": checkpoint}
    sources = Downloaded(f"{server.url}/{file}"), HuggingFace(f"timm/{name}")
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(here))
    assert [source.find() for source in sources] == [None, None]
    before = [source.read() for source in sources]
    assert {file, f"models--timm--{name}"} <= {path.name for path in here.iterdir()}
    assert not (tmp_path / "torch").exists() and not (tmp_path / "hub").exists()
    shutil.copytree(here, there, symlinks=links)
    shutil.rmtree(here)
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(there))
    asked = len(server.asked)
    for source, state in zip(sources, before, strict=True):
        again = source.read()
        assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)
        data = source.find().read_bytes()
        source.find().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(am.ModelError, match="is damaged or not the expected file"):
            source.read()
    assert len(server.asked) == asked
    for source in (Downloaded("http://127.0.0.1:9/absent-01234567.pth"), HuggingFace("timm/absent-01234567")):
        with pytest.raises(am.ModelError, match=rf"absent-01234567\.(pth|safetensors)( and save it)? in {there}$"):
            source.read()


def test_the_table_of_files_is_that_of_the_networks():
    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    for name in (*models.BLOG, *models.MODERN):
        source = models.get(name).weights
        file = source.file if isinstance(source, Downloaded) else f"models--{source.repository.replace('/', '--')}"
        assert f"| `{name}` | `{file}` |" in text


# Packages


def test_weights_in_a_package():
    source = models.get("squeezenet1_1").weights
    assert hashlib.sha256(source.find().read_bytes()).hexdigest() == source.sha256
    with pytest.raises(am.ModelError, match=r"is damaged or not the expected file: .*; reinstall ndf"):
        dataclasses.replace(source, sha256="0" * 64).read()
    absent = Packaged("no_such_package", "no-such-package", "weights.pth", "0" * 64)
    assert absent.find() is None
    with pytest.raises(am.ModelError, match="in the package no-such-package: pip install no-such-package"):
        absent.read()


def test_a_checkpoint_without_permission(open_folder, without_root, checkpoint):
    path = open_folder / "secret.pth"
    path.write_bytes(checkpoint)
    path.chmod(0)
    source = OwnFile(str(path))
    with without_root():
        with pytest.raises(am.ModelError, match=r"secret\.pth cannot be read: Permission denied"):
            source.identity
        with pytest.raises(am.ModelError, match=r"secret\.pth .*Permission denied"):
            source.read()


# Files that try to run code


@pytest.fixture
def malicious(tmp_path):
    """An object whose pickle makes a folder when loaded unsafely, and a function that tells whether it did."""
    mark = tmp_path / "it ran"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    def ran() -> bool:
        there = mark.exists()
        if there:
            mark.rmdir()
        return there

    pickle.loads(pickle.dumps(Payload()))
    assert ran()  # the payload works
    return Payload(), ran


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("wrapping", ["alone", "among tensors", "in a state dict"])
@pytest.mark.parametrize("container", ["zip", "legacy", "plain pickle"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_no_checkpoint_can_run_code(tmp_path, malicious, cache, wrapping, container, ending):
    payload, ran = malicious
    content = {
        "alone": payload,
        "among tensors": {"features.0.bias": torch.zeros(64), "more": payload},
        "in a state dict": {"state_dict": payload},
    }[wrapping]
    own = tmp_path / f"malicious.{ending}"
    if container == "plain pickle":
        own.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, own, _use_new_zipfile_serialization=container == "zip")
    cache.mkdir(parents=True)
    (cache / named(own.read_bytes())).write_bytes(own.read_bytes())
    (cache / "malicious.safetensors").write_bytes(own.read_bytes())
    for source in (
        OwnFile(str(own)),
        Downloaded(f"http://127.0.0.1:9/{named(own.read_bytes())}"),
        HuggingFace("someone/malicious"),
    ):
        model = dataclasses.replace(models.get("squeezenet1_1"), weights=source, rename=None)
        with pytest.raises(am.ModelError, match=r"holds more than tensors, and was not|cannot be read as a checkpoint"):
            networks.load(model)
        assert not ran()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_of_arrays_can_run_code(tmp_path, malicious, protocol):
    payload, ran = malicious
    path = tmp_path / "malicious.pkl"
    for content in (payload, {"conv1": [payload]}):
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(am.ModelError, match=r"was not opened: it refers to (posix|nt|os)\.mkdir"):
            weights.read_pickled_arrays(path)
        assert not ran()
    # A way around the list of allowed names: an attribute of one that is allowed.
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(am.ModelError, match=r"it refers to numpy\.ndarray\.tofile"):
        weights.read_pickled_arrays(path)


# What a fingerprint says of weights


def test_a_name_with_digits_needs_no_file_to_say_which_weights(cache):
    first, second = (Downloaded(f"http://127.0.0.1:9/net-{digits}.pth").identity for digits in ("01234567", "89abcdef"))
    assert first != second and not cache.exists()


@pytest.mark.parametrize("source", [Downloaded("http://127.0.0.1:9/net.pth"), HuggingFace("someone/net")])
def test_other_weights_under_the_same_name_are_told_apart(cache, checkpoint, source):
    cache.mkdir(parents=True)
    path, seen = cache / source.file, []
    for data in (checkpoint, checkpoint + b" ", checkpoint):
        path.write_bytes(data)
        seen.append(source.identity)
    shas = [hashlib.sha256(data).hexdigest() for data in (checkpoint, checkpoint + b" ")]
    assert seen == [f"sha256:{sha}" for sha in (*shas, shas[0])]


def test_features_and_indexes_know_the_weights_of_timm(cache, timm_files, small_folder, tmp_path):
    name = "test_resnet.r160_in1k"
    collection = am.Collection.from_folder(small_folder, progress=False)[:4]
    cache.mkdir(parents=True)
    path, made = cache / f"{name}.safetensors", []
    for factor in (1, 2):
        path.write_bytes(scaled(timm_files[name], factor))
        for expected in (4, 0):
            features = am.extract(collection, f"timm/{name}", "logits", store=tmp_path / "store", progress=False)
            assert features.extracted == expected
        made.append(features[f"timm/{name}", "logits"])
    assert made[0].fingerprint["weights"] != made[1].fingerprint["weights"]
    assert np.abs(made[0].vectors - made[1].vectors).max() > 1e-3
    old, new = (am.ExactIndex.build(one) for one in made)
    picture = collection.open(collection.ids[0])
    assert new.query(picture, k=1)["id"][0] == collection.ids[0]
    with pytest.raises(am.QueryError, match="made with other weights or preprocessing of timm/test_resnet"):
        old.query(picture, k=1)


def scaled(file: bytes, factor: float) -> bytes:
    """The file with all its weights multiplied."""
    from safetensors.torch import load, save

    return save({name: value * factor for name, value in load(file).items()})


# Networks of timm, from a local hub

HUB_PROGRAM = """
import json
from pathlib import Path
import amulsearch as am
from amulsearch.models import network as networks

def load(name):
    model = am.models.get("timm/" + name)
    said = {"ready before": model.ready, "identity": None}
    try:
        module = networks.load(model).module
        said["sum"] = sum(value.double().sum().item() for value in module.state_dict().values())
        said["identity"] = model.describe()["weights"]
    except am.AmulsearchError as error:
        said["error"] = str(error)
    return said | {"ready after": model.ready}

names = "test_resnet.r160_in1k", "test_vit.r160_in1k", "test_efficientnet.r160_in1k", "test_convnext.r160_in1k"
said = {name: load(name) for name in names}
damaged = said[names[1]]["error"].split(": ")[1].removesuffix(" is damaged or not the expected file")
Path(damaged).unlink()
said["after deletion"] = load(names[1])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def timm_files() -> dict[str, bytes]:
    """name -> a file in the format of the hub, with random weights."""
    from safetensors.torch import save

    files = {}
    for name in ("test_resnet.r160_in1k", "test_vit.r160_in1k", "test_efficientnet.r160_in1k"):
        torch.manual_seed(3)
        state = models.get(f"timm/{name}").build().state_dict()
        files[name] = save({key: value.contiguous() for key, value in state.items()})
    return files


def total(file: bytes) -> float:
    from safetensors.torch import load

    return sum(value.double().sum().item() for value in load(file).values())


@pytest.fixture(scope="module")
def hub(server, timm_files, tmp_path_factory):
    """Output of a process that loads four files: an intact one, one damaged in transit, one put in place by hand, and
    one that does not exist; then the damaged one again, after it was deleted."""
    home = tmp_path_factory.mktemp("hub")
    by_hand = home / "torch" / "hub" / "checkpoints"
    by_hand.mkdir(parents=True)
    resnet, vit, efficientnet = timm_files
    for name in (resnet, vit):
        server.files[f"/timm/{name}/resolve/main/model.safetensors"] = timm_files[name]
    server.spoiled.add(f"/timm/{vit}/resolve/main/model.safetensors")
    (by_hand / f"{efficientnet}.safetensors").write_bytes(timm_files[efficientnet])
    environment = {**os.environ, "HF_HOME": str(home / "hf"), "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"TORCH_HOME": str(home / "torch"), "no_proxy": "127.0.0.1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", HUB_PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return by_hand, json.loads(done.stdout.splitlines()[-1]), environment


def loaded(file: bytes, ready_before: bool) -> dict:
    from safetensors.torch import load

    total = sum(value.double().sum().item() for value in load(file).values())
    identity = f"sha256:{hashlib.sha256(file).hexdigest()}"
    return {"ready before": ready_before, "identity": identity, "sum": pytest.approx(total), "ready after": True}


def test_timm_s_weights_come_from_the_hub(hub, timm_files):
    _, said, environment = hub
    name = "test_resnet.r160_in1k"
    assert said[name] == loaded(timm_files[name], False)
    # Once the file is here, the fingerprint needs no network.
    program = f"import amulsearch as am; print(am.models.get('timm/{name}').describe()['weights'])"
    environment = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == said[name]["identity"]


def test_a_file_of_the_hub_that_was_damaged_is_refused_until_it_is_deleted(hub, timm_files):
    _, said, _ = hub
    error = said["test_vit.r160_in1k"]["error"]
    assert "is damaged or not the expected file" in error and "delete it, and it will be downloaded again" in error
    assert said["after deletion"] == loaded(timm_files["test_vit.r160_in1k"], False)


def test_a_file_of_timm_put_in_place_by_hand(hub, timm_files):
    _, said, _ = hub
    name = "test_efficientnet.r160_in1k"
    assert said[name] == loaded(timm_files[name], True)


def test_a_file_that_the_hub_cannot_give(hub, server):
    folder, said, _ = hub
    name = "test_convnext.r160_in1k"
    error = said[name]["error"]
    assert f"the weights timm/{name} are not on this machine and could not be downloaded (" in error
    assert f"download {server.url}/timm/{name}/resolve/main/model.safetensors and save it as" in error
    assert f"{name}.safetensors in {folder}. Ready on this machine: squeezenet1_1" in error
    assert "\n" not in error and said[name]["ready after"] is False
