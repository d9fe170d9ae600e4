"""Heat maps have colours that match their values; votes are in the right row and column."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from test_plot import assert_readable

from amulsearch import Collection, QueryError, plot
from amulsearch.views import HeatMap


def pixels_of(figure):
    FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def colour_at(figure, axis, x, y):
    """The colour at a fraction of an axis' width and height; y points downwards."""
    pixels = pixels_of(figure)
    column, row = axis.transAxes.transform((x, 1 - y))
    return pixels[int(pixels.shape[0] - row), int(column)]


def heat(values, total=None, of="cosine"):
    values = np.array(values, dtype=np.float32)
    picture = np.full((60, 60, 3), 255, np.uint8)
    return HeatMap(picture, values, float(values.sum()) if total is None else total, of)


def test_red_speaks_for_and_blue_against():
    values = np.zeros((5, 5))
    values[0, 4], values[4, 0] = 0.5, -0.5
    figure = plot.heat_maps({"one $a_b$": heat(values), "two": heat(np.zeros((5, 5)), total=0.2, of="logit of a cat")})
    one, two, bar = figure.axes
    red, _, blue = colour_at(figure, one, 0.9, 0.1)
    assert red > blue + 80
    red, _, blue = colour_at(figure, one, 0.1, 0.9)
    assert blue > red + 80
    assert (colour_at(figure, one, 0.5, 0.5) > 235).all() and (colour_at(figure, two, 0.9, 0.1) > 235).all()
    assert one.get_xlabel() == "one $a_b$\ncosine 0"
    assert two.get_xlabel() == "two\nlogit of a cat 0.2\nplaces 0, rest 0.2"
    assert bar.get_ylim() == pytest.approx((-12.5, 12.5))
    assert_readable(figure)


def test_all_maps_of_a_figure_share_one_scale():
    figure = plot.heat_maps({"strong": heat(np.full((3, 3), 0.1)), "weak": heat(np.full((3, 3), 0.01))}, columns=1)
    strong, weak, bar = figure.axes
    assert colour_at(figure, strong, 0.5, 0.5)[2] < colour_at(figure, weak, 0.5, 0.5)[2] - 100
    assert bar.get_ylim() == pytest.approx((0, 0.9))
    with pytest.raises(QueryError, match="nothing to draw"):
        plot.heat_maps({})


def test_votes_are_in_their_cells(tmp_path):
    for name in ("red", "green"):
        Image.new("RGB", (50, 40), name).save(tmp_path / f"{name}.png")
    collection = Collection.from_folder(tmp_path)
    table = pd.DataFrame({"rank": [1, 2], "id": ["red.png", "green.png"], "score": [2.0, 1.0], "label": [None, None]})
    table["first network"] = pd.array([1, None], dtype="Int64")
    table["second"] = pd.array([3, 2], dtype="Int64")
    figure = plot.vote_grid(collection, table, title="Votes")
    cells, *tiles = figure.axes
    assert [text.get_text() for text in cells.texts] == ["1", "3", "-", "2"]
    assert [text.get_text().replace("\n", " ") for text in cells.get_xticklabels()] == ["first network", "second"]
    for axis, expected in zip(tiles, ((255, 0, 0), (0, 128, 0)), strict=True):
        assert tuple(colour_at(figure, axis, 0.5, 0.5)) == expected
    assert "in 2 of 2 lists" in tiles[0].texts[-1].get_text() and "in 1 of 2 lists" in tiles[1].texts[-1].get_text()
    assert_readable(figure)
    with pytest.raises(QueryError, match="a column of ranks for each model"):
        plot.vote_grid(collection, table.iloc[:0])
