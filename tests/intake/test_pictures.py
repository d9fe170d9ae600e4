"""Opening and framing a picture, compared with pixels computed by hand or with numpy."""

import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms, TiffImagePlugin

import amulsearch as am
from amulsearch.intake.decoding import Request, decode
from amulsearch.intake.pictures import FORMATS, read_header
from amulsearch.models.preprocess import Preprocess

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
BLOCKS = np.uint8([[RED, GREEN, BLUE], [WHITE, BLACK, (200, 200, 0)]])


def saved(image, format, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width, height, bits, colour_type, rows, *chunks) -> bytes:
    """Write a PNG file of a kind that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def pixels(source, **options) -> np.ndarray:
    image = am.open_image(source, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


# EXIF orientation

UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "MPO"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_is_applied(orientation, format):
    stored = BLOCKS.repeat(16, axis=0).repeat(16, axis=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"lossless": True} if format == "WEBP" else {"quality": 100}
    data = saved(Image.fromarray(stored), format, exif=exif, **exact)
    expected = UPRIGHT[orientation](stored)
    seen = pixels(data)
    assert seen.shape == expected.shape
    middles = np.abs(seen - expected)[8::16, 8::16]
    assert middles.max() <= (0 if format in ("PNG", "TIFF", "WEBP") else 4)
    header = read_header(data)
    assert (header["width"], header["height"]) == seen.shape[1::-1]


# Transparency: (file, its colours, its opacity between 0 and 1)


def transparent_pictures():
    grey = [[0, 0, 0], [85, 85, 85], [170, 170, 170], [255, 255, 255]]
    second_is_clear = [1, 0, 1, 1]
    one_bit = [[255] * 3, [0] * 3, [255] * 3, [0] * 3]
    palette = (b"PLTE", bytes([255, 0, 0, 0, 128, 0, 0, 0, 255]))
    rgba = [[255, 0, 0, 255], [0, 128, 0, 0], [0, 0, 255, 51], [10, 20, 30, 153]]
    grey_alpha = [[255, 255], [0, 0], [100, 51], [30, 153]]

    def trns(*values):
        return b"tRNS", struct.pack(f">{len(values)}H", *values)

    yield "palette and tRNS", png(3, 1, 8, 3, [b"\0\1\2"], palette, (b"tRNS", b"\xff\0\x33")), BLOCKS[0], [1, 0, 0.2]
    yield "1-bit grey, white clear", png(4, 1, 1, 0, [b"\xa0"], trns(1)), one_bit, [0, 1, 0, 1]
    yield "1-bit grey, black clear", png(4, 1, 1, 0, [b"\xa0"], trns(0)), one_bit, [1, 0, 1, 0]
    yield "2-bit grey", png(4, 1, 2, 0, [b"\x1b"], trns(1)), grey, second_is_clear
    yield "4-bit grey", png(4, 1, 4, 0, [b"\x05\xaf"], trns(5)), grey, second_is_clear
    yield "8-bit grey", png(4, 1, 8, 0, [b"\x00\x55\xaa\xff"], trns(85)), grey, second_is_clear
    words = struct.pack(">4H", 0, 21845, 43690, 65535)
    yield "16-bit grey", png(4, 1, 16, 0, [words], trns(21845)), grey, second_is_clear
    yield "16-bit grey, another clear", png(4, 1, 16, 0, [words], trns(85)), grey, [1, 1, 1, 1]
    yield "8-bit RGB", png(2, 1, 8, 2, [bytes([1, 2, 3, 1, 2, 4])], trns(1, 2, 3)), [[1, 2, 3], [1, 2, 4]], [0, 1]
    wide = struct.pack(">6H", 4660, 2, 65535, 65535, 0, 65535)
    yield "16-bit RGB", png(2, 1, 16, 2, [wide], trns(4660, 2, 65535)), [[18, 0, 255], [255, 0, 255]], [0, 1]
    colours, opacity = np.array(rgba)[:, :3], np.array(rgba)[:, 3] / 255
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        yield f"RGBA {format}", saved(Image.fromarray(np.uint8([rgba])), format, **options), colours, opacity
    yield "16-bit RGBA", png(4, 1, 16, 6, [(np.uint16(rgba) * 257).astype(">u2").tobytes()]), colours, opacity
    colours, opacity = np.repeat(np.array(grey_alpha)[:, :1], 3, axis=1), np.array(grey_alpha)[:, 1] / 255
    yield "LA", saved(Image.fromarray(np.uint8([grey_alpha]), "LA"), "PNG"), colours, opacity
    yield "16-bit LA", png(4, 1, 16, 4, [(np.uint16(grey_alpha) * 257).astype(">u2").tobytes()]), colours, opacity
    gif = Image.fromarray(np.uint8([[0, 1, 2]]), "P")
    gif.putpalette(BLOCKS[0].tobytes())
    yield "GIF", saved(gif, "GIF", transparency=1), BLOCKS[0], [1, 0, 1]


@pytest.mark.parametrize("ground", ["white", "#204060"])
@pytest.mark.parametrize(
    ("data", "colours", "opacity"), [pytest.param(*row, id=name) for name, *row in transparent_pictures()]
)
def test_transparency_is_laid_on_the_background(data, colours, opacity, ground):
    below = np.array({"white": WHITE, "#204060": (0x20, 0x40, 0x60)}[ground])
    opacity = np.array(opacity)[:, None]
    expected = np.array(colours) * opacity + below * (1 - opacity)
    assert np.abs(pixels(data, background=ground)[0] - expected).max() <= 1


# Modes


def modes():
    def tiff(values, dtype):
        return saved(Image.fromarray(np.array([values], dtype)), "TIFF")

    yield "16-bit PNG", png(4, 1, 16, 0, [struct.pack(">4H", 0, 256, 32768, 65535)]), [0, 1, 128, 255]
    yield "16-bit TIFF", tiff([0, 256, 32768, 65535], np.uint16), [0, 1, 128, 255]
    yield "16-bit PGM", b"P5 4 1 65535\n" + struct.pack(">4H", 0, 256, 32768, 65535), [0, 1, 128, 255]
    yield "32-bit TIFF of 16-bit values", tiff([0, 32768, 65535], np.int32), [0, 128, 255]
    yield "32-bit TIFF of larger values", tiff([0, 2**29, 2**31 - 1], np.int32), [0, 64, 255]
    yield "32-bit TIFF below zero", tiff([-100, 0, 100], np.int32), [0, 128, 255]
    yield "floating point", tiff([-1, 0, 1, 3], np.float32), [0, 64, 128, 255]
    yield "floating point, 0 to 1", tiff([0, 0.25, 0.5, 1], np.float32), [0, 64, 128, 255]
    yield "floating point with holes", tiff([np.nan, 0, 3, 6, np.inf], np.float32), [0, 0, 128, 255, 0]
    yield "floating point, all equal", tiff([7, 7], np.float32), [0, 0]
    yield "12 bits in a 16-bit PNG", png(3, 1, 16, 0, [struct.pack(">3H", 0, 2048, 4095)]), [0, 128, 255]
    yield "12 bits in a 16-bit TIFF", tiff([0, 2048, 4095], np.uint16), [0, 128, 255]
    yield "8 bits in a 32-bit TIFF", tiff([0, 128, 255], np.int32), [0, 128, 255]
    yield "nearly black in 16 bits", tiff([0, 1, 3], np.uint16), [0, 1, 3]
    yield "floating point, only holes", tiff([np.nan, np.inf], np.float32), [0, 0]
    yield "1-bit PNG", png(4, 1, 1, 0, [b"\xa0"]), [255, 0, 255, 0]
    yield "1-bit TIFF", saved(Image.fromarray(np.array([[True, False]])), "TIFF", compression="group4"), [255, 0]
    yield "1-bit PBM", b"P1 4 1\n0 1 0 1\n", [255, 0, 255, 0]
    yield "8-bit grey", png(2, 1, 8, 0, [b"\x12\xc8"]), [0x12, 0xC8]


@pytest.mark.parametrize(("data", "grey"), [pytest.param(*row, id=name) for name, *row in modes()])
def test_grey_of_every_depth(data, grey):
    seen = pixels(data)[0]
    assert np.array_equal(seen, np.repeat(np.array(grey)[:, None], 3, axis=1))


@pytest.mark.parametrize("ink", [(0, 255, 255, 0), (255, 0, 0, 0), (0, 0, 0, 255), (100, 0, 50, 60), (0, 0, 0, 0)])
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(ink, format):
    data = saved(Image.new("CMYK", (16, 16), ink), format)
    *inks, key = ink
    expected = [(255 - value) * (255 - key) / 255 for value in inks]
    assert np.abs(pixels(data) - expected).max() <= 3


def test_lab():
    # CIE L*a*b* of sRGB's red is (53.2, 80.1, 67.2).
    red = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (136, 128 + 80, 128 + 67)])
    assert np.abs(pixels(saved(red, "TIFF")) - RED).max() <= 12


@pytest.fixture
def swapped() -> bytes:
    """A profile that means red by blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12)
    red, blue = (next(at + 4 for at in tags if profile[at : at + 4] == tag) for tag in (b"rXYZ", b"bXYZ"))
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_embedded_colour_profile_is_applied(format, swapped):
    image, options = Image.new("RGB", (16, 16), (20, 60, 220)), {"icc_profile": swapped}
    options |= {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "JPEG" else {}
    assert np.abs(pixels(saved(image, format, **options)) - (220, 60, 20)).max() <= (4 if format == "JPEG" else 1)
    if format in ("PNG", "WEBP"):
        image.putalpha(128)
        assert np.abs(pixels(saved(image, format, exact=True, **options)) - (237, 157, 137)).max() <= 2


def test_a_profile_that_changes_nothing_or_does_not_fit_leaves_the_pixels(swapped):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for values, profile in ((noise, standard), (noise, b"no profile"), (noise[..., 0], swapped)):
        image = Image.fromarray(values)
        assert np.array_equal(pixels(saved(image, "PNG", icc_profile=profile)), np.asarray(image.convert("RGB")))


def strip(bits, kind) -> bytes:
    """A TIFF of one strip, of a kind that Pillow does not write."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    values = {256: 8, 257: 6, 258: bits, 259: 1, 262: 2 if len(bits) == 3 else 1, 277: len(bits), 278: 6, 339: kind}
    values |= {273: 1000, 279: 48 * sum(bits) // 8}
    for tag, value in values.items():
        tags[tag] = value
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue().ljust(1000, b"\0") + bytes(values[279])


@pytest.mark.parametrize(("bits", "kind"), [((8,) * 5, (1,) * 5), ((32,) * 3, (3,) * 3)], ids=["bands", "floats"])
def test_pixels_that_are_not_read_are_not_called_damaged(bits, kind):
    with pytest.raises(am.errors.PictureError, match=r"^cannot be decoded: unknown"):
        am.open_image(strip(bits, kind))


def test_a_raw_file_is_no_picture_with_a_thumbnail(tmp_path):
    Image.new("RGB", (16, 12)).save(path := tmp_path / "raw.tif")
    assert am.open_image(path).size == (16, 12)
    path.rename(tmp_path / "raw.DNG")
    with pytest.raises(am.errors.PictureError, match=r"raw\.DNG: a camera's raw file.*: export it as JPEG or TIFF"):
        am.open_image(tmp_path / "raw.DNG")


def test_heic_is_read_where_its_package_is_installed_and_else_said(monkeypatch):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(am.errors.PictureError, match="HEIC pictures need pillow-heif: pip install pillow-heif"):
        am.open_image(heic)
    monkeypatch.undo()
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(file := io.BytesIO())
    assert np.abs(pixels(file.getvalue()) - RED).max() <= 4 and read_header(file.getvalue())["format"] == "HEIF"


def test_every_format_that_pillow_writes_here_comes_back():
    source = Image.fromarray(BLOCKS.repeat(32, axis=0).repeat(32, axis=1)).resize((64, 64), Image.Resampling.NEAREST)
    inexact = {"JPEG", "JPEG2000", "AVIF", "WEBP", "ICNS"}
    written = 0
    for format in FORMATS:
        mode = "1" if format == "XBM" else "RGB"
        try:
            data = saved(source.convert(mode), format)
        except (KeyError, OSError):  # Pillow only reads this format
            continue
        expected = np.asarray(source.convert(mode).convert("RGB")).astype(int)
        seen = np.asarray(am.open_image(data).resize((64, 64))).astype(int)
        assert np.mean(np.abs(seen - expected)) < (8 if format in inexact else 0.5), format
        assert read_header(data)["format"] == format
        written += 1
    assert written >= 10


# Frames


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF"])
def test_a_frame_is_chosen(format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert read_header(data)["frames"] == 3
    for frame, colour in enumerate((RED, GREEN, BLUE)):
        assert (pixels(data, frame=frame) == colour).all()
    assert (pixels(data) == RED).all()
    assert (pixels(data, frame=7) == BLUE).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frame": -1}, "frame must be an integer of at least 0, not -1"),
        ({"frame": "1"}, "frame must be an integer"),
        ({"max_pixels": None}, "max_pixels must be an integer of at least 1, not None"),
        ({"background": "no colour"}, "unknown background 'no colour': use a colour name or #rrggbb"),
        ({"background": None}, "unknown background"),
        ({"background": (1, 2, 3)}, "unknown background"),
    ],
)
def test_what_no_picture_can_be_opened_with_is_refused_once(wrong, words, small_folder):
    with pytest.raises(am.errors.QueryError, match=words):
        am.open_image(Image.new("RGB", (2, 2)), **wrong)
    with pytest.raises(am.errors.QueryError, match=words):
        am.Collection.from_folder(small_folder, progress=False, **wrong)


# Large pictures


def oversized():
    yield "PNG", png(30000, 30000, 8, 2, [b"\0" * 10])
    gif = bytearray(saved(Image.new("P", (16, 16)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    yield "GIF", bytes(gif)
    gif = bytearray(saved(Image.new("P", (16, 16)), "GIF"))
    start = gif.index(b",\0\0\0\0") + 5
    gif[start : start + 4] = struct.pack("<HH", 60000, 60000)
    yield "GIF, larger frame", bytes(gif)
    bmp = bytearray(saved(Image.new("RGB", (16, 16)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 30000, 30000)
    yield "BMP", bytes(bmp)
    webp = bytearray(saved(Image.new("RGBA", (16, 16)), "WEBP", lossless=True))
    size = int.from_bytes(webp[21:25], "little") >> 28 << 28 | 16383 << 14 | 16383  # two fields of 14 bits
    webp[21:25] = size.to_bytes(4, "little")
    yield "WebP", bytes(webp)
    inner = png(30000, 30000, 8, 2, [b"\0" * 10])
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    yield "ICO", icon


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in oversized()])
def test_a_decompression_bomb_is_refused_at_once(data):
    start = time.perf_counter()
    with pytest.raises(am.errors.PictureError, match=r"megapixels, over the limit of 64|decompression bomb"):
        am.open_image(data)
    assert time.perf_counter() - start < 1


def test_a_decompression_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30000, 30000, 8, 2, [b"\0" * 10]))
    program = f"""if True:
        import resource
        import amulsearch as am
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            am.open_image({str(path)!r})
        except am.errors.PictureError:
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20  # MB


def test_each_page_is_held_to_the_limit():
    pages = [Image.new("1", (10, 10)), Image.new("1", (3000, 3000))]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    assert am.open_image(data, max_pixels=1_000_000).size == (10, 10)
    with pytest.raises(
        am.errors.PictureError, match=r"3000 x 3000 is 9 megapixels, over the limit of 1: .*--max-pixels"
    ):
        am.open_image(data, frame=1, max_pixels=1_000_000)


def test_a_large_jpeg_is_decoded_smaller(tmp_path):
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((9000, 8400)).save(path, exif=exif)  # dark above, light below
    header = read_header(path, max_pixels=6_000_000)
    assert (header["width"], header["height"], header["format"]) == (8400, 9000, "JPEG")
    small = am.open_image(path, max_pixels=6_000_000)
    assert small.size == (2100, 2250)
    corners = np.asarray(small.resize((2, 1), Image.Resampling.BOX))[0, :, 0]
    assert np.abs(corners.astype(int) - [191, 64]).max() <= 2  # rotated by a quarter turn: light left, dark right
    with pytest.raises(am.errors.PictureError, match="9000 x 8400 is 76 megapixels, over the limit of 1"):
        am.open_image(path, max_pixels=1_000_000)


# Files that are not valid pictures


def test_a_truncated_file_is_told(photographs):
    for name in ("cat", "rocket"):
        data = photographs[name].read_bytes()
        for part in (0.001, 0.1, 0.5, 0.9):
            with pytest.raises(am.errors.PictureError, match=r"(?i)truncated|cannot be decoded"):
                am.open_image(data[: int(part * len(data))])
        assert (read_header(data[: len(data) // 2])["width"] > 400) and am.open_image(data)


def test_what_is_named_png_and_is_none(tmp_path):
    (path := tmp_path / "picture.png").touch()
    for content, reason in {
        b"": "the file is empty",
        b"hi": "not a picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>": "not a picture",
        b"%PDF-1.4 and so on": "not a picture",
        b"\x89PNG\r\n\x1a\n": "cannot be decoded",
    }.items():
        path.write_bytes(content)
        for read in (am.open_image, read_header):
            with pytest.raises(am.errors.PictureError, match=reason):
                read(path)


def test_postscript_is_refused_and_not_run(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    interpreter = tmp_path / "gs"
    interpreter.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow caches what it found
    path = tmp_path / "picture.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(am.errors.PictureError, match="not a picture"):
        am.open_image(path)
    assert not ran.exists()
    with pytest.raises((OSError, subprocess.CalledProcessError)), Image.open(path) as image:
        image.load()
    assert ran.exists()  # Pillow itself runs the interpreter


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.mkfifo(path), "not a regular file"),
        (os.mkdir, "not a regular file"),
        (lambda path: path.symlink_to("nowhere.png"), "No such file"),
        (lambda path: path.symlink_to(path.name), "cannot be read"),
        (str, "No such file"),
    ],
)
def test_what_is_no_file(make, reason, tmp_path):
    make(path := tmp_path / "picture.png")
    with pytest.raises(am.errors.PictureError, match=reason):
        am.open_image(path)


def test_a_file_without_permission(open_folder, without_root):
    path = open_folder / "secret.png"
    path.write_bytes(png(1, 1, 8, 0, [b"\0"]))
    assert am.open_image(path).size == (1, 1)
    path.chmod(0)
    with without_root(), pytest.raises(am.errors.PictureError, match="Permission denied"):
        am.open_image(path)


def damageable():
    """Small files of many formats; the first kilobyte holds the header of each."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8))
    for format in ("PNG", "GIF", "WEBP", "TIFF", "ICO", "JPEG2000", "SGI", "AVIF", "DDS"):
        try:
            yield format, saved(image, format)
        except (KeyError, OSError):
            continue
    for format in ("JPEG", "BMP", "PPM", "PCX", "MPO"):
        yield format, saved(image.convert("RGB"), format)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damageable()])
def test_damage_anywhere_gives_a_picture_or_a_picture_error(data):
    chance = random.Random(0)
    refused = 0
    for trial in range(150):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 10))):
            damaged[chance.randrange(len(data) if trial % 3 == 0 else min(len(data), 64))] = chance.randrange(256)
        if trial % 5 == 0:
            del damaged[chance.randrange(len(data)) :]
        try:
            with warnings.catch_warnings(action="ignore"):
                assert am.open_image(bytes(damaged), max_pixels=1_000_000).mode == "RGB"
                assert read_header(bytes(damaged))["frames"] >= 1
        except am.errors.PictureError as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 0


# Sources


def test_every_kind_of_source_gives_the_same_picture_and_one_of_its_own(photographs):
    path = photographs["cat"]
    expected = np.asarray(Image.open(path))
    for source in (path, str(path), path.read_bytes(), Image.open(path), image := Image.fromarray(expected)):
        assert np.array_equal(pixels(source), expected)
    am.open_image(image).putpixel((0, 0), BLUE)
    assert np.array_equal(image, expected)
    for source in (3, io.StringIO("text")):
        with pytest.raises(am.errors.QueryError, match="give a path, bytes or a PIL image"):
            am.open_image(source)


@pytest.mark.parametrize("size", [(1500, 1000), (1000, 1477)])  # the second is rounded when reduced
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_may_come_smaller(photographs, tmp_path, size, orientation):
    image = am.open_image(photographs["coffee"]).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path := tmp_path / "large.jpg", quality=95, exif=exif)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    requests = [Request(str(path), digest, side=side) for side in (None, 300, 120, 600)]
    whole, small, smaller, same, only = decode([*requests, requests[1]._replace(frame=5)])
    assert only.size == small.size and np.array_equal(only.rgb, small.rgb)  # the last frame is the first
    shape = size if orientation == 6 else size[::-1]
    assert whole.rgb.shape[:2] == same.rgb.shape[:2] == shape
    assert small.rgb.shape[:2] == (-(-shape[0] // 2), -(-shape[1] // 2))
    assert smaller.rgb.shape[:2] == (-(-shape[0] // 8), -(-shape[1] // 8))
    assert whole.size == small.size == smaller.size == shape[::-1]
    one, other = (Preprocess(150).pixels(of, "pad", "white").astype(float) for of in (whole, small))
    assert np.abs(one - other).mean() < 0.5
