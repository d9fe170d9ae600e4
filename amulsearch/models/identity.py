"""What tells a user's own network or transform from others, in this process and in later ones.

The code of an installed library is known by its name and version, data by their values. The user's own code is not
known: what it does depends on names that may mean something else tomorrow. Only the user can say which code it is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePath
from secrets import token_hex
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

LIBRARIES = (
    *("builtins", "collections", "functools", "math", "operator"),
    *("amulsearch", "numpy", "open_clip", "PIL", "timm", "torch", "torchvision"),
)
VALUES = (type(None), type(...), bool, int, float, complex, str, bytes, np.generic, np.dtype, PurePath)
IDLE = ("training", "_backward", "_full_backward", "_is_full_backward", "_state_dict", "_load_state_dict")
"""Attributes of a `torch.nn.Module` that do not decide what it returns in evaluation mode begin with these."""


def identify(value: Any, version: str | int | None = None) -> tuple[str, str]:
    """Identify a network or a transform by its data, the names of its code, and the version of the user's own code.

    Returns its identity, the same in every process, and the names of the user's own classes and functions if there is
    no version of them; then the identity is that of no other object.
    """
    found: list[str] = []
    sha = f"sha256:{hashlib.sha256(_described(value, found, {}).encode()).hexdigest()}"
    if version is not None:
        return f"{sha} version {version}", ""
    return (f"{sha} {token_hex(8)}", ", ".join(dict.fromkeys(found))) if found else (sha, "")


def _described(value: Any, unknown: list[str], seen: dict[int, tuple[int, Any]]) -> str:
    """Describe a value by all that it is made of; an object that was described before, by its number."""
    import torch

    if isinstance(value, VALUES):
        return repr(value)
    if isinstance(value, (torch.dtype, torch.device, torch.layout, torch.memory_format)):
        return repr(value)
    if id(value) in seen:
        return f"#{seen[id(value)][0]}"
    seen[id(value)] = len(seen), value  # which keeps it: another object could get its id
    inner: Callable[[Any], str] = partial(_described, unknown=unknown, seen=seen)
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value)).hexdigest()}"
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return _named(value, unknown)
    if isinstance(value, MethodType):
        return inner((value.__func__, value.__self__))
    if isinstance(value, partial):
        return inner((value.func, value.args, value.keywords))
    kind = _named(type(value), unknown)
    if isinstance(value, (list, tuple)):
        return f"{kind}[{', '.join(map(inner, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{kind}{sorted(map(inner, value))}"
    if isinstance(value, Mapping):  # in its order, which decides in a Sequential
        return f"{kind}{{{', '.join(f'{inner(key)}: {inner(one)}' for key, one in value.items())}}}"
    if not hasattr(value, "__dict__"):
        unknown.append(kind)
        return kind
    held = vars(value)
    if isinstance(value, torch.nn.Module):  # hooks are numbered in the order in which a process makes them
        held = {key: one for key, one in held.items() if not key.startswith(IDLE)}
        held |= {key: list(one.values()) for key, one in held.items() if key.startswith("_forward")}
    return f"{kind}{inner(held)}"


def _named(code: Any, unknown: list[str]) -> str:
    """The full name of a class or a function, and the version of its library."""
    module, name = code.__module__ or "", code.__qualname__
    library = module.partition(".")[0]
    if library not in LIBRARIES or "<" in name:
        unknown.append(name)
        return name
    version = "" if library == "torch" else getattr(sys.modules.get(library), "__version__", "")  # see `backend`
    return f"{module}.{name} {version}"
