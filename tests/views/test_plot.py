"""Figures hold the right pictures in the right places, with legible captions inside the figure."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image, ImageFile

import amulsearch as am
from amulsearch import Collection, QueryError, plot
from amulsearch.index.neighbours import neighbours
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
    return neighbours(ids, np.arange(len(ids)) / 3, [id.split("/")[0] for id in ids], "m", "logits")


def drawn(figure):
    """The colour at the centre of each tile, and the pixels of the figure."""
    FigureCanvasAgg(figure).draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    middles = []
    for axis in figure.axes:
        if axis.images:
            x, y = axis.transAxes.transform((0.5, 0.5))
            middles.append(tuple(int(v) for v in pixels[int(pixels.shape[0] - y), int(x)]))
    return middles, pixels


def assert_readable(figure):
    """No caption extends beyond the figure or overlaps another."""
    renderer = figure.canvas.get_renderer()
    texts = [text for axis in figure.axes for text in (*axis.texts, axis.title)] + figure.texts
    if figure._suptitle:
        texts.append(figure._suptitle)
    boxes = [text.get_window_extent(renderer) for text in dict.fromkeys(texts) if text.get_text()]
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert not box.overlaps(other)


def test_model_grid_has_a_column_a_model_and_the_query_on_top(colours):
    lists = {"first_network": table(colours, "green", "blue"), "a second network": table(colours, "gold", "green")}
    figure = plot.model_grid(colours, id_of(colours, "red"), lists, title="Two networks")
    middles, _ = drawn(figure)
    by_name = [COLOURS[name] for name in ("red", "red", "green", "gold", "blue", "green")]
    assert middles == by_name
    assert [axis.get_title().replace("\n", " ") for axis in figure.axes[:2]] == list(lists)
    captions = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert captions[0].startswith("query\nred $a_b$")
    assert captions[2].startswith("1  green") and captions[2].endswith("\n0")
    assert captions[4].startswith("2  blue") and captions[4].endswith("\n0.333")
    assert_readable(figure)


def test_the_label_of_the_query_is_marked(colours):
    figure = plot.query_grid(colours, id_of(colours, "red"), table(colours, "green", "gold"))
    drawn(figure)
    frames = [axis.patches[0].get_edgecolor() for axis in figure.axes]
    assert frames[1] != frames[2]
    unlabelled = plot.query_grid(colours, Image.new("RGB", (9, 9)), table(colours, "green", "gold"))
    frames = [axis.patches[0].get_edgecolor() for axis in unlabelled.axes]
    assert frames[1] == frames[2]
    assert_readable(figure)


@pytest.mark.parametrize("draw", [plot.model_grid, lambda *given: plot.query_grid(*given[:2], given[2]["one"])])
def test_a_line_marks_from_where_nothing_is_likely(colours, draw):
    likely = table(colours, "gold", "blue", "green")
    likely.insert(3, "probability", [0.82, 0.06, 0.04])
    figure = draw(colours, id_of(colours, "red"), {"one": likely})
    drawn(figure)
    assert_readable(figure)
    marked = [axis for axis in figure.axes if axis.lines]
    assert len(marked) == 1 and "2  blue" in marked[0].texts[0].get_text() + marked[0].texts[1].get_text()
    words = " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    assert "82%" in words and words.count("nothing is likely to fit") == 1
    assert figure.texts[0].get_text() == "blue frame: same label; %: probability"


def test_ensemble_grid_has_a_column_a_query(colours):
    scores = table(colours, "blue", "gold").rename(columns={"distance": "score"})
    lists = {id_of(colours, "red"): scores, id_of(colours, "green"): table(colours, "gold", "blue")}
    figure = plot.ensemble_grid(colours, lists)
    middles, _ = drawn(figure)
    assert middles == [COLOURS[name] for name in ("red", "green", "blue", "gold", "gold", "blue")]
    assert "score" in figure.axes[2].texts[0].get_text()
    assert_readable(figure)


def test_lists_of_different_lengths_leave_empty_tiles(colours):
    figure = plot.model_grid(
        colours, id_of(colours, "red"), {"a": table(colours, "green"), "b": table(colours, "blue", "gold")}
    )
    assert drawn(figure)[0] == [COLOURS[name] for name in ("red", "red", "green", "blue", "gold")]


def test_figures_decode_nothing_in_this_process(colours, monkeypatch):
    red, near = id_of(colours, "red"), table(colours, "green", "gold", "blue")
    opened = []
    start = ImageFile.ImageFile.__init__

    def note(image, *args, **options):
        opened.append(image)
        start(image, *args, **options)

    monkeypatch.setattr(ImageFile.ImageFile, "__init__", note)
    groups = near.assign(group=1, cosine=1.0)
    votes = near[["rank", "id", "label"]].assign(net=near["rank"], other=near["rank"], score=1.0)
    votes = votes[["rank", "id", "score", "label", "net", "other"]]
    figures = [
        plot.model_grid(colours, red, {"one": near, "two": near.head(1)}),
        plot.query_grid(colours, red, near),
        plot.ensemble_grid(colours, {red: near}),
        plot.missed_grid(colours, red, near, near.head(1)),
        plot.contact_sheet(colours),
        plot.ranked(colours, near),
        plot.duplicate_groups(colours, groups),
        plot.vote_grid(colours, votes),
    ]
    counts = [sum(len(axis.images) for axis in figure.axes) for figure in figures]
    assert counts == [2 + 3 + 1, 1 + 3, 1 + 3, 1 + 3, 4, 3, 3, 1 + 3]
    assert not opened
    am.open_image(colours.path(red))
    assert opened


def test_a_picture_that_has_changed_or_gone_is_marked_in_its_place(colours):
    red, green, near = id_of(colours, "red"), id_of(colours, "green"), table(colours, "green", "gold")
    votes = near[["rank", "id", "label"]].assign(score=1.0, net=near["rank"], other=near["rank"])
    Image.new("RGB", (9, 9)).save(colours.path(id_of(colours, "gold")))
    colours.path(red).unlink()
    for figure, marked in (
        (plot.model_grid(colours, red, {"one": near}), [True, False, True]),
        (plot.missed_grid(colours, green, near, near), [False, False, True]),
        (plot.contact_sheet(colours), [id not in (green, id_of(colours, "blue")) for id in colours.ids]),
        (plot.duplicate_groups(colours, near.assign(group=1, cosine=1.0)), [False, True]),
        (plot.vote_grid(colours, votes[["rank", "id", "score", "label", "net", "other"]]), [False, True]),
    ):
        tiles = [axis.images[0].get_array() for axis in figure.axes if axis.images and axis.patches]
        assert [tuple(tile[0, 0, :3]) == (221, 221, 221) for tile in tiles] == marked


def every_chart(name):
    """The charts of numbers, with a name in each place that holds one."""
    index = am.ExactIndex.build(np.eye(3), list("abc"))
    index.calibration = am.indexes.Calibration(1.0, 0.0, ((0.1, 0.2, 90), (0.8, 0.7, 10)))
    numbers = pd.DataFrame({name: [1.0, 2.0], "b": [2.0, 3.0]}, index=pd.Index([name, "b"], name=name))
    heat = am.views.HeatMap(np.zeros((8, 8, 3), np.uint8), np.eye(4, dtype=np.float32), 1.0, f"logit of {name}")
    votes = pd.DataFrame({"rank": [1], "id": [name], "score": [1.0], "label": [None], name: [1]})
    yield plot.chart(numbers, "bar", title=name)
    yield plot.chart(numbers, ylabel=name)
    yield plot.reliability_chart({name: index})
    yield plot.heat_maps({name: heat}, title=name)
    yield votes


@pytest.mark.parametrize("name", ["$\\foo$ 黒猫 قطة", "_a$b^$"])
def test_names_are_plain_text_in_the_letters_of_their_script(tmp_path, name, recwarn):
    (tmp_path / name).mkdir()
    for number in range(2):
        Image.new("RGB", (60, 40), (90 * number, 0, 0)).save(tmp_path / name / f"{name}{number}.png")
    collection = Collection.from_folder(tmp_path)
    first, second = collection.ids
    near = neighbours([second], [0.5], collection.labels[1:], "m", "logits")
    features = am.Features(np.eye(2), collection.ids, collection.labels)
    *charts, votes = every_chart(name)
    figures = [
        *charts,
        plot.vote_grid(collection, votes.assign(id=second), title=name),
        plot.model_grid(collection, first, {name: near}, title=name),
        plot.missed_grid(collection, first, near, near, title=name),
        plot.pictures({name: Image.new("RGB", (9, 9))}, title=name),
        plot.duplicate_groups(collection, near.assign(group=1, cosine=1.0), title=name),
        plot.thumbnail_map(collection, am.views.Map.fit(features), title=name),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        texts = [text for text in figure.findobj(Text) if name[:3] in text.get_text()]
        assert texts and not any(text.get_parse_math() for text in texts if text.get_visible())
        legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()] + figure.legends
        assert all(name in legend.get_texts()[0].get_text() for legend in legends)
    assert not recwarn.list


def test_letters_are_drawn_where_the_system_has_a_font(tmp_path):
    """Two letters that matplotlib's own font lacks do not look the same; without a font, both would be a box."""
    fonts = [font for font in fontManager.ttflist if "Last Resort" not in font.name]
    if not any(FT2Font(font.fname).get_char_index(ord("猫")) for font in fonts):
        pytest.skip("no font of this system has the letter: apt-get install fonts-noto-cjk")
    seen = []
    for letter in "猫犬":
        figure = plot.pictures({letter: Image.new("RGB", (9, 9), "white")})
        seen.append(drawn(figure)[1].copy())
    assert (seen[0] != seen[1]).any()
    words = [np.asarray(written(am.features.Words(letter))) for letter in "猫犬"]
    assert (words[0] != words[1]).any()


