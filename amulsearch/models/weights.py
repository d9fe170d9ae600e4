"""Where a network's weights come from, and how they are read: no code in a weights file is ever executed.

`Packaged` is a file inside an installed Python package; `Downloaded` and `HuggingFace` are files in a cache folder,
downloaded if missing; `OwnFile` is a checkpoint of the user; `InMemory` stands for weights that a module already has.
A download that breaks off is continued by the next one. Mirrors: files of `Downloaded` come from the folder that the
environment variable AMULSEARCH_MIRROR names by its URL, if it is set, those of `HuggingFace` from HF_ENDPOINT.
`find` returns the path of the file or None; `fetch` downloads a missing file, or raises ModelError; `read` returns the
checked state dict; `travels` returns the files by the names under which `find` looks for them in the cache folder.
`identity` says in a fingerprint which weights these are. It goes by what the file holds: by its SHA-256 where that is
known before the file is there, else by that of the file itself, which is then fetched.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..errors import ModelError, check_path, first_line
from .checkpoints import check_digest, identity_of, read_checkpoint, read_pickled_arrays
from .downloads import cache_folder, download


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
        path, mirror = cache_folder() / self.file, os.environ.get("AMULSEARCH_MIRROR")
        url = f"{mirror.rstrip('/')}/{self.file}" if mirror else self.url
        try:
            download(url, path, self.sha256)
        except (OSError, HTTPException, ValueError) as error:  # everything that urllib raises
            raise ModelError(
                f"the file {self.file} is not on this machine and could not be downloaded "
                f"({getattr(error, 'reason', error)}): download {url} and save it in {path.parent}"
            ) from None
        return path

    def read(self) -> dict:
        path = self.fetch()
        check_digest(path, self.sha256)
        return read_checkpoint(path)

    def travels(self) -> dict[str, Path]:
        return {self.file: self.fetch()}


@dataclass(frozen=True)
class HuggingFace:
    """A file of a repository on the Hugging Face hub, in the hub's own cache, and perhaps a configuration beside it.

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
        config = [] if self.config is None else [self.fetch_config()]
        return " ".join(identity_of(path) for path in (self.fetch(), *config))

    def find(self) -> Path | None:
        return self._find(self.name)

    def fetch(self) -> Path:
        return self._fetch(self.name)

    def fetch_config(self) -> Path:
        return self._fetch(self.config)

    def _by_hand(self, name: str) -> str:
        repository = self.repository.rpartition("/")[2]
        return f"{repository}.safetensors" if name == "model.safetensors" else f"{repository}-{name}"

    def _find(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        by_hand = cache_folder() / self._by_hand(name)
        if by_hand.is_file():
            return by_hand
        cached = try_to_load_from_cache(self.repository, name)
        return Path(cached) if isinstance(cached, str) else None

    def _fetch(self, name: str) -> Path:
        path = self._find(name)
        if path is not None:
            return path
        from huggingface_hub import constants, hf_hub_download

        try:
            return Path(hf_hub_download(self.repository, name, etag_timeout=20))
        except Exception as error:  # the hub's client raises its own errors and those of requests and httpx
            raise ModelError(
                f"the weights {self.repository} are not on this machine and could not be downloaded "
                f"({first_line(error)}): download {constants.ENDPOINT}/{self.repository}/resolve/main/{name} and save "
                f"it as {self._by_hand(name)} in {cache_folder()}"
            ) from None

    def travels(self) -> dict[str, Path]:
        names = [self.name, *([] if self.config is None else [self.config])]
        return {self._by_hand(name): self._fetch(name) for name in names}

    def read(self) -> dict:
        path = self.fetch()
        blob = path.resolve()  # the hub's cache links to a file named by its SHA-256
        if re.fullmatch(r"[0-9a-f]{64}", blob.name):
            check_digest(blob, blob.name)
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
