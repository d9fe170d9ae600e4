"""Weights: downloaded from a local server, damaged, copied to another machine, or malicious."""

import dataclasses
import hashlib
import io
import pickle
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch import models
from amulsearch.models import weights
from amulsearch.models.weights import Downloaded, HuggingFace, Packaged

NOWHERE = "http://127.0.0.1:9"
TIMM = "test_resnet.r160_in1k"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    torch.save({"bias": torch.arange(1000.0)}, file := io.BytesIO())
    return file.getvalue()


@pytest.fixture(scope="module")
def timm_file() -> bytes:
    """A file in the format of the hub, with random weights."""
    from safetensors.torch import save

    torch.manual_seed(3)
    state = models.get(f"timm/{TIMM}").build().state_dict()
    return save({key: value.contiguous() for key, value in state.items()})


def named(data: bytes, name: str = "net") -> str:
    return f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def spoil(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def same(state: dict, other: dict) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


# Downloads


def test_weights_are_downloaded_once(server, cache, checkpoint):
    name = named(checkpoint)
    server.files[f"/{name}"] = checkpoint
    source = Downloaded(f"{server.url}/{name}")
    assert source.find() is None
    assert source.read()["bias"].tolist() == list(range(1000)) == source.read()["bias"].tolist()
    assert [path.name for path in cache.iterdir()] == [name] and source.find().read_bytes() == checkpoint
    assert server.asked.count(f"GET /{name}") == 1


@pytest.mark.parametrize("fault", ["spoiled", "cut"])
def test_a_damaged_download_is_refused_and_not_kept(server, cache, checkpoint, fault):
    name = named(checkpoint, fault)
    server.files[f"/{name}"] = checkpoint
    getattr(server, fault).add(f"/{name}")
    source = Downloaded(f"{server.url}/{name}")
    with pytest.raises(am.errors.ModelError, match=rf"{name} is not on this machine .*downloaded \(invalid hash"):
        source.read()
    assert list(cache.iterdir()) == [] and source.find() is None
    assert source.read()


def test_a_missing_file_is_told_with_what_to_do(server, cache):
    source = Downloaded(f"{server.url}/absent-01234567.pth")
    model = dataclasses.replace(models.get("squeezenet1_1"), weights=source)
    with pytest.raises(am.errors.ModelError) as error:
        models.load(model)
    missing = (
        "the file absent-01234567.pth is not on this machine and could not be downloaded (HTTP Error 404: Not Found)"
    )
    remedy = f"download {source.url} and save it in {cache}"
    assert str(error.value) == f"squeezenet1_1: {missing}: {remedy}"
    assert list(cache.iterdir()) == []
    with pytest.raises(am.errors.ModelError, match=r"could not be downloaded \(.*refused.*\): download .* and save it"):
        Downloaded(f"{NOWHERE}/absent-01234567.pth").read()


def test_a_server_that_does_not_answer(cache, local_hub, monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/{filename}")
        started = time.monotonic()
        for source in (Downloaded(f"{url}/absent-01234567.pth"), HuggingFace("timm/absent")):
            with pytest.raises(am.errors.ModelError, match=r"could not be downloaded \(.*timed out.*\): "):
                source.fetch()
    assert time.monotonic() - started < 10 and socket.getdefaulttimeout() is None


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("words")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(
        am.errors.ModelError, match=r"absent-01234567.pth is not on this machine .* save it in .*file/hub"
    ):
        Downloaded(f"{NOWHERE}/absent-01234567.pth").read()


def test_a_file_put_in_place_by_hand(cache, checkpoint):
    cache.mkdir(parents=True)
    for name in (named(checkpoint), "net-01234567.pth"):
        (cache / name).write_bytes(checkpoint)
    assert Downloaded(f"{NOWHERE}/{named(checkpoint)}").read()
    with pytest.raises(
        am.errors.ModelError, match=r"net-01234567.pth is damaged or not the expected .* not 01234567; delete"
    ):
        Downloaded(f"{NOWHERE}/net-01234567.pth").read()


@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "/there"}, {"TORCH_HOME": "~/t", "XDG_CACHE_HOME": "/x"}])
def test_the_cache_folder_is_torch_s(monkeypatch, variables):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights.cache_folder() == Path(torch.hub.get_dir()).expanduser() / "checkpoints"


