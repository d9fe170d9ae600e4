"""Figures hold the right pictures in the right places, with legible captions inside the figure."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image, ImageFile

import amulsearch as am
from amulsearch import Collection, plot
from amulsearch.errors import QueryError
from amulsearch.index import neighbours
from amulsearch.views.captions import short_name
from amulsearch.views.thumbnails import written

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "gold": (255, 215, 0)}


@pytest.fixture
def colours(tmp_path):
    """A collection of plain pictures of different shapes, with names that are hard to print."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        folder = tmp_path / ("warm" if name in ("red", "gold") else "cold")
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (60 + 40 * number, 100), colour).save(folder / f"{name} $a_b$\n{'long' * 12}é.png")
    return Collection.from_folder(tmp_path)


def id_of(collection, colour):
    return next(id for id in collection.ids if f"/{colour} " in id)


def table(collection, *names):
    ids = [id_of(collection, name) for name in names]
    distances = {"distance": np.arange(len(ids)) / 3}
    return neighbours(ids, [id.split("/")[0] for id in ids], distances, {}, "m", "logits")


def pixels_of(figure):
    FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def colour_at(figure, axis, x=0.5, y=0.5):
    """The colour at a fraction of an axis' width and height; y points downwards."""
    pixels = pixels_of(figure)
    column, row = axis.transAxes.transform((x, 1 - y))
    return tuple(pixels[int(pixels.shape[0] - row), int(column)].tolist())


def tiles(figure):
    """The colour in the middle of each tile."""
    return [colour_at(figure, axis) for axis in figure.axes if axis.images]


def captions(figure):
    return [axis.texts[0].get_text() for axis in figure.axes if axis.texts]


def sentence(figure):
    """The sentence of a figure that draws nothing else."""
    assert not any(axis.axison for axis in figure.axes)
    assert print_figure(figure, "png")  # as a notebook does
    assert_readable(figure)
    return figure.texts[0].get_text()


def assert_readable(figure):
    """No caption extends beyond the figure or overlaps another."""
    FigureCanvasAgg(figure).draw()
    texts = [text for axis in figure.axes for text in (*axis.texts, axis.title)] + figure.texts
    if figure._suptitle:
        texts.append(figure._suptitle)
    boxes = [text.get_window_extent() for text in dict.fromkeys(texts) if text.get_text()]
    for place, box in enumerate(boxes):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_model_grid_has_the_query_and_a_column_a_model(colours):
    lists = {
        "tf_efficientnet_lite0 logits": table(colours, "green", "blue"),
        "a second network": table(colours, "gold"),
    }
    figure = plot.model_grid(colours, id_of(colours, "red"), lists, title="Two networks")
    assert tiles(figure) == [COLOURS[name] for name in ("red", "green", "gold", "blue")]
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes[:3]]
    assert titles == ["", "Lite0 logits", "a second network"]
    assert captions(figure) == ["query\nwarm", "1  cold\n0", "1  warm\n0", "2  cold\n0.33"]
    assert_readable(figure)
    assert am.models.title("squeezenet1_1@mirror") == "SqueezeNet@mirror"


def test_a_chart_draws_the_guess_and_what_to_compare_with():
    numbers = pd.Series({"a": 0.2, "b": 0.5})
    axis = plot.chart(numbers, "bar", guess=0.4, baselines={"chance": 0.1}).axes[0]
    named = dict(zip([text.get_text() for text in axis.get_legend().get_texts()], axis.lines, strict=True))
    assert {name: line.get_ydata()[0] for name, line in named.items()} == {"chance": 0.1, "your guess": 0.4}
    axis = plot.chart(numbers, "barh", guess=..., baselines={"chance": 0.1}).axes[0]
    assert [line.get_xdata()[0] for line in axis.lines] == [0.1]
    assert not plot.chart(numbers, "bar").axes[0].lines


