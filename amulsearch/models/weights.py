"""Where a network's weights come from, and how they are read: nothing in a weights file is ever executed.

Three kinds: `Packaged` (a file inside an installed Python package), `Downloaded` (a file in torch's cache folder,
fetched when missing) and `OwnFile` (a checkpoint of the user's own). Each has `find`, `fetch`, `identity`, `read`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..errors import ModelError, first_line
from .checkpoints import check_digest, digest, read_checkpoint, read_pickled_arrays


@dataclass(frozen=True)
class Packaged:
    """A weights file that an installed package carries.

    package: the name to import; distribution: the name to install; file: path inside the package.
    """

    package: str
    distribution: str
    file: str
    sha256: str

    @property
    def identity(self) -> str:
        return f"sha256:{self.sha256}"

    def find(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.file
        return path if path.is_file() else None

    def fetch(self) -> Path:
        path = self.find()
        if path is None:
            raise ModelError(f"the weights are in the package {self.distribution}: pip install {self.distribution}")
        return path

    def read(self) -> dict:
        path = self.fetch()
        check_digest(path, self.sha256, f"install {self.distribution} again")
        return read_pickled_arrays(path) if path.suffix == ".pkl" else read_checkpoint(path)


@dataclass(frozen=True)
class Downloaded:
    """A file that is downloaded once into `cache_folder()`; its name ends in the start of its SHA-256.

    The convention `NAME-<first 8 or more digits>.pth` is torch's own (torch.hub.load_state_dict_from_url).
    """

    url: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def identity(self) -> str:
        return self.file

    @property
    def sha256(self) -> str:
        """The first digits of the digest, as the file's name tells them; empty where it does not."""
        found = re.search(r"-([0-9a-f]{8,64})\.", self.file)
        return found.group(1) if found else ""

    def find(self) -> Path | None:
        path = cache_folder() / self.file
        return path if path.is_file() else None

    def fetch(self) -> Path:
        path = self.find()
        if path is not None:
            return path
        import torch

        path = cache_folder() / self.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _patience(20):
                # Shows a progress bar; writes to a temporary name; keeps the file only if its digest is right.
                torch.hub.download_url_to_file(self.url, str(path), self.sha256 or None, progress=True)
        except RuntimeError as error:
            raise ModelError(f"the download of {self.url} was damaged on its way ({error}): try again") from None
        except (OSError, HTTPException) as error:  # all that urllib raises
            raise ModelError(
                f"the file {self.file} is not on this machine and could not be downloaded "
                f"({getattr(error, 'reason', error)}): get it from {self.url} and put it into {path.parent}"
            ) from None
        return path

    def read(self) -> dict:
        path = self.fetch()
        check_digest(path, self.sha256)
        return read_checkpoint(path)


@dataclass(frozen=True)
class HuggingFace:
    """The file `model.safetensors` of a repository on the Hugging Face hub, in the hub's own cache.

    A file named `NAME.safetensors` in `cache_folder()`, put there by hand, is taken first.
    """

    repository: str

    @property
    def file(self) -> str:
        return self.repository.rpartition("/")[2] + ".safetensors"

    @property
    def identity(self) -> str:
        return f"hf:{self.repository}"

    def find(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        by_hand = cache_folder() / self.file
        if by_hand.is_file():
            return by_hand
        cached = try_to_load_from_cache(self.repository, "model.safetensors")
        return Path(cached) if isinstance(cached, str) else None

    def fetch(self) -> Path:
        path = self.find()
        if path is not None:
            return path
        from huggingface_hub import constants, hf_hub_download

        try:
            return Path(hf_hub_download(self.repository, "model.safetensors", etag_timeout=20))
        except Exception as error:  # the hub's client raises its own, requests' and httpx's errors
            raise ModelError(
                f"the weights {self.repository} are not on this machine and could not be downloaded "
                f"({first_line(error)}): get "
                f"{constants.ENDPOINT}/{self.repository}/resolve/main/model.safetensors and put it as "
                f"{self.file} into {cache_folder()}"
            ) from None

    def read(self) -> dict:
        path = self.fetch()
        blob = path.resolve()  # in the hub's cache, a link to a file that is named by its SHA-256
        if re.fullmatch(r"[0-9a-f]{64}", blob.name):
            check_digest(blob, blob.name)
        return read_checkpoint(path)


@dataclass(frozen=True)
class OwnFile:
    """A checkpoint of the user's own: a state dict saved by torch, or a .safetensors file."""

    path: str

    @property
    def identity(self) -> str:
        return f"sha256:{digest(self.fetch())}"

    def find(self) -> Path | None:
        path = Path(self.path).expanduser()
        return path if path.is_file() else None

    def fetch(self) -> Path:
        path = self.find()
        if path is None:
            raise ModelError(f"there is no checkpoint {self.path}")
        return path

    def read(self) -> dict:
        return read_checkpoint(self.fetch())


@dataclass(frozen=True)
class InMemory:
    """The weights that a module of the user's own already has."""

    identity: str

    def find(self) -> Path:
        return Path()

    def read(self) -> None:
        return None


def cache_folder() -> Path:
    """Where torch keeps downloaded checkpoints: $TORCH_HOME/hub/checkpoints, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(base, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


@contextmanager
def _patience(seconds: float):
    """Give up on a silent network after `seconds`; urllib waits for ever by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
