"""A page is one self-contained file; names that look like HTML or templates stay text; it is written atomically."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

import amulsearch as am
from amulsearch.index.neighbours import neighbours

EVIL = "<script>document.title = 'run'<_script>{{ 7 * 7 }}"


class Seen(HTMLParser):
    """The tags with their attributes, and the text, as a browser parses them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self._inside = [], [], []
        self.feed(page if isinstance(page, str) else page.html())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside.append(tag)

    def handle_data(self, data):
        if self._inside and self._inside[-1] not in ("style", "script"):
            self.words.append(data)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return "".join(self.words)


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB")


@pytest.fixture
def colours(tmp_path):
    """Pictures of one colour each; the names of one file and its folder look like a script."""
    names = {"warm/red": "red", "warm/gold": "gold", "cold/green": "green", f"{EVIL}/{EVIL}": "blue"}
    for name, colour in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), colour).save(tmp_path / f"{name}.png")
    return am.Collection.from_folder(tmp_path)


def found(collection, *ids):
    label = dict(zip(collection.ids, collection.labels, strict=True))
    return neighbours(ids, np.arange(len(ids)) / 3, [label[id] for id in ids], "m", "logits")


def test_a_grid_has_the_right_pictures_in_the_right_places(colours):
    green, red, gold = "cold/green.png", "warm/red.png", "warm/gold.png"
    lists = {"first": found(colours, gold, green), "second": found(colours, green)}
    seen = Seen(am.views.Page("A grid").grid(colours, red, lists))
    images = [one for one in seen.of("img") if one["src"].startswith("data:")]
    middles = [opened(one["src"]).getpixel((20, 10)) for one in images]
    expected = [(255, 0, 0), (255, 215, 0), (0, 128, 0), (0, 128, 0)]
    assert np.abs(np.array(middles, int) - expected).max() < 12
    assert [one["alt"] for one in images] == [f"query {red}", f"1: {gold}", f"2: {green}", f"1: {green}"]
    framed = [one["class"].split()[1:] for one in seen.of("figure")]
    assert framed == [["am-query"], ["am-same"], [], []]
    for words in ("A grid", "first", "second", "1  gold\n0", "2  green\n0.333"):
        assert words in seen.text


def test_a_line_marks_from_where_nothing_is_likely(colours):
    red, gold, green = "warm/red.png", "warm/gold.png", "cold/green.png"
    table = found(colours, gold, green)
    table.insert(3, "probability", [0.82, 0.04])
    seen = Seen(am.views.Page("likely").grid(colours, red, {"one": table, "two": found(colours, green)}))
    assert seen.text.count("From here on, nothing is likely to fit") == 1
    assert "0 · 82%" in seen.text and "Per cent: how probable" in seen.text
    before, after = seen.text.split("From here on")
    assert "gold" in before and "1  green" in after and "2  green" in after


def test_queries_are_pictures_paths_or_several(colours, tmp_path):
    lists = {"one": found(colours, "warm/red.png")}
    Image.new("RGB", (30, 30), "black").save(tmp_path / "new.png")
    for query in (Image.new("RGB", (9, 9)), tmp_path / "new.png"):
        seen = Seen(am.views.Page("new").grid(colours, query, lists))
        assert "am-same" not in str(seen.of("figure"))
    several = {"like": "warm/red.png", "not like": Image.new("RGB", (9, 9))}
    seen = Seen(am.views.Page("several").grid(colours, several, lists))
    assert len([one for one in seen.of("figure") if "am-query" in one["class"]]) == 2
    assert "like\nred" in seen.text and "not like" in seen.text


def everything(collection):
    """A page with every kind of part."""
    ids = collection.ids
    features = am.Features(np.eye(4), ids, collection.labels)
    duplicates = pd.DataFrame({"group": [1, 1], "id": ids[:2], "label": collection.labels[:2], "cosine": [1.0, 0.96]})
    figure = plt.figure()
    plt.close(figure)
    relevance = am.Relevance.from_labels(ids, collection.labels)
    page = am.views.Page(f"All {EVIL}").heading(EVIL).text(f"{EVIL}\n\nsecond").table(collection.table)
    page.table(pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL)))
    page.grid(collection, {EVIL: ids[0]}, {EVIL: found(collection, *ids)})
    page.contact_sheet(collection, captions={ids[0]: EVIL}).duplicates(collection, duplicates)
    page.map(collection, am.views.Map.fit(features)).figure(figure, EVIL)
    return page.evaluation(am.evaluate(features, relevance)).evaluation(
        am.compare({(EVIL, "logits"): features, ("m", "logits"): features}, fusions=["rrf"])
    )