def test_ensemble_grid_has_a_column_a_query(colours):
    scores = table(colours, "blue", "gold").rename(columns={"distance": "score"})
    lists = {id_of(colours, "red"): scores, id_of(colours, "green"): table(colours, "gold", "blue")}
    figure = plot.ensemble_grid(colours, lists)
    assert tiles(figure) == [COLOURS[name] for name in ("red", "green", "blue", "gold", "gold", "blue")]
    assert "score" in captions(figure)[2]
    assert_readable(figure)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_label_of_the_query_is_marked(colours, labelled):
    query = id_of(colours, "red") if labelled else Image.new("RGB", (9, 9))
    figure = plot.query_grid(colours, query, table(colours, "green", "gold"))
    _, other, same = [axis.patches[0].get_edgecolor() for axis in figure.axes]
    assert (other != same) == labelled == any("same label" in text.get_text() for text in figure.texts)
    assert_readable(figure)


@pytest.mark.parametrize("across", [True, False])
def test_a_line_marks_from_where_nothing_is_likely(colours, across):
    likely = table(colours, "gold", "blue", "green")
    likely.insert(3, "probability", [0.82, 0.06, 0.04])
    draw, lists = (plot.query_grid, likely) if across else (plot.model_grid, {"one": likely})
    figure = draw(colours, id_of(colours, "red"), lists)
    assert_readable(figure)
    (marked,) = [axis for axis in figure.axes if axis.lines]
    caption, words = (text.get_text() for text in marked.texts)
    assert caption.startswith("2  cold") and "nothing is likely to fit" in words
    assert "82%" in captions(figure)[1]
    assert figure.texts[0].get_text() == "blue frame: same label; %: probability"


def test_figures_decode_nothing_in_this_process(colours, monkeypatch):
    red, near = id_of(colours, "red"), table(colours, "green", "gold")
    opened, start = [], ImageFile.ImageFile.__init__
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", lambda *args: opened.append(start(*args)))
    plot.model_grid(colours, red, {"one": near, "two": near.head(1)})
    plot.contact_sheet(colours)
    assert not opened
    am.open_image(colours.path(red))
    assert opened


def test_a_picture_that_has_changed_or_gone_is_marked_in_its_place(colours):
    red, green, near = id_of(colours, "red"), id_of(colours, "green"), table(colours, "green", "gold")
    Image.new("RGB", (9, 9)).save(colours.path(id_of(colours, "gold")))
    colours.path(red).unlink()
    for figure, marked in (
        (plot.model_grid(colours, red, {"one": near}), [True, False, True]),
        (plot.contact_sheet(colours), [id not in (green, id_of(colours, "blue")) for id in colours.ids]),
    ):
        pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images]
        assert [tuple(picture[0, 0, :3]) == (221, 221, 221) for picture in pictures] == marked


@pytest.mark.parametrize("name", ["$\\foo$ 黒猫 قطة", "_a$b^$"])
def test_names_are_plain_text_in_the_letters_of_their_script(tmp_path, name, recwarn):
    (tmp_path / name).mkdir()
    for number in range(2):
        Image.new("RGB", (60, 40), (90 * number, 0, 0)).save(tmp_path / name / f"{name}{number}.png")
    collection = Collection.from_folder(tmp_path)
    first, second = collection.ids
    near = neighbours([second], collection.labels[1:], {"distance": np.array([0.5])}, {}, "m", "logits")
    numbers = pd.DataFrame({name: [1.0, 2.0], "b": [2.0, 3.0]}, index=pd.Index([name, "b"], name=name))
    systems = pd.DataFrame({"system": [name], "mAP": 0.5, "low": 0.4, "high": 0.6})
    for figure in (
        plot.chart(numbers, "bar", title=name),
        plot.chart(numbers, ylabel=name),
        plot.systems_chart(SimpleNamespace(table=systems, measure="mAP")),
        plot.model_grid(collection, first, {name: near}, title=name),
        plot.pictures({name: Image.new("RGB", (9, 9))}, title=name),
    ):
        FigureCanvasAgg(figure).draw()
        texts = [text for text in figure.findobj(Text) if name[:3] in text.get_text() and text.get_visible()]
        assert texts and not any(text.get_parse_math() for text in texts)
        legends = filter(None, (axis.get_legend() for axis in figure.axes))
        assert all(legend.get_texts()[0].get_text() == name for legend in legends)
    assert not recwarn.list


def test_powers_of_ten_are_formulas():
    figure = plot.chart(pd.Series([1.0, 1e6]), logy=True)
    FigureCanvasAgg(figure).draw()
    labels = [label for label in figure.axes[0].get_yticklabels() if label.get_text()]
    assert labels and all(label.get_parse_math() for label in labels)


