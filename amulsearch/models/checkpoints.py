"""Reading weights files: digests are checked, and nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from ..errors import ModelError, first_line


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def check_digest(path: Path, expected: str, remedy: str = "delete it, and it will be fetched anew") -> None:
    """Refuse a file whose SHA-256 does not start with `expected`."""
    found = digest(path)
    if not found.startswith(expected):
        raise ModelError(
            f"{path} is damaged or another file: its SHA-256 starts with {found[:8]}, not {expected[:8]}; {remedy}"
        )


def read_checkpoint(path: Path) -> dict:
    """A state dict (name -> tensor) from a file of torch or safetensors, by readers that run no code from it."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is no checkpoint, or holds more than tensors, and was not opened: save the network's state_dict()"
        ) from None
    except Exception as error:
        raise ModelError(f"{path} is not a checkpoint: {first_line(error)}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} is not a state dict (names with tensors): save the network's state_dict()")
    return state


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build numpy arrays and nothing else (Python's documentation, "Restricting Globals")."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickled_arrays(path: Path) -> dict:
    """A dictionary of lists of numpy arrays from a pickle of Python 2 or 3; any other content is refused."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:
        raise ModelError(f"{path} is not a pickle of plain arrays and was not opened: {error}") from None
