"""Reading weights files into networks: digests are verified, and no code in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError, first_line

if TYPE_CHECKING:
    import torch


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


def identity_of(path: Path) -> str:
    """The SHA-256 of a file as "sha256:..."; a file that nobody has touched since is not read again."""
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
    actual = digest(path)
    if not actual.startswith(expected):
        raise ModelError(
            f"{path} is damaged or not the expected file: its SHA-256 starts with {actual[:8]}, "
            f"not {expected[:8]}; {remedy}"
        )


def read_checkpoint(path: Path) -> dict:
    """The tensors of a torch or safetensors file by their names, without running code from the file."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} is not a checkpoint, or it holds more than tensors, and was not opened: "
            "save the network's state_dict()"
        ) from None
    except Exception as error:
        raise ModelError(f"{path} cannot be read as a checkpoint: {first_line(error)}") from None
    state = _state_of(content)
    if not state:
        raise ModelError(f"{path} is not a state dict (a mapping of names to tensors): save the network's state_dict()")
    return state


def _state_of(content: object) -> dict:
    """The state dict of a checkpoint, which may lie under a key, or be named after what wrapped the network."""
    from torch import Tensor

    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    state = {name: value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}
    for prefix in ("module.", "_orig_mod.", "model."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def fill(module: torch.nn.Module, state: dict, name: str, source: str, rename: Callable | None = None) -> None:
    """Load a checkpoint into a network, which gets as many classes as the file has; a warning says so.

    name, source: of the network and of the file, for messages; rename: see `Model`. ModelError if it does not fit, or
    holds NaN or infinite values.
    """
    import torch

    classes = _take_classes(module, state)
    try:
        module.load_state_dict(rename(state, module.state_dict()) if rename else state)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"{name}: the checkpoint does not fit this architecture: {' '.join(lines[:3])[:300]}"
        ) from None
    for place, value in module.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"{name}: the checkpoint holds NaN or infinite values in {place}")
    if classes:
        warnings.warn(f"{name} was loaded from {source} with {classes}", stacklevel=5)


def _take_classes(module: torch.nn.Module, state: dict) -> str:
    """Give the classifiers as many classes as the checkpoint has; in words, if these are others."""
    from torch import empty, nn

    usual = module.state_dict()
    names = [name for name, value in state.items() if name in usual and usual[name].shape != value.shape]
    layers = [module.get_submodule(name.rpartition(".")[0]) for name in names]
    widths = {(len(usual[name]), len(state[name])) for name in names if usual[name].ndim and state[name].ndim}
    alike = all(usual[name].shape[1:] == state[name].shape[1:] for name in names)
    if len(widths) != 1 or not alike or not all(isinstance(layer, (nn.Linear, nn.Conv2d)) for layer in layers):
        return ""
    ((before, classes),) = widths
    for name, layer in zip(names, layers, strict=True):
        setattr(layer, name.rpartition(".")[2], nn.Parameter(empty(state[name].shape)))
        setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", classes)
    return f"{classes} classes instead of {before}"


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
