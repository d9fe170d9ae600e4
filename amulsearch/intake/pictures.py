"""Read one picture, in any raster format, as RGB pixels.

Pictures are returned as new RGB `PIL.Image.Image` objects; no file stays open.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps

from ..errors import PictureError, QueryError, check_path

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS"),
    *("PPM", "PCX", "PSD", "SGI", "DDS", "QOI", "XBM", "XPM", "SUN"),
)
"""The raster formats that are opened, recognised by content. EPS, WMF and PDF are excluded: they run an interpreter."""

MAX_PIXELS = 64_000_000
"""The most pixels decoded for one picture: 8,000 x 8,000, about 200 MB as RGB."""

Image.init()
# Formats that this Pillow was built without (AVIF on some systems) are skipped.
_READERS = {name: Image.OPEN[name] for name in FORMATS if name in Image.OPEN}
SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in _READERS or name == "MPO"
)
"""The file name extensions of pictures, in lower case with the dot."""


@dataclass(frozen=True)
class Header:
    """What the header of a picture declares; width and height in pixels, as displayed."""

    width: int
    height: int
    format: str
    frames: int


def read_header(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Header:
    """Read size, format and number of frames without decoding the pixels.

    Raises PictureError with the reason if the file is not a picture or would decode to more than `max_pixels`.
    """
    with _opened(path) as image:
        _reduce_jpeg(image, max_pixels)
        return Header(*_displayed_size(image), image.format, _count_frames(image))


def open_image(source, *, frame: int = 0, background: str = "white", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture as RGB, the way it is meant to be seen.

    The EXIF orientation is applied, transparency is laid on a background, and every mode (palette, grey, 16-bit, CMYK,
    1-bit, floating point) is converted to 8-bit RGB.

    Parameters
    ----------
    source : path, bytes, binary file or PIL.Image.Image
        The picture. Its format is recognised by its content, not by its name.
    frame : int, default 0
        Which frame of an animation, from 0.
    background : str, default "white"
        The colour behind transparent pixels: a name or "#rrggbb".
    max_pixels : int, default 64,000,000
        Larger pictures are rejected, except JPEGs that are under the limit when decoded at 1/2, 1/4 or 1/8 of their
        size. The limit does not apply to PIL images.

    Returns
    -------
    PIL.Image.Image
        A new picture in mode RGB.

    Raises
    ------
    PictureError
        If the file is missing, damaged, too large or not a picture; the message gives the reason.
    QueryError
        If there is no such frame or colour, or `source` is of another type.

    Examples
    --------
    >>> import amulsearch as am
    >>> fawn = am.open_image("data/openclipart/animals/mammals/fawn_mo_01.webp", background="#204060")
    >>> fawn.mode, fawn.size
    ('RGB', (226, 320))
    >>> fawn.getpixel((0, 0))
    (32, 64, 96)
    """
    if isinstance(source, Image.Image):
        return _guarded(lambda: _to_rgb(source, frame, colour_of(background), math.inf))
    try:
        return open_for(None, source, frame=frame, background=background, max_pixels=max_pixels)[0]
    except PictureError as error:
        if isinstance(source, (str, os.PathLike)):
            raise PictureError(f"{os.fspath(source)}: {error}") from None
        raise


def open_for(
    side: int | None, source, *, frame: int, background: str, max_pixels: int
) -> tuple[Image.Image, tuple[int, int]]:
    """Open a picture as `open_image` does, for shrinking to squares of half of `side`; also its full width and height.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, with at least `side` pixels on its shorter side, three to
    five times faster. After shrinking, its pixels differ from those of the full picture by less than 0.5 of 255 levels
    on average.
    """
    with _opened(source) as image:
        _reduce_jpeg(image, max_pixels, side)
        size = _displayed_size(image) if "declared_size" in image.info and not frame else None
        rgb = _guarded(lambda: _to_rgb(image, frame, colour_of(background), max_pixels))
        return rgb, size or rgb.size


