"""Framing a picture, compared with what Pillow makes of it."""

import numpy as np
import pytest
from PIL import Image, ImageOps

import amulsearch as am
from amulsearch.intake import Decoded
from amulsearch.models.preprocess import Preprocess

RED, WHITE = (255, 0, 0), (255, 255, 255)


def random_picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def alike(image: Image.Image, other: Image.Image) -> bool:
    """Equal except for rounding, which affects up to a quarter of the values of noise."""
    difference = np.abs(np.asarray(image, int) - np.asarray(other, int))
    return image.size == other.size and difference.max() <= 12 and difference.mean() < 0.3


@pytest.mark.parametrize("size", [(301, 150), (150, 301), (50, 33), (640, 5)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_framing_resizes_as_pillow_does(size, interpolation):
    image, (width, height) = random_picture(*size), size
    resample = Image.Resampling[interpolation.upper()]

    def framed(framing, background="white"):
        how, picture = Preprocess(100, interpolation=interpolation, crop_pct=0.9), Decoded(np.array(image), size)
        return Image.fromarray(how.pixels(picture, framing, background))

    assert alike(framed("squash"), image.resize((100, 100), resample))

    inner = (100, max(1, round(100 * height / width))) if width > height else (round(100 * width / height), 100)
    padded = Image.new("RGB", (100, 100), (1, 2, 3))
    padded.paste(image.resize(inner, resample), ((100 - inner[0]) // 2, (100 - inner[1]) // 2))
    assert alike(framed("pad", "#010203"), padded)

    side = round(0.9 * min(size))
    left, top = (width - side) // 2, (height - side) // 2
    centre = image.crop((left, top, left + side, top + side)).resize((100, 100), resample)
    assert alike(framed("crop"), centre)


def test_a_picture_is_padded_with_white_where_nothing_is_said():
    padded = np.asarray(am.models.resize_image(random_picture(20, 10), 8))
    assert (padded[[0, 1, 6, 7]] == WHITE).all() and not (padded[2:6] == WHITE).all()


@pytest.mark.parametrize("framing", ["pad", "crop", "squash"])
def test_what_is_in_the_middle_stays_there(framing):
    values = np.full((61, 101, 3), 255, np.uint8)
    values[26:35, 46:55] = 0
    dark = 255 - np.asarray(am.models.resize_image(Image.fromarray(values), 50, framing))[..., 0].astype(float)
    rows, columns = np.indices(dark.shape)
    assert dark.sum() > 0
    assert abs((rows * dark).sum() / dark.sum() - 24.5) < 0.6
    assert abs((columns * dark).sum() / dark.sum() - 24.5) < 0.6


def test_an_extreme_shape_can_be_framed():
    line = Image.new("RGB", (1, 5000), RED)
    for image, turned in ((line, False), (line.transpose(Image.Transpose.ROTATE_90), True)):
        padded = np.asarray(am.models.resize_image(image, 10, "pad"))
        padded = padded.transpose(1, 0, 2) if turned else padded
        assert (padded[:, 4] == RED).all() and (np.delete(padded, 4, axis=1) == WHITE).all()
        for framing in ("crop", "squash"):
            framed = np.asarray(am.models.resize_image(image, 10, framing))
            assert framed.shape == (10, 10, 3) and (framed == RED).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"interpolation": "nearest"}, "unknown interpolation 'nearest': use one of bilinear, bicubic"),
        ({"channels": "HSV"}, "unknown channels 'HSV': use one of RGB, BGR"),
        ({"crop_pct": 0}, "crop_pct must be above 0"),
        ({"size": 0}, "size must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong, words):
    with pytest.raises(am.errors.QueryError, match=words):
        Preprocess(**wrong)
    with pytest.raises(am.errors.QueryError, match="unknown framing 'stretch': use one of pad, crop, squash"):
        am.models.resize_image(Image.new("RGB", (4, 4)), 4, "stretch")


VIEWS = {
    "mirror": ImageOps.mirror,
    "turn90": lambda image: image.rotate(90, expand=True),
    "turn180": lambda image: image.rotate(180),
    "turn270": lambda image: image.rotate(-90, expand=True),
    "grey": ImageOps.grayscale,
    "mirror@turn90": lambda image: ImageOps.mirror(image).rotate(90, expand=True),
    "turn90@mirror": lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    "grey@mirror": lambda image: ImageOps.mirror(ImageOps.grayscale(image)),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_the_edited_picture(view, cartoons):
    image = cartoons.open(cartoons.ids[0]).resize((320, 160))
    plain = am.embed(VIEWS[view](image).convert("RGB"), "squeezenet1_1", "penultimate")["penultimate"]
    seen = am.embed(image, f"squeezenet1_1@{view}", "penultimate")["penultimate"]
    assert plain @ seen.T / np.linalg.norm(plain) / np.linalg.norm(seen) > 0.999


def test_a_blurred_view_is_convolved_with_a_gaussian():
    from scipy.ndimage import gaussian_filter

    rgb = np.array(random_picture(60, 60).resize((224, 224)))
    seen = am.models.get("squeezenet1_1@blur5").preprocess.pixels(Decoded(rgb, (224, 224)), "pad", "white")
    expected = gaussian_filter(rgb.astype(float), (5, 5, 0), mode="nearest")[..., ::-1]
    assert np.abs(seen - expected)[16:-16, 16:-16].max() < 4
    assert am.models.get("squeezenet1_1@blur3@blur4").preprocess.blur == 5


@pytest.mark.parametrize("view", ["upside", "7", "blur", "blur0", "blur120", "turn45", "mirror5", "greyblur5", ""])
def test_an_unknown_view_is_refused(view):
    with pytest.raises(am.errors.ModelError, match=r"use @mirror, @turn90 .*, or @ and a size"):
        am.models.get(f"squeezenet1_1@{view}")


def test_a_preprocessing_with_unknown_turns_and_blurs_is_refused():
    for change in ({"turn": 45}, {"blur": -1}, {"blur": 65}, {"blur": "5"}):
        with pytest.raises(am.errors.QueryError, match=r"(turn|blur)"):
            Preprocess(100, **change)
