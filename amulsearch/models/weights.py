"""Where a network's weights come from: a package, a download, the Hugging Face hub, or memory.

`find` returns the path of the file, or None; `fetch` downloads it if it is missing; `read` returns the verified state
dict. `identity` says in a fingerprint which weights these are, by what the file holds. Downloads lie in the folder that
the environment variable AMULSEARCH_WEIGHTS names; if it is not set, in the usual caches of torch and of the hub.
"""

import importlib.util
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError, check_path, first_line
from .checkpoints import check_digest, digest, read_checkpoint, read_pickled_arrays

TIMEOUT = 20
"""Seconds without an answer after which a server counts as unreachable."""


def weights_folder() -> Path | None:
    """The folder that AMULSEARCH_WEIGHTS names; None if it is not set."""
    name = os.environ.get("AMULSEARCH_WEIGHTS")
    return check_path(name, "AMULSEARCH_WEIGHTS") if name else None


def cache_folder() -> Path:
    """The chosen folder, or else that of torch: $TORCH_HOME/hub/checkpoints, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME", os.path.join(base, "torch"))
    return weights_folder() or Path(home).expanduser() / "hub" / "checkpoints"


@dataclass(frozen=True)
class Packaged:
    """A file inside an installed package."""

    package: str
    file: str
    sha256: str

    @property
    def identity(self) -> str:
        return f"sha256:{self.sha256}"

    def find(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        path = Path(spec.origin).parent / self.file if spec else Path()
        return path if path.is_file() else None

    def read(self) -> dict:
        path = self.find()
        if path is None:
            raise ModelError(f"the weights are in the package {self.package}: pip install {self.package}")
        check_digest(path, self.sha256, f"reinstall {self.package}")
        return read_pickled_arrays(path) if path.suffix == ".pkl" else read_checkpoint(path)


@dataclass(frozen=True)
class Downloaded:
    """A file that is downloaded once into `cache_folder()`, by its address.

    Its name follows torch's convention `NAME-<first 8 or more digits of its SHA-256>.pth`, and is its identity.
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
        """The first digits of the digest."""
        return re.search(r"-([0-9a-f]{8,64})\.", self.file).group(1)

    def find(self) -> Path | None:
        path = cache_folder() / self.file
        return path if path.is_file() else None

    def fetch(self) -> Path:
        path = cache_folder() / self.file
        if path.is_file():
            return path
        from torch.hub import download_url_to_file

        before = socket.getdefaulttimeout()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            socket.setdefaulttimeout(TIMEOUT)  # torch sets none
            download_url_to_file(self.url, str(path), self.sha256, progress=sys.stderr.isatty())
        except Exception as error:  # of urllib; RuntimeError for another digest, of which torch keeps nothing
            what = f"the file {self.file} is not on this machine and could not be downloaded ({first_line(error)})"
            raise ModelError(f"{what}: download {self.url} and save it in {path.parent}") from None
        finally:
            socket.setdefaulttimeout(before)
        return path

    def read(self) -> dict:
        path = self.fetch()
        check_digest(path, self.sha256)
        return read_checkpoint(path)


@dataclass(frozen=True)
class HuggingFace:
    """A file of a repository on the Hugging Face hub, in the cache of the hub's client, and perhaps its configuration.

    The hub may replace a file under the same name, so the SHA-256 of the files on this machine say which weights these
    are.
    """

    repository: str
    name: str = "model.safetensors"
    config: str | None = None

    @property
    def file(self) -> str:
        """The folder of the repository in the cache."""
        return f"models--{self.repository.replace('/', '--')}"

    @property
    def identity(self) -> str:
        names = (self.name, self.config) if self.config else (self.name,)
        return " ".join(f"sha256:{digest(self.fetch(name))}" for name in names)

    def find(self, name: str | None = None) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, name or self.name, cache_dir=weights_folder())
        return Path(cached) if isinstance(cached, str) else None

    def fetch(self, name: str | None = None) -> Path:
        if path := self.find(name):
            return path
        import huggingface_hub as hub

        where = self.repository, name or self.name
        try:
            hub.get_hf_file_metadata(hub.hf_hub_url(*where), timeout=TIMEOUT)  # asks once; the next line, for minutes
            return Path(hub.hf_hub_download(*where, cache_dir=weights_folder(), etag_timeout=TIMEOUT))
        except Exception as error:  # the hub's client raises its own errors and those of requests and httpx
            what = f"the weights {self.repository} are not on this machine and could not be downloaded"
            load = f"load them on a machine with a connection to {hub.constants.ENDPOINT}"
            copy = f"copy the folder {self.file} of its cache to {weights_folder() or hub.constants.HF_HUB_CACHE}"
            raise ModelError(f"{what} ({first_line(error)}): {load}, and {copy}") from None

    def read(self) -> dict:
        path = self.fetch()
        names = [blob.name for blob in path.parents[2].glob("blobs/*")]  # SHA-256, of small files SHA-1
        expected = [name for name in names if len(name) == 64]
        if expected and digest(path) not in expected:
            check_digest(path.resolve(), expected[0])
        return read_checkpoint(path)


@dataclass(frozen=True)
class InMemory:
    """Weights that a module already has; versioned: see `Model.versioned`."""

    identity: str
    versioned: bool

    def find(self) -> Path:
        return Path()

    def read(self) -> None:
        return None
