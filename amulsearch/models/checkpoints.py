"""Reading weights files: digests are verified, and no code in a file is ever executed."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Mapping
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
    found = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": tensor for inner, tensor in _tensors(value).items()}
        elif hasattr(value, "is_floating_point"):
            found[str(name)] = value
    return found


def fitting(state: dict, own: dict, source: str) -> tuple[dict, list[str]]:
    """Take the tensors of a network from a checkpoint that names them after what wraps it, or that holds more.

    Parameters
    ----------
    state : dict of str to tensor
        From `read_checkpoint`. Each name may begin with `module.`, `model.` or the key of a dict.
    own : dict of str to tensor
        The state dict of the network.
    source : str
        The name of the checkpoint, for an error.

    Returns
    -------
    state : dict
        By the names of the network, if most of these are there; else as it is.
    left : list of str
        What of the checkpoint is no part of it: the beginnings of the names.

    Raises
    ------
    ModelError
        If the checkpoint holds several such networks.
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