def test_letters_are_drawn_where_the_system_has_a_font():
    """Two letters that matplotlib's own font lacks do not look the same; without a font, both would be a box."""
    fonts = [font for font in fontManager.ttflist if "Last Resort" not in font.name]
    if not any(FT2Font(font.fname).get_char_index(ord("猫")) for font in fonts):
        pytest.skip("no font of this system has the letter: apt-get install fonts-noto-cjk")
    cat, dog = (pixels_of(plot.pictures({letter: Image.new("RGB", (9, 9), "white")})).copy() for letter in "猫犬")
    assert (cat != dog).any()
    cat, dog = (np.asarray(written(am.features.Words(letter))) for letter in "猫犬")
    assert (cat != dog).any()


def test_spaces_and_joiners_in_captions_are_not_escapes():
    for name in ("9.41.23\u202fAM", "\u0645\u06cc\u200c\u062e", "\u5199\u771f\u30001"):
        assert short_name(f"x/{name}.png") == name
    assert short_name("new\nline.png") == "new\\nline" and short_name("a\u202eb.png") == "a\\u202eb"
    assert short_name("a/b/cat.png") == "cat" and len(short_name("猫" * 30)) == 9
    assert short_name("x" * 20 + "y" * 20) == "x" * 10 + "…" + "y" * 7


def test_contact_sheet_keeps_shapes_and_order(colours):
    figure = plot.contact_sheet(colours, columns=3, captions={id_of(colours, "blue"): "rank 1\nscore"}, title="All")
    assert_readable(figure)
    assert captions(figure)[0] == "rank 1\nscore" and captions(figure)[1] == "green $a_b…nglongé"
    assert tiles(figure) == [COLOURS[name] for name in ("blue", "green", "gold", "red")]
    pixels = pixels_of(figure)
    for name, colour in COLOURS.items():
        width = Image.open(colours.path(id_of(colours, name))).width
        rows, columns = np.where((pixels == colour).all(axis=2))
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(width / 100, rel=0.06)


def test_pictures_stand_in_rows_and_stay_as_they_are():
    images = {name: Image.new("RGB", (900, 300), colour) for name, colour in COLOURS.items()}
    figure = plot.pictures(images, columns=3)
    assert tiles(figure) == list(COLOURS.values()) and captions(figure) == list(COLOURS)
    assert len({axis.get_position().y0 for axis in figure.axes}) == 2
    assert images["red"].size == (900, 300)
    assert_readable(figure)


def test_wrong_use_is_told(colours):
    red, near = id_of(colours, "red"), table(colours, "green")
    for lists in (near, [near], {}, {"one": near["id"]}):
        with pytest.raises(QueryError, match=r"tables? of neighbours"):
            plot.model_grid(colours, red, lists)
    for draw, words in (
        (lambda: plot.query_grid(colours, "none.png", near), "neither an id of the collection nor a file"),
        (lambda: plot.query_grid(colours, 3, near), "an id, a path or a PIL image"),
        (lambda: plot.pictures({}), "nothing to draw"),
    ):
        with pytest.raises(QueryError, match=words):
            draw()


def test_a_figure_says_that_there_is_nothing_to_draw(colours):
    why = am.measure.precision_at_k({"a": np.zeros((4, 2), dtype=int)}, [None] * 4)
    assert sentence(plot.chart(why["P@1"], "bar")) == sentence(plot.chart(100 * why)) == why.attrs["why"]
    assert (
        sentence(plot.chart(pd.DataFrame())) == "There is nothing to draw." == sentence(plot.chart(pd.Series([np.nan])))
    )
    assert "no picture" in sentence(plot.contact_sheet(colours, []))
    features = am.Features(np.eye(4), colours.ids)
    unlabelled = am.compare({("net", "logits"): features}, progress=False)
    assert sentence(plot.systems_chart(unlabelled)) == why.attrs["why"]


def test_systems_chart_of_a_comparison(colours):
    features = {("net", f"layer {n}"): am.Features(np.eye(4)[:, :n], colours.ids, colours.labels) for n in (2, 3)}
    compared = am.compare(features, measure="P@1", progress=False)
    axis = plot.systems_chart(compared).axes[0]
    assert axis.lines[0].get_xdata().tolist() == compared.table["P@1"].tolist()[::-1]
    assert axis.get_xlabel().startswith("P@1")