def test_names_that_look_like_html_stay_text(colours):
    page = everything(colours)
    seen = Seen(page)
    assert len(seen.of("script")) == 1
    for one in seen.of("img"):
        assert one["alt"]
        assert set(one) <= {"src", "alt", "class", "draggable"}
    assert seen.text.count(EVIL) >= 9
    assert not [one for _, attributes in seen.tags for one in attributes if one.startswith("on")]
    assert "<script>document" not in page.html()


def test_a_page_needs_nothing_but_itself(colours, tmp_path):
    path = everything(colours).save(tmp_path / "page.html")
    html = path.read_text(encoding="utf-8")
    seen = Seen(html)
    for _, attributes in seen.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "http" not in re.sub(r'http-equiv|"data:[^"]*"', "", html)
    assert "url(" not in html and "@import" not in html
    policy = next(one["content"] for one in seen.of("meta") if one.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert {"charset": "utf-8"} in seen.of("meta")
    assert "prefers-color-scheme: dark" in html


def test_tables_show_what_they_hold():
    table = pd.DataFrame({"name": ["a\nb", None], "share": [0.12345, np.nan], "count": [1234567, 3]})
    table["day"] = pd.NaT
    seen = Seen(am.views.Page("t").table(table).table(pd.Series([0.5], index=["x"], name="y"), digits=1))
    for words in ("a\\nb", "0.123", "1,234,567", "x", "0.5"):
        assert words in seen.text
    assert not {"nan", "nat"} & set(seen.text.lower().split()) and "None" not in seen.text
    assert "12345" not in seen.text.replace("1,234,567", "")


def test_the_map_names_each_cell(colours):
    drawn = am.views.Map.fit(am.Features(np.eye(4), colours.ids, colours.labels))
    seen = Seen(am.views.Page("m").map(colours, drawn, groups=["a", "a", "b", None]))
    (figure,) = [one for one in seen.of("figure") if one["class"] == "am-map"]
    names = json.loads(figure["data-names"])
    for id, (column, row) in zip(drawn.ids, drawn.cells, strict=True):
        assert names[row * int(figure["data-columns"]) + column] == id
    assert sorted(filter(None, names)) == colours.ids
    image = Image.open(io.BytesIO(base64.b64decode(seen.of("img")[-1]["src"].split(",")[1])))
    side = image.width // drawn.columns
    assert image.mode == "RGBA"
    for row, column in np.ndindex(drawn.rows, drawn.columns):
        alpha = image.getpixel((int((column + 0.5) * side), int((row + 0.5) * side)))[3]
        assert (alpha == 255) == bool(names[row * drawn.columns + column])
    with pytest.raises(am.errors.QueryError, match="each of the 4 pictures of a map, not 2"):
        am.views.Page("m").map(colours, drawn, groups=["a", "b"])


def test_a_thousand_pictures_are_a_few_megabytes(all_cartoons, tmp_path):
    page = am.views.Page("all").contact_sheet(all_cartoons)
    assert page.save(tmp_path / "all.html").stat().st_size < 6_000_000


def test_a_page_is_written_whole_or_not_at_all(colours, tmp_path):
    page = am.views.Page("p").contact_sheet(colours)
    path = tmp_path / "out.html"
    path.write_text("before")
    assert page.save(path) == path and path.read_text(encoding="utf-8") == page.html()
    assert page.save(tmp_path / "new" / "out.html").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(am.errors.StoreError, match=r"folder cannot be written: Is a directory"):
        page.save(tmp_path / "folder")
    assert not list(tmp_path.glob("*.partial"))
    assert list((tmp_path / "folder").iterdir()) == []


def test_wrong_use_is_told(colours):
    with pytest.raises(am.errors.QueryError, match="nothing to show"):
        am.views.Page("p").grid(colours, colours.ids[0], {})
    with pytest.raises(am.errors.QueryError, match="no pictures to show"):
        am.views.Page("p").contact_sheet(colours, [])
    with pytest.raises(am.errors.QueryError, match="an id, a path or a PIL image"):
        am.views.Page("p").grid(colours, 3, {"a": found(colours, colours.ids[0])})
    with pytest.raises(am.errors.QueryError, match="no picture 'x"):
        am.views.Page("p").contact_sheet(colours, ["x.png"])


def test_a_picture_that_has_gone_or_changed_is_told_in_its_place(colours):
    colours.path("warm/red.png").unlink()
    Image.new("RGB", (9, 9)).save(colours.path("warm/gold.png"))
    seen = Seen(am.views.Page("gone").contact_sheet(colours).grid(colours, "warm/red.png", {"": found(colours)}))
    told = [one["alt"] for one in seen.of("img")]
    assert told[2:] == ["warm/gold.png (changed)", "warm/red.png (missing)", "query warm/red.png (missing)"]


def test_a_notebook_shows_the_page_itself(colours):
    page = am.views.Page("shown").contact_sheet(colours)
    assert page._repr_html_() in page.html()