def test_a_file_of_the_hub_is_fetched_once_and_verified(server, local_hub, timm_file):
    address = f"/timm/{TIMM}/resolve/main/model.safetensors"
    server.files[address] = timm_file
    server.spoiled.add(address)
    source = models.get(f"timm/{TIMM}").weights
    with pytest.raises(
        am.errors.ModelError, match=r"is damaged or not the expected .* delete it, and it will be downloaded"
    ):
        source.read()
    source.find().resolve().unlink()
    assert models.load(f"timm/{TIMM}") and source.find().read_bytes() == timm_file
    requests = len(server.asked)
    assert source.identity == f"sha256:{hashlib.sha256(timm_file).hexdigest()}" and source.read()
    assert len(server.asked) == requests  # what is here needs no connection


def test_a_file_that_the_hub_cannot_give(server, local_hub, tmp_path):
    model = models.get("timm/test_convnext.r160_in1k")
    with pytest.raises(am.errors.ModelError) as error:
        models.load(model)
    message = str(error.value)
    assert "the weights timm/test_convnext.r160_in1k are not on this machine and could not be downloaded (" in message
    assert f"load them on a machine with a connection to {server.url}, and copy" in message
    assert f"the folder models--timm--test_convnext.r160_in1k of its cache to {tmp_path / 'hub'}" in message
    assert "\n" not in message and not model.ready


@pytest.mark.parametrize("links", [True, False])
def test_the_folder_of_weights_is_used_wherever_it_is_copied(
    server, local_hub, checkpoint, timm_file, tmp_path, monkeypatch, links
):
    """With its links, or with files in their place: found without a connection, and verified."""
    file = named(checkpoint, "travels")
    server.files |= {f"/timm/{TIMM}/resolve/main/model.safetensors": timm_file, f"/{file}": checkpoint}
    sources = Downloaded(f"{server.url}/{file}"), HuggingFace(f"timm/{TIMM}")
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(here))
    assert [source.find() for source in sources] == [None, None]
    before = [source.read() for source in sources]
    assert {source.file for source in sources} <= {path.name for path in here.iterdir()}
    assert not (tmp_path / "torch").exists() and not (tmp_path / "hub").exists()
    shutil.copytree(here, there, symlinks=links)
    shutil.rmtree(here)
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(there))
    requests = len(server.asked)
    for source, state in zip(sources, before, strict=True):
        assert same(source.read(), state)
        spoil(source.find())
        with pytest.raises(am.errors.ModelError, match="is damaged or not the expected file"):
            source.read()
    assert len(server.asked) == requests
    for source in (Downloaded(f"{NOWHERE}/absent-01234567.pth"), HuggingFace("timm/absent")):
        with pytest.raises(am.errors.ModelError, match=rf"(save it in|of its cache to) {there}$"):
            source.read()


def test_the_table_of_files_is_that_of_the_networks():
    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    for name in (*models.BLOG, *models.MODERN):
        assert f"| `{name}` | `{models.get(name).weights.file}` |" in text


def test_weights_in_a_package():
    source = models.get("squeezenet1_1").weights
    assert hashlib.sha256(source.find().read_bytes()).hexdigest() == source.sha256
    with pytest.raises(am.errors.ModelError, match=r"is damaged or not the expected file: .*; reinstall ndf"):
        dataclasses.replace(source, sha256="0" * 64).read()
    absent = Packaged("no_such_package", "weights.pth", "0" * 64)
    assert absent.find() is None
    with pytest.raises(am.errors.ModelError, match="in the package no_such_package: pip install no_such_package"):
        absent.read()


def test_a_file_without_permission(open_folder, without_root, checkpoint, monkeypatch):
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(open_folder))
    (path := open_folder / named(checkpoint)).write_bytes(checkpoint)
    path.chmod(0)
    with without_root(), pytest.raises(am.errors.ModelError, match=rf"{path.name} cannot be read: Permission denied"):
        Downloaded(f"{NOWHERE}/{path.name}").read()


