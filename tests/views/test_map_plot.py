"""Figures of a collection: thumbnails in their cells, in the colours of their groups; a row per group of duplicates."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor
from test_plot import assert_readable, drawn

from amulsearch import Collection, QueryError, plot
from amulsearch.views import Map
from amulsearch.views.palette import COLOURS

NAMES = ["blue", "gold", "green", "red"]


@pytest.fixture
def colours(tmp_path):
    for name in NAMES:
        Image.new("RGB", (50, 50), name).save(tmp_path / f"{name}.png")
    return Collection.from_folder(tmp_path)


def test_thumbnails_lie_in_their_cells(colours):
    cells = np.array([[0, 0], [2, 0], [1, 1], [0, 1]])
    made = Map(colours.ids, [None] * 4, np.zeros((4, 2), np.float32), cells, 3, 2, 4)
    figure = plot.thumbnail_map(colours, made, groups=["a", "a", "b", None], title="A map")
    (sheet,) = [image.get_array() for axis in figure.axes for image in axis.images]
    side = sheet.shape[1] // 3
    for name, (column, row), frame in zip(NAMES, cells, [COLOURS[0], COLOURS[0], COLOURS[1], "#d0d0d0"], strict=True):
        middle = sheet[int((row + 0.5) * side), int((column + 0.5) * side), :3]
        assert np.abs(np.array(middle, int) - ImageColor.getrgb(name)).max() < 12
        assert tuple(sheet[row * side, column * side, :3]) == ImageColor.getrgb(frame)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    drawn(figure)
    assert_readable(figure)
    file = io.BytesIO()
    figure.savefig(file)
    saved = np.asarray(Image.open(file).convert("RGB")).astype(int)
    reds = np.argwhere((np.abs(saved - ImageColor.getrgb("red")) < 12).all(axis=2))
    assert np.ptp(reds, axis=0).tolist() == [49, 49]  # one pixel of the thumbnail is one pixel of the figure
    with pytest.raises(QueryError, match="each of the 4 pictures of a map, not 1"):
        plot.thumbnail_map(colours, made, groups=["a"])


def test_each_group_of_duplicates_is_a_row(colours):
    ids = [f"{name}.png" for name in ("red", "green", "blue", "gold", "red")]
    table = pd.DataFrame({"group": [1, 1, 1, 2, 2], "id": ids, "cosine": [0.99, 0.98, 0.97, 0.96, 0.96]})
    figure = plot.duplicate_groups(colours, table, columns=2, title="Alike")
    middles, _ = drawn(figure)
    assert middles == [ImageColor.getrgb(name) for name in ("red", "green", "gold", "red")]
    captions = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert captions == [
        "red\ncosine 0.990",
        "green\ncosine 0.980\nand 1 more",
        "gold\ncosine 0.960",
        "red\ncosine 0.960",
    ]
    assert_readable(figure)


def test_ranked_pictures_stand_in_their_order(colours):
    table = pd.DataFrame({"rank": [1, 2], "id": ["gold.png", "blue.png"], "score": [0.75, 0.1234]})
    figure = plot.ranked(colours, table, title="Ranked")
    assert drawn(figure)[0] == [ImageColor.getrgb("gold"), ImageColor.getrgb("blue")]
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["1  gold\nscore 0.75", "2  blue\nscore 0.123"]
    assert_readable(figure)
