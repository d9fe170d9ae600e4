"""A page is one self-contained file; names that look like HTML or templates stay text; it is written atomically."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

import amulsearch as am
from amulsearch.index import neighbours

EVIL = "<script>document.title = 'run'<_script>{{ 7 * 7 }}"
RED, GOLD, GREEN = "warm/red.png", "warm/gold.png", "cold/green.png"


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
    distances = {"distance": np.arange(len(ids)) / 3}
    return neighbours(ids, [label[id] for id in ids], distances, {}, "m", "logits")


def everything(collection):
    """A page with every kind of part."""
    ids = collection.ids
    features = am.Features(np.eye(4), ids, collection.labels)
    figure = plt.figure()
    plt.close(figure)
    page = am.views.Page(f"All {EVIL}").heading(EVIL).text(f"{EVIL}\n\nsecond").table(collection.table)
    page.table(pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL)))
    page.grid(collection, {EVIL: ids[0]}, {EVIL: found(collection, *ids)})
    page.contact_sheet(collection, captions={ids[0]: EVIL})
    panel = am.Panel({(EVIL, "logits"): features, ("m", "logits"): features}, fusions=["rrf"])
    return page.answers(collection, panel, {EVIL: am.views.Map.fit(features)}).figure(figure, EVIL)


def test_a_grid_has_the_right_pictures_in_the_right_places(colours):
    first, second = found(colours, GOLD, GREEN), found(colours, GREEN)
    first.insert(3, "probability", [0.82, 0.04])
    seen = Seen(am.views.Page("A grid").grid(colours, RED, {"first": first, "second": second}))
    images = [one for one in seen.of("img") if one["src"].startswith("data:")]
    pixels = [base64.b64decode(one["src"].split(",", 1)[1]) for one in images]
    middles = [Image.open(io.BytesIO(content)).convert("RGB").getpixel((20, 10)) for content in pixels]
    expected = [(255, 0, 0), (255, 215, 0), (0, 128, 0), (0, 128, 0)]
    assert np.abs(np.array(middles, int) - expected).max() < 12
    assert [one["alt"] for one in images] == [f"query {RED}", f"1: {GOLD}", f"2: {GREEN}", f"1: {GREEN}"]
    assert [one["class"].split()[1:] for one in seen.of("figure")] == [["am-query"], ["am-same"], [], []]
    before, after = seen.text.split("From here on, nothing is likely to fit")
    for words in ("A grid", "first", "1  warm\n0 · 82%"):
        assert words in before
    for words in ("second", "2  cold\n0.33", "1  cold\n0", "Per cent: how probable", "Blue frame"):
        assert words in after


def test_queries_are_pictures_paths_or_several(colours, tmp_path):
    lists = {"one": found(colours, RED)}
    Image.new("RGB", (30, 30), "black").save(tmp_path / "new.png")
    for query in (Image.new("RGB", (9, 9)), tmp_path / "new.png"):
        assert "am-same" not in str(Seen(am.views.Page("new").grid(colours, query, lists)).of("figure"))
    several = {"like": RED, "not like": Image.new("RGB", (9, 9))}
    seen = Seen(am.views.Page("several").grid(colours, several, lists))
    assert len([one for one in seen.of("figure") if "am-query" in one["class"]]) == 2
    assert "am-same" not in str(seen.of("figure"))
    assert "like\nred" in seen.text and "not like" in seen.text


def test_names_that_look_like_html_stay_text(colours):
    page = everything(colours)
    seen = Seen(page)
    assert [one.get("type") for one in seen.of("script")] == ["application/json", "module"]
    assert all(one["alt"] and set(one) <= {"src", "alt", "class"} for one in seen.of("img"))
    assert seen.text.count(EVIL) >= 8
    assert not [one for _, attributes in seen.tags for one in attributes if one.startswith("on")]
    assert "<script>document" not in page.html()


def test_a_page_needs_nothing_but_itself(colours, tmp_path):
    html = everything(colours).save(tmp_path / "page.html").read_text(encoding="utf-8")
    seen = Seen(html)
    for _, attributes in seen.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL).group(1)
    rest = html.replace(script, "")
    assert "http" not in re.sub(r'http-equiv|"data:[^"]*"', "", rest) and "url(" not in rest and "@import" not in rest
    policy = next(one["content"] for one in seen.of("meta") if one.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert not Seen(am.views.Page("still").contact_sheet(colours)).of("script")
    assert {"charset": "utf-8"} in seen.of("meta") and "prefers-color-scheme: dark" in html


def test_tables_show_what_they_hold():
    table = pd.DataFrame({"name": ["a\nb", None], "share": [0.12345, np.nan], "count": [1234567, 3]})
    table["day"] = pd.NaT
    seen = Seen(am.views.Page("t").table(table).table(pd.Series([0.5], index=["x"], name="y")))
    for words in ("a\\nb", "0.123", "1,234,567", "x", "0.5"):
        assert words in seen.text
    assert not {"nan", "nat"} & set(seen.text.lower().split()) and "None" not in seen.text
    assert "12345" not in seen.text.replace("1,234,567", "")


def test_many_pictures_are_a_few_megabytes(cartoons, tmp_path):
    page = am.views.Page("many").contact_sheet(cartoons)
    assert page.save(tmp_path / "many.html").stat().st_size < 15_000 * len(cartoons)


def test_a_page_is_written_whole_or_not_at_all(colours, tmp_path):
    page = am.views.Page("p").contact_sheet(colours)
    path = tmp_path / "out.html"
    path.write_text("before")
    assert page.save(path) == path and path.read_text(encoding="utf-8") == page.html()
    assert page._repr_html_() in page.html()  # what a notebook shows
    assert page.save(tmp_path / "new" / "out.html").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(am.errors.StoreError, match=r"folder cannot be written: Is a directory"):
        page.save(tmp_path / "folder")
    assert not list(tmp_path.glob("*.partial")) and list((tmp_path / "folder").iterdir()) == []


def test_wrong_use_is_told(colours):
    page = am.views.Page("p")
    with pytest.raises(am.errors.QueryError, match="nothing to show"):
        page.grid(colours, colours.ids[0], {})
    with pytest.raises(am.errors.QueryError, match="no pictures to show"):
        page.contact_sheet(colours, [])
    with pytest.raises(am.errors.QueryError, match="an id, a path or a PIL image"):
        page.grid(colours, 3, {"a": found(colours, colours.ids[0])})
    with pytest.raises(am.errors.QueryError, match="no picture 'x"):
        page.contact_sheet(colours, ["x.png"])


def test_a_picture_that_has_gone_or_changed_is_told_in_its_place(colours):
    colours.path(RED).unlink()
    Image.new("RGB", (9, 9)).save(colours.path(GOLD))
    seen = Seen(am.views.Page("gone").contact_sheet(colours).grid(colours, RED, {"": found(colours)}))
    marks = [one["alt"] for one in seen.of("img")]
    assert marks[2:] == [f"{GOLD} (changed)", f"{RED} (missing)", f"query {RED} (missing)"]
