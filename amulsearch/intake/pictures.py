"""Read one picture, in any raster format, as RGB pixels."""

import hashlib
import io
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from ..errors import PictureError, QueryError, check_integer, check_path, first_line
from .colours import as_rgb, colour_of, scale_transparency

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS"),
    *("PPM", "PCX", "PSD", "SGI", "DDS", "QOI", "XBM", "XPM", "SUN"),
)
"""The raster formats that are opened, recognised by content, besides HEIF, which another package reads. EPS, WMF and
PDF are excluded: they run an interpreter."""

# Formats whose first bytes other files have as well: only a file named as a picture is taken for one of them.
_WEAK = frozenset(("BMP", "DIB", "ICO", "PPM", "PCX", "SGI", "XBM"))

MAX_PIXELS = 64_000_000
"""The most pixels decoded for one picture: 8,000 x 8,000, about 200 MB as RGB."""

OPENING_VERSION = 2
"""Changes when the same file gives other pixels."""


def _is_heif(prefix: bytes) -> bool:
    """Whether a file is HEIC, not AVIF, which has the same container: its brand is among the first."""
    return prefix[4:8] == b"ftyp" and re.search(rb"hei[cxms]|hev[cxms]", prefix[8:]) is not None


def _read_heif(file, name):
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise PictureError("HEIC pictures need pillow-heif: pip install pillow-heif") from None
    return HeifImageFile(file, name)


Image.init()
# Formats that this Pillow was built without (AVIF on some systems) are skipped.
_READERS = {"HEIF": (_read_heif, _is_heif)} | {name: Image.OPEN[name] for name in FORMATS if name in Image.OPEN}
SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in _READERS or name == "MPO"
) | {".heic", ".heif", ".hif"}
"""The file name extensions of pictures, in lower case with the dot."""

RAW = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw", ".nef", ".nrw"),
    *(".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw", ".x3f"),
)
"""The extensions of a camera's raw files. Many are TIFFs, but the picture in front is a thumbnail."""


def read_header(source, max_pixels: int = MAX_PIXELS) -> dict:
    """What the header of a picture declares: width and height as displayed, in pixels, format and frames.

    Raises PictureError with the reason if the file is not a picture or would decode to more than `max_pixels`.
    """
    with _opened(source) as image:
        _reduce_jpeg(image, max_pixels)
        width, height = _displayed_size(image)
        return {"width": width, "height": height, "format": image.format, "frames": _count_frames(image)}


