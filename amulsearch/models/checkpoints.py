"""Reading weights files into networks: digests are verified, and no code in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError, first_line

if TYPE_CHECKING:
    import torch


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; a file that nobody has touched since is not read again."""
    try:
        status = path.stat()
        return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


@lru_cache(maxsize=256)
def _digest(path: Path, *status: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str, remedy: str = "delete it, and it will be downloaded again") -> None:
    """Raise ModelError if the SHA-256 of a file does not start with `expected`."""
    actual = digest(path)
    if not actual.startswith(expected):
        what = f"its SHA-256 starts with {actual[:8]}, not {expected[:8]}"
        raise ModelError(f"{path} is damaged or not the expected file: {what}; {remedy}")


def read_checkpoint(path: Path) -> dict:
    """The state dict in a torch or safetensors file, without running code from the file."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of torch, pickle, zipfile and safetensors
        raise ModelError(f"{path} is no checkpoint of tensors and was not opened: {first_line(error)}") from None


def fill(module: torch.nn.Module, state: dict, rename: Callable[[dict, dict], dict] | None) -> None:
    """Load the state dict of a file into a network; ModelError if it does not fit, or holds values that are no numbers;
    rename: see `Model`."""
    import torch

    try:
        module.load_state_dict(rename(state, module.state_dict()) if rename else state)
    except Exception as error:  # of torch, of `rename`
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"the checkpoint does not fit this architecture: {why}") from None
    for place, value in module.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"the checkpoint holds NaN or infinite values in {place}")


ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds numpy arrays and nothing else (see "Restricting Globals" in Python's documentation)."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickled_arrays(path: Path) -> dict:
    """Read a dictionary of lists of numpy arrays from a pickle of Python 2 or 3; reject any other content."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:
        raise ModelError(f"{path} is not a pickle of plain arrays and was not opened: {error}") from None
