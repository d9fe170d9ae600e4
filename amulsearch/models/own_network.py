"""`own`: the record of a network that the user has as a module, and what tells it from others in a fingerprint."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from secrets import token_hex

from ..errors import ModelError, first_line
from .model import Model
from .network_table import GROUPS, TABLE
from .preprocess import OwnTransform, Preprocess
from .weights import InMemory


def own(
    name: str,
    module,
    preprocess: Preprocess | Callable | None = None,
    *,
    head: str | None = None,
    feature_map: str | None = None,
    version: str | int | None = None,
) -> Model:
    """Make the record of your own network.

    Parameters
    ----------
    name : str
        Any name that no network in `TABLE` and no group has.
    module : torch.nn.Module
        Maps (B, 3, H, W) float32 to (B, classes), or to (B, D) without a classifier if its attribute `num_classes` is
        0, as timm's networks have it. The record keeps a copy: training the module further does not
        change it.
    preprocess : Preprocess or callable, optional
        By default ImageNet's preprocessing. A callable maps an RGB PIL image to a (3, H, W) tensor.
    head, feature_map : str, optional
        Names of inner modules, see `Model`; found automatically in most networks.
    version : str or int, optional
        Of the code of `module` and `preprocess`, which a fingerprint cannot know: give another one whenever the code or
        its settings change. A store, which gives the vectors in later runs too, needs it; the weights are known anyway.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the name is taken, or the module, the preprocessing or the name of an inner module cannot be used.

    Examples
    --------
    >>> import amulsearch as am
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    >>> network = am.models.load(am.models.own("mine", module, am.models.Preprocess(size=64)))
    >>> vectors = network(network.blank(), ["logits", "penultimate"])
    >>> vectors["logits"].shape, vectors["penultimate"].shape
    ((1, 5), (1, 8))
    """
    _check_own(name, module, preprocess, {"head": head, "feature_map": feature_map}, version)
    try:
        module = copy.deepcopy(module).eval()
        weights = InMemory(f"{_digest(module)} {_code(module, version)}", versioned=version is not None)
    except Exception as error:  # of the module's own code, of weights without numbers
        raise ModelError(f"{name}: the module cannot be read: {first_line(error)}") from None
    if preprocess is None:
        preprocess = Preprocess()
    elif not isinstance(preprocess, Preprocess):
        preprocess = OwnTransform(preprocess, _code(preprocess, version))
    return Model(
        name,
        lambda: copy.deepcopy(module),
        weights,
        preprocess,
        classes=0 if getattr(module, "num_classes", None) == 0 else None,
        head=head,
        feature_map=feature_map,
        source="your own module",
    )


def _digest(module) -> str:
    """The SHA-256 of the weights."""
    import torch

    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"sha256:{sha.hexdigest()}"


def _code(value: object, version: str | int | None) -> str:
    """The version of code and how it shows itself, such as a layer with its settings; without a version, the identity
    of nothing else."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    shown = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"code {shown} version {version}" if version is not None else f"code {shown} {token_hex(8)}"


def _check_own(name, module, preprocess, inner: dict, version) -> None:
    """Check what `own` was given; inner: the names of modules by their arguments."""
    from torch.nn import Module

    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"the name of a network must be a string, not {name!r}")
    if name in TABLE or name in GROUPS:
        raise ModelError(f"{name} is the name of a network in the table or of a group: choose another name")
    if not isinstance(module, Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise ModelError(f"{name}: the module must be a torch.nn.Module, such as MyNetwork(), not {what}")
    if not (preprocess is None or type(preprocess) is Preprocess or callable(preprocess)):
        what = type(preprocess).__name__
        raise ModelError(f"{name}: preprocess must be a Preprocess or a function of a PIL image, not {what}")
    names = [inner_name for inner_name, _ in module.named_modules() if inner_name]
    for argument, value in inner.items():
        if value is not None and value not in names:
            raise ModelError(f"{name} has no module {value!r} for {argument}=: use one such as {', '.join(names[-8:])}")
    if version is not None and (not isinstance(version, (str, int)) or version == ""):
        raise ModelError(f"{name}: version must be a string or an integer, not {version!r}")