UNFIT = {
    "wrong shape": ({"features.0.weight": torch.zeros(64, 2, 3, 3)}, "does not fit this architecture.*features.0"),
    "too much": ({"features.99.bias": torch.zeros(3)}, "does not fit .*Unexpected key"),
    "NaN": ({"features.0.bias": torch.full((64,), torch.nan)}, "holds NaN or infinite values in features.0.bias"),
    "infinite": ({"classifier.1.bias": torch.full((1000,), torch.inf)}, "NaN or infinite values in classifier.1.bias"),
    "missing": (None, "does not fit .*Missing key"),
    "a list": ([torch.zeros(3)], "does not fit"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_weights_that_do_not_fit_are_refused(kind, cache):
    changed, message = UNFIT[kind]
    model = models.get("squeezenet1_1")
    content = {**model.build().state_dict(), **changed} if isinstance(changed, dict) else changed or {}
    torch.save(content, file := io.BytesIO())
    cache.mkdir(parents=True)
    (cache / named(file.getvalue())).write_bytes(file.getvalue())
    source = Downloaded(f"{NOWHERE}/{named(file.getvalue())}")
    with pytest.raises(am.errors.ModelError, match=f"squeezenet1_1: .*{message}"):
        models.load(dataclasses.replace(model, weights=source, rename=None))


# Files that try to run code


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("wrapping", ["alone", "among tensors", "in a state dict"])
@pytest.mark.parametrize("container", ["zip", "legacy", "plain pickle"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_no_checkpoint_can_run_code(malicious, cache, wrapping, container, ending):
    payload, ran = malicious
    content = {
        "alone": payload,
        "among tensors": {"features.0.bias": torch.zeros(64), "more": payload},
        "in a state dict": {"state_dict": payload},
    }[wrapping]
    path = cache / f"malicious.{ending}"
    cache.mkdir(parents=True)
    if container == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    path = path.rename(cache / named(path.read_bytes()).replace("pth", ending))
    with pytest.raises(am.errors.ModelError, match="is no checkpoint of tensors and was not opened"):
        Downloaded(f"{NOWHERE}/{path.name}").read()
    assert not ran()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_of_arrays_can_run_code(tmp_path, malicious, protocol):
    payload, ran = malicious
    path = tmp_path / "malicious.pkl"
    for content in (payload, {"conv1": [payload]}):
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(am.errors.ModelError, match=r"was not opened: it refers to (posix|nt|os)\.mkdir"):
            weights.read_pickled_arrays(path)
        assert not ran()
    # A way around the list of allowed names: an attribute of one that is allowed.
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(am.errors.ModelError, match=r"it refers to numpy\.ndarray\.tofile"):
        weights.read_pickled_arrays(path)


# What a fingerprint says of weights


def test_the_name_of_a_download_says_which_weights_before_it_is_here(cache):
    first, second = (Downloaded(f"{NOWHERE}/net-{digits}.pth").identity for digits in ("01234567", "89abcdef"))
    assert first != second and not cache.exists()


def test_features_and_indexes_know_the_weights_of_timm(timm_file, in_hub_cache, small_folder, tmp_path, monkeypatch):
    """The hub may give another file under the same name."""
    from safetensors.torch import load, save

    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(tmp_path))
    collection, made = am.Collection.from_folder(small_folder, progress=False)[:4], []
    for factor in (1, 2):
        scaled = save({name: value * factor for name, value in load(timm_file).items()})
        in_hub_cache(tmp_path, models.get(f"timm/{TIMM}").weights).write_bytes(scaled)
        for expected in (4, 0):
            features = am.extract(collection, f"timm/{TIMM}", "logits", store=tmp_path / "store", progress=False)
            assert features.extracted == expected
        made.append(features[f"timm/{TIMM}", "logits"])
        assert made[-1].fingerprint["weights"] == f"sha256:{hashlib.sha256(scaled).hexdigest()}"
    assert np.abs(made[0].vectors - made[1].vectors).max() > 1e-3
    old, new = (am.ExactIndex.build(features) for features in made)
    picture = collection.open(collection.ids[0])
    assert new.query(picture, k=1)["id"][0] == collection.ids[0]
    with pytest.raises(am.errors.QueryError, match="made with other weights or preprocessing of timm/test_resnet"):
        old.query(picture, k=1)
