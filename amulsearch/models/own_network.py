"""`own`: the record of a network that the user has as a module, and what tells it from others in a fingerprint."""

import copy
import hashlib
import re
from secrets import token_hex

from ..errors import ModelError, first_line
from .model import Model
from .network_table import GROUPS, TABLE
from .preprocess import Preprocess
from .weights import InMemory


def own(
    name: str,
    module,
    preprocess: Preprocess | None = None,
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
        0, as timm's networks have it. The record keeps a copy, which further training does not change.
    preprocess : Preprocess, optional
        By default that of ImageNet. What it cannot do, do in the module.
    head, feature_map : str, optional
        Names of inner modules, see `Model`; found automatically in most networks.
    version : str or int, optional
        Of the code of `module`, which a fingerprint cannot know: give another one whenever the code or its settings
        change. A store, which gives the vectors in later runs too, needs it; the weights are known anyway.

    Examples
    --------
    >>> import amulsearch as am
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    >>> mine = am.models.load(am.models.own("mine", module, am.models.Preprocess(size=64)))
    >>> mine(mine.blank(), "penultimate")["penultimate"].shape
    (1, 8)
    """
    from torch.nn import Module

    if not isinstance(name, str) or not name.strip() or name in TABLE or name in GROUPS:
        raise ModelError(f"the name of your network must be a string that no network in the table has, not {name!r}")
    if not isinstance(module, Module):
        raise ModelError(f"{name}: give a torch.nn.Module, such as MyNetwork(), not a {type(module).__name__}")
    if not isinstance(preprocess, Preprocess | None):
        raise ModelError(f"{name}: preprocess must be a Preprocess, not a {type(preprocess).__name__}")
    inner = [inner_name for inner_name, _ in module.named_modules() if inner_name]
    for value in (head, feature_map):
        if value is not None and value not in inner:
            raise ModelError(f"{name} has no module {value!r}: use one such as {', '.join(inner[-8:])}")
    try:
        module = copy.deepcopy(module).eval()
        identity = f"{_digest(module)} version {token_hex(8) if version is None else version}"
    except Exception as error:  # of the module's own code, of weights without numbers
        raise ModelError(f"{name}: the module cannot be read: {first_line(error)}") from None
    return Model(
        name,
        lambda: copy.deepcopy(module),
        InMemory(identity, versioned=version is not None),
        preprocess or Preprocess(),
        classes=0 if getattr(module, "num_classes", None) == 0 else None,
        head=head,
        feature_map=feature_map,
    )


def _digest(module) -> str:
    """The SHA-256 of the weights and of how the module shows its layers with their settings."""
    import torch

    sha = hashlib.sha256(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(module)).encode())
    for name, value in module.state_dict().items():
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"sha256:{sha.hexdigest()}"