def open_image(source, *, frame: int = 0, background: str = "white", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture as RGB, the way it is meant to be seen.

    The EXIF orientation and the embedded colour profile are applied, transparency is laid on a background, and every
    mode (palette, grey, 16-bit, CMYK, 1-bit, floating point) is converted to 8-bit RGB. In 16-bit grey, white is the
    greatest value of 8, 10, 12, 14 or 16 bits, whichever are just enough for all pixels: cameras write 12 bits in 16.
    Other numbers are scaled from their smallest to their greatest; NaN and infinity become black.

    Parameters
    ----------
    source : path, bytes or PIL.Image.Image
        The picture. Its format is recognised by its content, not by its name.
    frame : int, default 0
        Which frame of an animation, from 0; the last one if it has fewer.
    background : str, default "white"
        The colour behind transparent pixels: a name or "#rrggbb".
    max_pixels : int, default 64,000,000
        Larger pictures are rejected, except JPEGs that are under the limit when decoded at 1/2, 1/4 or 1/8 of their
        size. The limit does not apply to PIL images.

    Raises
    ------
    PictureError
        If the file is missing, damaged, too large or not a picture; the message gives the reason.
    QueryError
        If there is no such colour, `frame` or `max_pixels` cannot be, or `source` is of another type.

    Examples
    --------
    >>> import amulsearch as am
    >>> fawn = am.open_image("data/openclipart/animals/mammals/fawn_mo_01.webp", background="#204060")
    >>> fawn.mode, fawn.size
    ('RGB', (226, 320))
    >>> fawn.getpixel((0, 0))
    (32, 64, 96)
    """
    how = opening(frame, background, max_pixels)
    if isinstance(source, Image.Image):
        with guarded():
            return _to_rgb(source, _existing_frame(source, how["frame"]), background, math.inf)
    try:
        return open_for(None, source, **how)[0]
    except PictureError as error:
        if isinstance(source, (str, os.PathLike)):
            raise PictureError(f"{os.fspath(source)}: {error}") from None
        raise


def opening(frame: int = 0, background: str = "white", max_pixels: int = MAX_PIXELS) -> dict:
    """How pictures are opened, as keywords of `open_image`; QueryError for what no picture can be opened with."""
    colour_of(background)
    return {
        "frame": check_integer("frame", frame, 0),
        "background": background,
        "max_pixels": check_integer("max_pixels", max_pixels),
    }


def open_for(
    side: int | None, source, *, frame: int, background: str, max_pixels: int
) -> tuple[Image.Image, tuple[int, int]]:
    """Open a picture as `open_image` does; also its full width and height.

    With `side`, a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, with at least `side` pixels on its shorter
    side, three to five times faster; shrunk to half of `side`, its pixels differ by less than 0.5 of 255 levels.
    """
    with _opened(source) as image, guarded():
        _reduce_jpeg(image, max_pixels, side)
        frame = _existing_frame(image, frame)
        declared = _displayed_size(image) if "declared_size" in image.info and not frame else None
        rgb = _to_rgb(image, frame, background, max_pixels)
        return rgb, declared or rgb.size


@contextmanager
def guarded() -> Iterator[None]:
    """Turn any exception that Pillow raises on a damaged file into a PictureError with a short reason."""
    try:
        yield
    except (PictureError, QueryError):
        raise
    except MemoryError:
        raise PictureError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders raise nearly every built-in error on damaged files
        strerror = getattr(error, "strerror", None)
        reason = f"cannot be read: {strerror}" if strerror else f"cannot be decoded: {first_line(error)[:200]}"
        raise PictureError(reason) from None


@contextmanager
def _opened(source) -> Iterator[Image.Image]:
    """A lazily decoded PIL image of the file; its first bytes select one of FORMATS."""
    with guarded():
        file = file_of(source)
        prefix = file.read(32)
    with file:
        if not prefix:
            raise PictureError("the file is empty")
        name = _format_of(prefix)
        if name is None:
            raise PictureError("not a picture in a supported format")
        # `Image.open` does the same, but applies its own size limit before a JPEG can be reduced.
        file.seek(0)
        with guarded():
            image = _READERS[name][0](file, None)
        with image:
            yield image


def _format_of(prefix: bytes) -> str | None:
    """The format that the first bytes of a file begin."""
    prefix = prefix.ljust(32, b"\0")  # for a file of one to three bytes
    return next((name for name, (_, accepts) in _READERS.items() if accepts(prefix) is True), None)


def begins_as_picture(path: str) -> bool:
    """Whether the first bytes of a file are those of a picture, whatever its name says."""
    with suppress(PictureError, OSError), file_of(path) as file:
        return _format_of(file.read(32)) not in (None, *_WEAK)
    return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_of(source) -> BinaryIO:
    """A binary file of a path or of bytes; PictureError or OSError if it cannot be opened."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise QueryError(f"an object of type {kind} is no picture: give a path, bytes or a PIL image")
    path = check_path(source)
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe or a device could block forever
        raise PictureError("not a regular file")
    if path.suffix.lower() in RAW:
        raise PictureError("a camera's raw file, not a finished picture: export it as JPEG or TIFF")
    return path.open("rb")


def _reduce_jpeg(image: Image.Image, max_pixels: int, side: int | None = None) -> None:
    """Set a reduced JPEG decoding size if it suffices for `side` or is needed for the limit; reject larger pictures."""
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
        size = f"{width} x {height} is {width * height / 1e6:.0f} megapixels, over the limit of {max_pixels / 1e6:.0f}"
        how = "max_pixels=, or --max-pixels where the folder is indexed"
        raise PictureError(f"{size}: save it smaller, or raise the limit ({how})")


def _displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as displayed, before any reduction."""
    width, height = image.info.get("declared_size", image.size)
    # orientations 5 to 8 turn the picture by 90 degrees; for a TIFF, Pillow already returns the turned size
    turned = image.format != "TIFF" and _orientation(image) >= 5
    return (height, width) if turned else (width, height)


def _count_frames(image: Image.Image) -> int:
    with suppress(Exception):  # a damaged tail: the first frame may still be good, which decoding will show
        return int(getattr(image, "n_frames", 1))
    return 1


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # with damaged EXIF data only the orientation is lost
        return int(image.getexif().get(0x0112, 1))
    return 1


def _existing_frame(image: Image.Image, frame: int) -> int:
    """The frame, or the last one if there are fewer."""
    return min(frame, _count_frames(image) - 1) if frame else 0


def _to_rgb(image: Image.Image, frame: int, background: str, max_pixels: float) -> Image.Image:
    if frame:
        image.seek(frame)
        _limit_pixels(image, max_pixels)  # the pages of a TIFF differ in size
    scale_transparency(image)
    image.load()
    upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    return as_rgb(upright, colour_of(background))
