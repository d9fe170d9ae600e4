"""Weights that travel in one file: from a machine that has them to one that can download nothing."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch

import amulsearch as am
from amulsearch import models
from amulsearch.models import weights

TIMM = "timm/test_efficientnet.r160_in1k"
URL = "http://127.0.0.1:9/models"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """File name -> checkpoint: one of torchvision's kind, one of timm's, with random weights."""
    from safetensors.torch import save

    torch.manual_seed(4)
    file = io.BytesIO()
    torch.save(models.get("alexnet").build().state_dict(), file)
    state = models.get(TIMM).build().state_dict()
    return {
        models.get("alexnet").weights.file: file.getvalue(),
        "test_efficientnet.r160_in1k.safetensors": save({name: value.contiguous() for name, value in state.items()}),
    }


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes a machine with an empty or a filled cache folder the one that is used."""

    def use(name: str, filled: dict[str, bytes] | None = None):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / name))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / name / "hub"))
        folder = weights.cache_folder()
        for file, data in (filled or {}).items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        return folder

    return use


@pytest.fixture(autouse=True)
def any_digest(monkeypatch):
    """alexnet's random weights have another digest than the name of the file says."""
    monkeypatch.setattr(weights.Downloaded, "sha256", "")


def test_weights_travel_to_a_machine_without_a_connection(machine, files, tmp_path):
    machine("here", files)
    listed = models.export_weights(f"{TIMM},alexnet", tmp_path / "weights.zip", progress=False)
    assert [entry["model"] for entry in listed] == [TIMM, "alexnet"]
    for entry in listed:
        assert entry["sha256"] == hashlib.sha256(files[entry["file"]]).hexdigest()
        assert entry["bytes"] == len(files[entry["file"]]) and entry["licence"]
    with zipfile.ZipFile(tmp_path / "weights.zip") as archive:
        assert json.loads(archive.read("manifest.json"))["weights"] == listed
    there = machine("there")
    assert not models.get(TIMM).ready and not models.get("alexnet").ready
    assert models.import_weights(tmp_path / "weights.zip", progress=False) == listed
    assert {path.name: path.read_bytes() for path in there.iterdir()} == files
    assert models.get(TIMM).ready and models.get("alexnet").ready
    network = models.load(TIMM)
    assert network(network.blank(), ["logits"])["logits"].shape == (1, 1000)
    assert models.import_weights(tmp_path / "weights.zip", progress=False) == listed  # once more changes nothing


def test_the_command_line_imports_offline(machine, files, tmp_path, small_folder):
    machine("here", files)
    done = {}
    for name, command in {
        "export": ["weights", "export", TIMM, str(tmp_path / "w.zip")],
        "import": ["weights", "import", str(tmp_path / "w.zip")],
        "index": ["index", str(small_folder), "--store", str(tmp_path / "store"), "--models", TIMM],
    }.items():
        if name == "import":
            machine("there")
        environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path / "xdg")}
        done[name] = subprocess.run(
            [sys.executable, "-m", "amulsearch", *command], capture_output=True, text=True, env=environment
        )
        assert done[name].returncode == 0, done[name].stderr
    assert done["export"].stdout == done["import"].stdout
    assert done["import"].stdout.startswith(f"{TIMM}  test_efficientnet.r160_in1k.safetensors  ")
    assert "pictures" in done["index"].stdout


def test_a_flipped_byte_is_refused(machine, files, tmp_path):
    machine("here", files)
    models.export_weights(TIMM, tmp_path / "w.zip", progress=False)
    whole = (tmp_path / "w.zip").read_bytes()
    for place in (60, 5000, len(whole) // 2):  # in the manifest and in the weights
        there = machine(f"there{place}")
        (tmp_path / "flipped.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(am.ModelError, match=r"flipped.zip is damaged or not a file of weights .*: export it again"):
            models.import_weights(tmp_path / "flipped.zip", progress=False)
        assert not there.exists() or not list(there.iterdir())


def test_a_manifest_that_lies_is_refused(machine, files, tmp_path):
    """A flipped byte whose CRC was made to fit, and a name that leads out of the folder."""
    machine("here", files)
    models.export_weights(TIMM, tmp_path / "w.zip", progress=False)
    with zipfile.ZipFile(tmp_path / "w.zip") as archive:
        manifest, [name] = json.loads(archive.read("manifest.json")), archive.namelist()[1:]
        data = archive.read(name)

    def refused(manifest: dict, name: str, data: bytes, match: str) -> None:
        there = machine("there")
        with zipfile.ZipFile(tmp_path / "lying.zip", "w") as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
            archive.writestr(name, data)
        with pytest.raises(am.ModelError, match=match):
            models.import_weights(tmp_path / "lying.zip", progress=False)
        assert not there.exists() or not list(there.iterdir())

    refused(manifest, name, data[:-1] + bytes([data[-1] ^ 1]), rf"the SHA-256 of {name} is not that of the manifest")
    for outside in ("../outside.pth", "/outside.pth", ".hidden", ""):
        refused({"weights": [{**manifest["weights"][0], "file": outside}]}, "x", data, "manifest has an unknown form")
    refused({"weights": [{"file": name}]}, name, data, "manifest has an unknown form")
    refused({}, name, data, "is damaged or not a file of weights")
    assert not (tmp_path / "outside.pth").exists()


def test_what_cannot_travel_is_told(machine, files, tmp_path):
    folder = machine("here", files)
    for wanted, target, error in (
        ("bundled", "w.zip", "nothing to export: the weights of these networks are in packages"),
        ("nonesuch", "w.zip", "there is no network 'nonesuch'"),
        (TIMM, "none/w.zip", "w.zip cannot be written: No such file"),
        ("resnet18", "w.zip", "could not be downloaded"),
    ):
        with pytest.raises(am.AmulsearchError, match=error):
            if wanted == "resnet18":
                wanted = [models.get("alexnet"), am.models.get("resnet18")]
                (folder / models.get("alexnet").weights.file).unlink()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("AMULSEARCH_MIRROR", URL)
                    models.export_weights(wanted, tmp_path / target, progress=False)
            models.export_weights(wanted, tmp_path / target, progress=False)
        assert not (tmp_path / "w.zip").exists()
    for name, data in (("text.zip", b"not an archive"), ("empty.zip", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(am.ModelError, match="damaged or not a file of weights"):
            models.import_weights(tmp_path / name, progress=False)
    with pytest.raises(am.ModelError, match=r"none.zip: No such file"):
        models.import_weights(tmp_path / "none.zip", progress=False)
    models.export_weights(TIMM, tmp_path / "w.zip", progress=False)
    there = machine("there", {"test_efficientnet.r160_in1k.safetensors": b"other"})
    with pytest.raises(am.ModelError, match="is there already and holds other weights: move it away first"):
        models.import_weights(tmp_path / "w.zip", progress=False)
    assert [path.read_bytes() for path in there.iterdir()] == [b"other"]