def colour_of(background: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour.

    Parameters
    ----------
    background : str
        A colour name or "#rrggbb".

    Returns
    -------
    tuple of 3 int
        Values from 0 to 255.

    Raises
    ------
    QueryError
        If there is no such colour.
    """
    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError, TypeError):
        raise QueryError(f"unknown background {background!r}: use a colour name or #rrggbb") from None


def _guarded(read):
    """Call `read`; any exception that Pillow raises on a damaged file becomes a PictureError with a short reason."""
    try:
        return read()
    except (PictureError, QueryError):
        raise
    except MemoryError:
        raise PictureError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders raise nearly every built-in error on damaged files
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            detail = f"unknown value {detail}"
        if "truncated" in detail.lower() or isinstance(error, EOFError):
            detail = "the file is truncated"
        raise PictureError(f"damaged: {detail}") from None


@contextmanager
def _opened(source) -> Iterator[Image.Image]:
    """A lazily decoded PIL image of the file; its first bytes select one of FORMATS."""
    with file_of(source) as file:
        prefix = _guarded(lambda: file.read(32))
        if isinstance(prefix, str):
            raise QueryError("the file object returns text: open the file in binary mode")
        if not prefix:
            raise PictureError("the file is empty")
        for factory, accepts in _READERS.values():
            # `Image.open` does the same, but applies its own size limit before a JPEG can be reduced.
            if _accepted(accepts, prefix):
                file.seek(0)
                with _guarded(lambda factory=factory: factory(file, None)) as image:
                    yield image
                return
        raise PictureError("not a picture in a supported format")


def _accepted(accepts, prefix: bytes) -> bool:
    try:
        return accepts(prefix) is True
    except (IndexError, struct.error):  # a file of one to three bytes
        return False


def file_of(source):
    """A context manager that returns a binary file for `source` and closes it if it was opened here."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if hasattr(source, "read"):
        try:
            source.seek(0)
        except (AttributeError, OSError):  # a stream that cannot seek, such as from the network
            return io.BytesIO(source.read())
        return nullcontext(source)
    if not isinstance(source, (str, os.PathLike)):
        raise QueryError(
            f"cannot open an object of type {type(source).__name__} as a picture: give a path, bytes or a PIL image"
        )
    path = check_path(source)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe or a device could block forever
            raise PictureError("it is a folder" if path.is_dir() else "not a regular file")
        return path.open("rb")
    except FileNotFoundError:
        missing = "a link to a file that does not exist" if path.is_symlink() else "no such file"
        raise PictureError(missing) from None
    except PermissionError:
        raise PictureError("no permission to read it") from None
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from None


def _reduce_jpeg(image: Image.Image, max_pixels: int, side: int | None = None) -> None:
    """Set a reduced JPEG decoding size if it suffices for `side` or is needed for the limit; reject larger pictures.

    The size that the file declares is kept in `image.info`.
    """
    width, height = image.size
    if image.format in ("JPEG", "MPO"):
        enough = min(width, height) // side if side else 1
        for scale in (1, 2, 4, 8):
            # draft rounds sizes up
            fits = width * height <= max_pixels or (width // scale) * (height // scale) <= max_pixels * 0.98
            if fits and (scale == 8 or 2 * scale > enough):
                break
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
            image.info["declared_size"] = (width, height)
    _limit_pixels(image, max_pixels)


def _limit_pixels(image: Image.Image, max_pixels: float) -> None:
    if image.width * image.height > max_pixels:
        width, height = image.info.get("declared_size", image.size)
        raise PictureError(
            f"{width} x {height} is {width * height / 1e6:.0f} megapixels, over the limit of {max_pixels / 1e6:.0f}: "
            "save it smaller or raise max_pixels"
        )


def _displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as displayed, before any reduction."""
    width, height = image.info.get("declared_size", image.size)
    # orientations 5 to 8 turn the picture by 90 degrees; for a TIFF, Pillow already returns the turned size
    turned = image.format != "TIFF" and _orientation(image) >= 5
    return (height, width) if turned else (width, height)


def _count_frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged tail: the first frame may still be good, which decoding will show
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # with damaged EXIF data only the orientation is lost
        return 1


def _to_rgb(image: Image.Image, frame: int, colour: tuple[int, int, int], max_pixels: float) -> Image.Image:
    if frame:
        frames = _count_frames(image)
        if not 0 <= frame < frames:
            raise QueryError(f"there is no frame {frame}: the picture has {frames} frames, counted from 0")
        image.seek(frame)
        _limit_pixels(image, max_pixels)  # the pages of a TIFF differ in size
    _scale_transparency(image)
    image.load()
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    image = _eight_bit(image)
    if not (image.mode in ("PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info):
        return _colours(image)
    image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    flat = Image.new("RGB", image.size, colour)
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG to 8 bits: Pillow scales only the pixels, so that none would match."""
    clear, tile = image.info.get("transparency"), getattr(image, "tile", None)
    depth = tile[0][3] if tile and image.format == "PNG" else None
    if depth in ("L;2", "L;4") and isinstance(clear, int):
        largest = 3 if depth == "L;2" else 15
        image.info["transparency"] = (clear & largest) * (255 // largest)
    elif depth == "RGB;16B" and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _colours(image: Image.Image) -> Image.Image:
    """An opaque picture as RGB; a copy if it is RGB already."""
    if image.mode == "LAB":  # Pillow converts LAB through colour management only
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits; `convert` alone would clip the values at 255."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    low, high = 0, 65535
    if image.mode == "F" or values.min() < low or values.max() > high:
        # There is no standard range: map the smallest value to black and the largest to white.
        values = np.nan_to_num(values, posinf=0, neginf=0)
        low, high = values.min(), values.max()
    grey = Image.fromarray(np.uint8((values - low) * 255 / ((high - low) or 1) + 0.5))
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # one grey value means transparent
        grey = Image.merge("LA", (grey, Image.fromarray(np.uint8(values != clear) * 255)))
    return grey
