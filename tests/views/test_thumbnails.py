"""Thumbnails compared with the pictures themselves, and captions that fit."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from amulsearch.views.captions import number, wrapped
from amulsearch.views.thumbnails import data_uri, thumbnails


def test_thumbnails_are_the_pictures_in_order(cartoons):
    ids = cartoons.sample(40, seed=2)
    found = list(thumbnails(cartoons, ids, 64, progress=False))
    assert len(found) == 40
    for id, image in zip(ids, found, strict=True):
        assert image.mode == "RGB" and max(image.size) == 64
        whole = cartoons.open(id).resize(image.size, Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(whole, int) - np.asarray(image, int)).mean() < 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_data_uri_holds_the_picture(mode):
    image = Image.new(mode, (20, 10), (200, 30, 40, 0)[: len(mode)])
    kind, content = re.fullmatch(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)", data_uri(image)).groups()
    back = Image.open(io.BytesIO(base64.b64decode(content)))
    assert back.format.lower() == kind and back.size == (20, 10)
    if mode == "RGBA":
        assert back.getpixel((5, 5))[3] == 0
    else:
        assert np.abs(np.array(back.convert("RGB").getpixel((5, 5)), int) - (200, 30, 40)).max() < 12


def test_captions_are_wrapped_and_numbers_short():
    assert wrapped("short") == "short" and wrapped("x" * 30) == "x" * 30
    assert wrapped("squeezenet1_1 penultimate") == "squeezenet1_1\npenultimate"
    assert [number(value) for value in (0.12345, 12.346, 1234.4, 0)] == ["0.12", "12.35", "1234", "0"]
