"""Reading weights files: digests are verified, and no code in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
from functools import lru_cache
from pathlib import Path

from ..errors import ModelError, first_line


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def identity_of(path: Path) -> str:
    """Return the SHA-256 of a file as "sha256:..."; a file that nobody has touched since is not read again."""
    try:
        about = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    return _identity_of(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@lru_cache(maxsize=256)
def _identity_of(path: Path, *about: int) -> str:
    return f"sha256:{digest(path)}"


def check_digest(path: Path, expected: str, remedy: str = "delete it, and it will be downloaded again") -> None:
    """Raise ModelError if the SHA-256 of a file does not start with `expected`."""
    found = digest(path)
    if not found.startswith(expected):
        raise ModelError(
            f"{path} is damaged or not the expected file: its SHA-256 starts with {found[:8]}, "
            f"not {expected[:8]}; {remedy}"
        )


def read_checkpoint(path: Path) -> dict:
    """Read a state dict (name -> tensor) from a torch or safetensors file, without running code from the file."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is not a checkpoint, or it holds more than tensors, and was not opened: "
            "save the network's state_dict()"
        ) from None
    except Exception as error:
        raise ModelError(f"{path} cannot be read as a checkpoint: {first_line(error)}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} is not a state dict (a mapping of names to tensors): save the network's state_dict()")
    return state


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds numpy arrays and nothing else (see "Restricting Globals" in Python's documentation)."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickled_arrays(path: Path) -> dict:
    """Read a dictionary of lists of numpy arrays from a pickle of Python 2 or 3; reject any other content."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:
        raise ModelError(f"{path} is not a pickle of plain arrays and was not opened: {error}") from None