def test_spaces_and_joiners_in_captions_are_not_escapes():
    for name in ("9.41.23\u202fAM", "\u0645\u06cc\u200c\u062e", "\u5199\u771f\u30001"):
        assert short_name(f"x/{name}.png") == name
    assert short_name("new\nline.png") == "new\\nline" and short_name("a\u202eb.png") == "a\\u202eb"
    assert short_name("x" * 30) == "x" * 15 + "…" + "x" * 10 and len(short_name("猫" * 30)) == 13


def test_a_legend_of_long_labels_stays_inside_the_figure(colours):
    labels = [f"{name} {'of a long name ' * 4}" for name in COLOURS]
    made = am.views.Map.fit(am.Features(np.eye(4), colours.ids, labels))
    figure = plot.thumbnail_map(colours, made)
    drawn(figure)
    box, tiles = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= tiles.y0 + 1


def test_contact_sheet_keeps_shapes(colours):
    figure = plot.contact_sheet(colours, columns=3, title="All")
    _, pixels = drawn(figure)
    assert_readable(figure)
    for name, (red, green, blue) in COLOURS.items():
        width = Image.open(colours.path(id_of(colours, name))).width
        rows, columns = np.where((pixels == (red, green, blue)).all(axis=2))
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(width / 100, rel=0.06)


