"""From an RGB picture to the batch a network takes, as its weights were trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .errors import ModelError, QueryError
from .pictures import colour_of

FRAMINGS = ("pad", "crop", "squash")


@dataclass(frozen=True)
class Preprocess:
    """From an RGB picture to a network's input, as its weights were trained.

    size: pixels of a side; mean, std: for each channel in the order of `channels`, for pixel values 0..255;
    crop_pct: the part of the shorter side that the framing "crop" keeps; mirror: left and right are exchanged.
    """

    size: int = 224
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    channels: str = "RGB"
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    mirror: bool = False

    def pixels(self, image: Image.Image, framing: str, background: str) -> np.ndarray:
        """(size, size, 3) uint8, in the order of `channels`."""
        resample = Image.Resampling[self.interpolation.upper()]
        square = fit(image, self.size, framing, background=background, crop_pct=self.crop_pct, resample=resample)
        pixels = np.asarray(square)
        pixels = pixels[:, ::-1] if self.mirror else pixels
        return pixels[..., ::-1] if self.channels == "BGR" else pixels

    def batch(self, pixels: list[np.ndarray]) -> np.ndarray:
        """(B, 3, size, size) float32, normalised."""
        values = np.stack(pixels).astype(np.float32)
        values -= np.float32(self.mean)
        values /= np.float32(self.std)
        return values.transpose(0, 3, 1, 2)

    def describe(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class OwnTransform:
    """A callable of the user's own, from an RGB PIL image to a (3, H, W) tensor; framing does not apply to it."""

    transform: Callable[[Image.Image], Any]

    def pixels(self, image: Image.Image, framing: str, background: str) -> np.ndarray:
        values = np.asarray(self.transform(image), dtype=np.float32)
        if values.ndim != 3 or values.shape[0] != 3:
            raise ModelError(f"the transform must give a (3, H, W) tensor; it gave the shape {values.shape}")
        return values

    def batch(self, pixels: list[np.ndarray]) -> np.ndarray:
        return np.stack(pixels)

    def describe(self) -> dict:
        return {"transform": repr(self.transform)}


def fit(
    image: Image.Image,
    size: int,
    framing: str = "pad",
    *,
    background: str = "white",
    crop_pct: float = 0.875,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """Bring an RGB picture to `size` x `size` pixels.

    framing: "pad" shrinks the whole picture and pads the rest with `background` (letterbox); "crop" takes the
        central square of `crop_pct` times the shorter side (how ImageNet networks are evaluated); "squash"
        stretches the picture to the square.
    """
    if framing == "squash":
        return image.resize((size, size), resample)
    width, height = image.size
    if framing == "crop":
        side = crop_pct * min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), resample, box=(left, top, left + side, top + side))
    if framing != "pad":
        raise QueryError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = Image.new("RGB", (size, size), colour_of(background))
    square.paste(image.resize(inner, resample), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return square
