"""Where a network can be read: what its modules give for one picture, which of them are its last map, its stages and
its blocks, and how a map or tokens are pooled to a vector.

All of it is found from the shapes alone, so it holds for networks of torchvision, of timm and of the user alike.
"""

from dataclasses import dataclass
from math import inf, isqrt

import torch

from ..errors import ModelError

POOLINGS = ("mean", "gem")
GEM_P = 3.0
"""The exponent p of generalised-mean (GeM) pooling, see `pool`."""


@dataclass(frozen=True)
class Tap:
    """Where a layer is read, the input or the output of a module, and how a feature map or tokens are pooled."""

    module: str  # "" is the network itself
    side: str  # "in" or "out"
    pooling: str = "mean"  # or "gem", or "cls": the first token


@dataclass(frozen=True)
class Node:
    """What a module gives for one picture."""

    name: str
    kind: str  # the class of the module
    shape: tuple[int, ...]
    width: int  # of the pooled vector
    side: int  # of its square grid of places; 0 for a vector and within attention


def grid(shape: tuple[int, int], prefix: int) -> tuple[int, int] | None:
    """How many of the tokens (T, D) of a picture come before those of its places, and the side of their square grid.

    prefix: the number of class tokens and registers. None if the tokens form no square grid.
    """
    for before in (prefix, 0):  # some networks add the class token in their last blocks
        side = isqrt(max(int(shape[0]) - before, 0))
        if side > 1 and side * side == shape[0] - before:
            return before, side
    return None


def side_of(name: str, shape: tuple[int, ...], prefix: int) -> int:
    """The side of the grid of places in what a module gives for one picture."""
    if ".attn." in name or len(shape) not in (2, 3):
        return 0
    if len(shape) == 2:
        return (grid(shape, prefix) or (0, 0))[1]
    return min(shape[dim - 1] for dim in spatial_dims(shape))


def last_map(nodes: list[Node], head: str) -> str | None:
    """The last module that gives a feature map, or the tokens of a transformer's places; None if there is none."""
    maps = [node for node in nodes if node.name != head and node.side > 1]
    outer = [node for node in maps if "." not in node.name]
    tokens = outer and len(outer[-1].shape) == 2
    maps = outer if tokens else [node for node in maps if len(node.shape) == 3]
    if not maps or nodes.index(maps[-1]) < (len(nodes) - 1) / 2:  # an embedding at the very start is not the last
        return None
    return maps[-1].name


def like(nodes: list[Node], last: str) -> list[str]:
    """The modules that give as many tokens as `last` does, as wide and at the same places."""
    kinds = {node.name: (node.side, node.width) for node in nodes if len(node.shape) == 2}
    return [name for name, kind in kinds.items() if kind == kinds.get(last)]


def blocks_of(module: torch.nn.Module, alike: list[str]) -> list[str]:
    """The names of a transformer's blocks: the first list of modules all of which are alike."""
    for name, inner in module.named_modules():
        if name and isinstance(inner, (torch.nn.Sequential, torch.nn.ModuleList)):
            blocks = [f"{name}.{child}" for child, _ in inner.named_children()]
            if len(blocks) > 1 and set(blocks) <= set(alike):
                return blocks
    return []


def inner_map(nodes: list[Node], last: str) -> str | None:
    """The last map of the next larger size, among the outermost modules of this size."""
    sides = {node.name: node.side for node in nodes if len(node.shape) == 3}
    larger = [side for side in sides.values() if side > sides.get(last, inf)]
    names = [name for name, side in sides.items() if larger and side == min(larger)]
    return min(reversed(names), key=lambda name: name.count("."), default=None)


def stages_of(nodes: list[Node], last: str, blocks: list[str]) -> list[Node]:
    """The last map of each size, or every third block of a transformer, up to the module `last`."""
    nodes = nodes[: [node.name for node in nodes].index(last) + 1]  # what comes after it is no feature map
    by_side = {node.side: node.name for node in nodes if len(node.shape) == 3 and node.side > 1}
    by_side[nodes[-1].side] = last
    chosen = [*blocks[:-1][::3], last] if blocks else by_side.values()
    return [node for node in nodes if node.name in chosen]


def pool(values: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool the output of a layer to one vector per picture, (B, D).

    Parameters
    ----------
    values : torch.Tensor
        Feature maps (B, D, H, W) or (B, H, W, D), tokens (B, T, D), or vectors (B, D), which stay as they are.
    pooling : {"mean", "gem"}
        The mean over all positions, or the generalised mean: the p-th root of the mean of the p-th powers, p = 3.

    References
    ----------
    Radenović, Tolias & Chum 2018, Fine-tuning CNN image retrieval with no human annotation.
    """
    if pooling not in POOLINGS:
        raise ModelError(f"unknown pooling {pooling!r}: use {' or '.join(POOLINGS)}")
    if values.ndim == 2:
        return values
    if values.ndim == 4:
        places = spatial_dims(tuple(values.shape[1:]))
    elif values.ndim == 3:
        places = (1,)
    else:
        return values.flatten(1)
    if pooling == "mean":
        return values.mean(places)
    values = values.clamp(min=1e-6)
    peak = values.amax(places, keepdim=True)  # powers of large values would overflow in float16
    return (values / peak).pow(GEM_P).mean(places).pow(1 / GEM_P) * peak.flatten(1)


def spatial_dims(shape: tuple[int, int, int]) -> tuple[int, int]:
    """The spatial dimensions of a batch of feature maps of this shape: (2, 3) of (B, D, H, W), (1, 2) of (B, H, W, D).

    Inputs are square, so they are the two of equal size; in doubt, channels come first.
    """
    channels_last = shape[0] == shape[1] and shape[1] != shape[2]
    return (1, 2) if channels_last else (2, 3)
