"""The colours of a decoded picture: from any mode and colour profile to 8-bit sRGB on a background."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageColor

from ..errors import QueryError


def colour_of(background: str) -> tuple[int, int, int]:
    """The red, green and blue of a colour name or "#rrggbb", from 0 to 255; QueryError if there is no such colour."""
    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError, TypeError):
        raise QueryError(f"unknown background {background!r}: use a colour name or #rrggbb") from None


def scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG to 8 bits: Pillow scales only the pixels, so that none would match."""
    clear, tile = image.info.get("transparency"), getattr(image, "tile", None)
    depth = tile[0][3] if tile and image.format == "PNG" else None
    if depth in ("L;2", "L;4") and isinstance(clear, int):
        largest = 3 if depth == "L;2" else 15
        image.info["transparency"] = (clear & largest) * (255 // largest)
    elif depth == "RGB;16B" and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def as_rgb(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """A new RGB picture: what is transparent shows the colour."""
    profile = image.info.get("icc_profile")
    image = _eight_bit(image)
    if not (image.mode in ("PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info):
        return _colours(image, profile)
    base = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    flat = Image.new("RGB", image.size, colour)
    flat.paste(_colours(image.convert(base), profile), mask=image.getchannel("A"))
    return flat


def _colours(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An opaque picture as RGB, its colours as its embedded profile means them; a copy if it is RGB already."""
    if image.mode == "LAB":  # Pillow converts LAB through colour management only
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    transform = _to_srgb(profile, image.mode) if profile else None
    if transform:
        return ImageCms.applyTransform(image, transform)
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings colours of a profile to sRGB; None if it is sRGB, and if it is damaged or of another kind of picture:
    such a profile is ignored, as by browsers."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode == "CMYK":
        return transform
    steps = np.uint8(np.indices((16, 16, 16)).T.reshape(64, 64, 3) * 17)
    probe = Image.fromarray(steps if mode == "RGB" else steps[..., 0])
    change = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe.convert("RGB"))
    return transform if np.abs(change).max() > 1 else None


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits; `convert` alone would clip the values at 255."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    clear = image.info.get("transparency")
    known = np.isfinite(values) if clear is None else values != clear
    low, high = (values[known].min(), values[known].max()) if known.any() else (0, 0)
    if image.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0, next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits)
    # Else there is no standard range: map the smallest value to black and the largest to white.
    scaled = (np.where(known, values, low) - low) * 255 / ((high - low) or 1)
    grey = Image.fromarray(np.uint8(scaled + 0.5))
    if clear is not None:  # one grey value means transparent
        grey = Image.merge("LA", (grey, Image.fromarray(np.uint8(values != clear) * 255)))
    return grey
