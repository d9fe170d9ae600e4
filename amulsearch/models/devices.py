"""Where networks run, and how: the configuration of each kind of device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import torch


@dataclass(frozen=True)
class DeviceConfig:
    """How networks run on a kind of device."""

    batch: int
    """Number of pictures per batch."""
    ahead: int
    """Number of batches that the device may still be computing while the next one is prepared."""
    channels_last: bool
    """Whether weights and activations lie in memory with the channels of a position side by side."""
    pinned: bool
    """Whether batches are copied from and to page-locked memory, while the device computes."""


DEVICES = {
    "cpu": DeviceConfig(8, 0, channels_last=True, pinned=False),  # larger batches exceed the processor's caches
    "cuda": DeviceConfig(64, 2, channels_last=True, pinned=True),
    "mps": DeviceConfig(32, 1, channels_last=False, pinned=False),
}
"""The configuration of each type of `torch.device` that `device` returns."""


_SWITCH = Lock()  # the switch is one for the whole process


def device() -> torch.device:
    """The device that networks run on: a CUDA GPU, else an Apple GPU (mps), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def full_products(where: torch.device) -> Iterator[None]:
    """Multiply float32 on an NVIDIA GPU in full: torch's default for convolutions is TF32, with 10 bits of mantissa."""
    if where.type != "cuda":
        yield
        return
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    with _SWITCH:
        before = convolutions.allow_tf32, matrices.allow_tf32
        convolutions.allow_tf32 = matrices.allow_tf32 = False
        try:
            yield
        finally:
            convolutions.allow_tf32, matrices.allow_tf32 = before
