"""Read one picture, in any raster format, as RGB pixels.

Pictures are returned as new RGB `PIL.Image.Image` objects; no file stays open.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from PIL import Image, ImageOps

from ..errors import PictureError, QueryError, check_integer, check_path
from .colours import as_rgb, colour_of, scale_transparency

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS"),
    *("PPM", "PCX", "PSD", "SGI", "DDS", "QOI", "XBM", "XPM", "SUN", "TGA"),
)
"""The raster formats that are opened, recognised by content, besides HEIF, which another package reads. EPS, WMF and
PDF are excluded: they run an interpreter."""

_WEAK = frozenset(("BMP", "DIB", "ICO", "PPM", "PCX", "SGI", "XBM", "TGA"))
"""Formats whose first bytes other files have as well: only a file named as a picture is taken for one of them."""

MAX_PIXELS = 64_000_000
"""The most pixels decoded for one picture: 8,000 x 8,000, about 200 MB as RGB."""

OPENING_VERSION = 2
"""Changes when the same file gives other pixels."""


def _is_heif(prefix: bytes) -> bool:
    """Whether a file is HEIC, not AVIF, which has the same container: its brand is among the first."""
    return prefix[4:8] == b"ftyp" and re.search(rb"hei[cxms]|hev[cxms]", prefix[8:]) is not None


def _is_tga(prefix: bytes) -> bool:
    """Whether the header is one of TGA, which has no magic number."""
    mapped, kind, bits = prefix[1], prefix[2], prefix[16]
    if kind not in (1, 2, 3, 9, 10, 11) or mapped != (kind % 8 == 1) or bits not in (8, 16, 24, 32):
        return False
    return bool(mapped or not any(prefix[3:8])) and all(struct.unpack_from("<HH", prefix, 12))


def _read_heif(file, name):
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise PictureError("HEIC pictures need pillow-heif: pip install pillow-heif") from None
    return HeifImageFile(file, name)


Image.init()
# Formats that this Pillow was built without (AVIF on some systems) are skipped.
_READERS = {"HEIF": (_read_heif, _is_heif)} | {name: Image.OPEN[name] for name in FORMATS if name in Image.OPEN}
_READERS["TGA"] = _READERS["TGA"][0], _is_tga
SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in _READERS or name == "MPO"
) | {".heic", ".heif", ".hif"}
"""The file name extensions of pictures, in lower case with the dot."""

RAW = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw", ".nef", ".nrw"),
        *(".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw", ".x3f"),
    )
)
"""The extensions of a camera's raw files. Many are TIFFs, but the picture in front is a thumbnail."""


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

    The EXIF orientation and the embedded colour profile are applied, transparency is laid on a background, and every
    mode (palette, grey, 16-bit, CMYK, 1-bit, floating point) is converted to 8-bit RGB. In 16-bit grey, white is the
    greatest value of 8, 10, 12, 14 or 16 bits, whichever are just enough for all pixels: cameras write 12 bits in 16.
    Other numbers are scaled from their smallest to their greatest, without NaN, infinity and values that stand for no
    data, which become black.

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
        If there is no such frame or colour, `max_pixels` is no positive integer, or `source` is of another type.

    Examples
    --------
    >>> import amulsearch as am
    >>> fawn = am.open_image("data/openclipart/animals/mammals/fawn_mo_01.webp", background="#204060")
    >>> fawn.mode, fawn.size
    ('RGB', (226, 320))
    >>> fawn.getpixel((0, 0))
    (32, 64, 96)
    """
    return _opened_as(source, True, opening(frame, background, max_pixels))


def open_alike(source, how: Mapping) -> Image.Image:
    """Open a picture that is not in a collection as the collection opens its own.

    Parameters
    ----------
    source : path, bytes, binary file or PIL.Image.Image
        See `open_image`.
    how : mapping
        The frame, or the last one if the picture has fewer, the background and max_pixels: see `Collection.opening`.

    Returns
    -------
    PIL.Image.Image
        A new picture in mode RGB.

    Raises
    ------
    PictureError
        If the picture cannot be opened, see `open_image`.
    QueryError
        If `source` is of another type.
    """
    return _opened_as(source, False, how)


def opening(frame: int = 0, background: str = "white", max_pixels: int = MAX_PIXELS) -> dict:
    """Check how pictures are to be opened.

    Parameters
    ----------
    frame, background, max_pixels
        See `open_image`.

    Returns
    -------
    dict
        The three by name, as `open_alike` takes them.

    Raises
    ------
    QueryError
        If there can be no such frame, colour or limit.
    """
    colour_of(background)
    return {
        "frame": check_integer("frame", frame, 0),
        "background": background,
        "max_pixels": check_integer("max_pixels", max_pixels),
    }


def _opened_as(source, exact: bool, how: Mapping) -> Image.Image:
    """`open_image`; unless `exact`, the last frame stands for those that do not exist."""
    try:
        if isinstance(source, Image.Image):
            frame = _frame_of(source, how["frame"], exact)
            return _guarded(lambda: _to_rgb(source, frame, colour_of(how["background"]), math.inf))
        return open_for(None, source, **how, exact=exact)[0]
    except PictureError as error:
        if isinstance(source, (str, os.PathLike)):
            raise PictureError(f"{os.fspath(source)}: {error}") from None
        raise


def open_for(
    side: int | None, source, *, frame: int, background: str, max_pixels: int, exact: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """Open a picture as `open_alike` does, for shrinking to squares of half of `side`; also its full width and height.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, with at least `side` pixels on its shorter side, three to
    five times faster. After shrinking, its pixels differ from those of the full picture by less than 0.5 of 255 levels
    on average.
    """
    with _opened(source) as image:
        _reduce_jpeg(image, max_pixels, side)
        frame = _frame_of(image, frame, exact)
        size = _displayed_size(image) if "declared_size" in image.info and not frame else None
        rgb = _guarded(lambda: _to_rgb(image, frame, colour_of(background), max_pixels))
        return rgb, size or rgb.size


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
        if _UNREAD.search(detail):
            raise PictureError(
                f"its pixels are of a kind that is not read, such as five bands or 32-bit RGB ({detail}): save it as "
                "8-bit RGB"
            ) from None
        raise PictureError(f"damaged: {detail}") from None


_UNREAD = re.compile("unknown pixel mode|unsupported|unimplemented|not supported|cannot handle", re.IGNORECASE)
"""How Pillow says that a file may be whole, but is of a kind that it does not read."""


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


def begins_as_picture(path: str) -> bool:
    """Whether the first bytes of a file are those of a picture, whatever its name says."""
    with suppress(PictureError, OSError), file_of(path) as file:
        prefix = file.read(32)
        return any(_accepted(accepts, prefix) for name, (_, accepts) in _READERS.items() if name not in _WEAK)
    return False


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
        if path.suffix.lower() in RAW:
            raise PictureError("a camera's raw file, not a finished picture: export it as JPEG or TIFF")
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
            "save it smaller, or raise the limit (max_pixels=, or --max-pixels where the folder is indexed)"
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


def _frame_of(image: Image.Image, frame: int, exact: bool) -> int:
    """The frame to open: the last one if there are fewer, or, if `exact`, a QueryError."""
    frames = _count_frames(image) if frame else 1
    if exact and frame >= frames:
        raise QueryError(f"there is no frame {frame}: the picture has {frames} frames, counted from 0")
    return min(frame, frames - 1)


def _to_rgb(image: Image.Image, frame: int, colour: tuple[int, int, int], max_pixels: float) -> Image.Image:
    if frame:
        image.seek(frame)
        _limit_pixels(image, max_pixels)  # the pages of a TIFF differ in size
    scale_transparency(image)
    image.load()
    return as_rgb(ImageOps.exif_transpose(image) if _orientation(image) != 1 else image, colour)