def test_wrong_use_is_told(colours):
    with pytest.raises(QueryError, match="nothing to draw"):
        plot.model_grid(colours, id_of(colours, "red"), {})
    with pytest.raises(QueryError, match="an id, a path or a PIL image"):
        plot.query_grid(colours, 3, table(colours, "red"))


def test_missed_grid_shows_what_an_index_did_not_find(colours):
    true = table(colours, "green", "blue", "gold")
    figure = plot.missed_grid(colours, id_of(colours, "red"), true, true.iloc[[0, 2]], columns=3)
    middles, _ = drawn(figure)
    pale = tuple(round(0.4 * value + 0.6 * 255) for value in COLOURS["blue"])
    expected = [COLOURS["red"], COLOURS["green"], pale, COLOURS["gold"]]
    assert np.abs(np.array(middles, int) - expected).max() <= 2
    assert [axis.texts[0].get_text().splitlines()[-1] for axis in figure.axes[1:4]] == ["0", "missed", "0.667"]
    assert_readable(figure)


def told(figure):
    """The sentence of a figure that draws nothing else."""
    assert not figure.axes
    FigureCanvasAgg(figure).draw()
    assert_readable(figure)
    return figure.texts[0].get_text()


def test_a_figure_says_that_there_is_nothing_to_draw(colours):
    why = am.measure.precision_at_k({"a": np.zeros((4, 2), dtype=int)}, [None] * 4)
    assert told(plot.chart(why["P@1"], "bar")) == told(plot.chart(100 * why)) == why.attrs["why"]
    assert told(plot.chart(pd.DataFrame())) == told(plot.chart(pd.Series([np.nan]))) == "There is nothing to draw."
    assert "no picture" in told(plot.contact_sheet(colours, []))
    assert "no duplicates" in told(plot.duplicate_groups(colours, colours.duplicates()))
    features = am.Features(np.eye(4), colours.ids)
    assert told(plot.systems_chart(am.compare({("net", "logits"): features}, progress=False))) == why.attrs["why"]
    assert "five labels" in told(plot.reliability_chart({"exact": am.ExactIndex.build(features)}))


def test_systems_chart_of_a_comparison(colours):
    features = {("net", f"layer {n}"): am.Features(np.eye(4)[:, :n], colours.ids, colours.labels) for n in (2, 3)}
    found = am.compare(features, measure="P@1", progress=False)
    axis = plot.systems_chart(found).axes[0]
    assert axis.lines[0].get_xdata().tolist() == found.table["P@1"].tolist()[::-1]
    assert axis.get_xlabel().startswith("P@1")


def test_reliability_chart_shows_the_table_of_each_calibration():
    index = am.ExactIndex.build(np.eye(3), list("abc"))
    bins = ((0.1, 0.2, 90), (0.8, 0.7, 10))
    index.calibration = am.indexes.Calibration(1.0, 0.0, bins)
    figure = plot.reliability_chart({"exact": index, "none": am.ExactIndex.build(np.eye(3), list("abc"))})
    (axis,) = figure.axes
    assert [line.get_xydata().tolist() for line in axis.lines[1:]] == [[[0.1, 0.2], [0.8, 0.7]]]
    areas = axis.collections[0].get_sizes()
    assert areas[0] / areas[1] == pytest.approx(9)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["exact: calibration error 0.100"]
