"""Reading weights files into networks: digests are verified, and no code in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError, first_line

if TYPE_CHECKING:
    import torch


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
    """Read all tensors (full name -> tensor) of a torch or safetensors file, without running code from the file."""
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
    found = _tensors(state) if isinstance(state, Mapping) else {}
    if not found:
        raise ModelError(f"{path} is not a state dict (a mapping of names to tensors): save the network's state_dict()")
    return found


def _tensors(content: Mapping) -> dict:
    """The tensors of a checkpoint by their full names, such as "model.module.conv1.weight"."""
    from torch import Tensor

    found = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": tensor for inner, tensor in _tensors(value).items()}
        elif isinstance(value, Tensor):
            found[str(name)] = value
    return found


def fill(module: torch.nn.Module, state: dict, name: str, source: str, rename: Callable | None = None) -> None:
    """Load a checkpoint into a network, which gets as many classes as the file has; warn of what is left out.

    name, source: of the network and of the file, for messages; rename: see `Model`. ModelError if it does not fit, or
    holds NaN or infinite values.
    """
    import torch

    state, left = _fitting(state, module.state_dict(), source)
    notes = [*_take_classes(module, state), *([f"without its {', '.join(left)}"] if left else [])]
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
    if notes:
        warnings.warn(f"{name} was loaded from {source} {', '.join(notes)}", stacklevel=5)


def _take_classes(module: torch.nn.Module, state: dict) -> list[str]:
    """Give the classifiers as many classes as the checkpoint has, and say so if these are others."""
    from torch import empty, nn

    own = module.state_dict()
    other = [name for name, value in state.items() if name in own and own[name].shape != value.shape]
    places = [module.get_submodule(name.rpartition(".")[0]) for name in other]
    widths = {(len(own[name]), len(state[name])) for name in other if own[name].ndim and state[name].ndim}
    rest = all(own[name].shape[1:] == state[name].shape[1:] for name in other)
    if len(widths) != 1 or not rest or not all(isinstance(one, (nn.Linear, nn.Conv2d)) for one in places):
        return []
    ((before, classes),) = widths
    for name, place in zip(other, places, strict=True):
        setattr(place, name.rpartition(".")[2], nn.Parameter(empty(state[name].shape)))
        setattr(place, "out_features" if isinstance(place, nn.Linear) else "out_channels", classes)
    return [f"with {classes} classes instead of {before}"]


def _fitting(state: dict, own: dict, source: str) -> tuple[dict, list[str]]:
    """Take the tensors of a network from a checkpoint that names them after what wraps it, or that holds more.

    Their names may begin with `module.`, `model.` or the key of a dict. Returns them by the names `own` of the network,
    if most of these are there, else all as they are; and the beginnings of the names that are left out.
    """
    ends = [(name, place) for name in state for place in (0, *(dot.end() for dot in re.finditer(r"\.", name)))]
    counts = Counter(name[:place] for name, place in ends if name[place:] in own)
    most = max(counts.values(), default=0)
    if 2 * most <= len(own):
        return state, []
    fit = [prefix for prefix, count in counts.items() if count == most]
    fit = [prefix for prefix in fit if "ema" not in prefix] or fit  # averaged weights, beside the usual ones
    if len(fit) > 1:
        names = ", ".join(prefix.rstrip(".") for prefix in fit)
        raise ModelError(f"{source} holds several networks ({names}): save the state_dict() of one")
    taken = {name.removeprefix(fit[0]): value for name, value in state.items() if name.startswith(fit[0])}
    left = [name for name in state if not name.startswith(fit[0])]
    if all(name in taken or name.endswith("num_batches_tracked") for name in own):
        known = {name.partition(".")[0] for name in own}
        more = [name for name in taken if name.partition(".")[0] not in known]
        taken = {name: value for name, value in taken.items() if name not in more}
        left += more
    return taken, list(dict.fromkeys(name.partition(".")[0] for name in left))


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
