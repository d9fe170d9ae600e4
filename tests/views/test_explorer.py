"""The messages of the explorer: requests from a page, and the replies."""

import base64
import importlib
import io
import json
import re
import sys
import tomllib
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.errors import MissingPackageError
from amulsearch.views.captions import short_name
from amulsearch.views.explorer import FUSIONS, Explorer

ROOT = Path(__file__).resolve().parents[2]
SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"


@pytest.fixture
def replies(monkeypatch):
    """`replies(explorer, do, *buffers, **message)`: all that an explorer says to a message, contents and buffers."""
    said = []
    monkeypatch.setattr(Explorer, "send", lambda self, content, buffers=None: said.append((content, buffers)))

    def ask(widget, do, *buffers, **message):
        said.clear()
        widget._handle_custom_msg({"do": do, **message}, list(buffers))
        if widget._worker is not None:
            widget._worker.join()
        return [*said]

    return ask


@pytest.fixture(scope="module")
def panel(bundled_features):
    """What `explore` makes of the features of two networks."""
    keys = [(model, layer) for model in (SQUEEZENET, LITE0) for layer in ("logits", "penultimate")]
    return am.Panel({key: bundled_features[key] for key in keys}, fusions=FUSIONS, calibrate=True)


@pytest.fixture
def explorer(panel, cartoons, tmp_path, replies):
    """An explorer of two networks, and `ask(do, **message)`, which returns its reply."""
    widget = am.explore(cartoons, panel, judgements=tmp_path / "judged.csv", query=cartoons.ids[7], k=3)

    def ask(do, *buffers, **message):
        (content, sent), *more = said = replies(widget, do, *buffers, **message)
        return said if more else (content, sent) if sent else content

    return widget, ask


def ids_of(view, column):
    return next([row["id"] for row in of["hits"]] for of in view["columns"] if of["name"] == column)


def test_a_click_is_the_next_query_and_back_leads_back(explorer, bundled_features, cartoons):
    widget, ask = explorer
    (view, _), (sheet, _), (selected, _) = ask("start")
    assert selected == {"say": "selected", "rows": []}
    index = am.ExactIndex.build(bundled_features[LITE0, "penultimate"])
    assert ids_of(view, LITE0) == index.query(cartoons.ids[7], 3)["id"].tolist()
    assert [column["name"] for column in view["columns"]] == [SQUEEZENET, LITE0, "rrf"] and view["past"] == []
    assert sheet["ids"] == cartoons.ids[:60] and sheet["pages"] == 3 and sheet["count"] == len(cartoons)
    clicked = ids_of(view, LITE0)[1]
    view = ask("query", id=clicked)
    assert view["examples"] == [{"id": clicked, "sign": "more", "label": cartoons.labels[cartoons.ids.index(clicked)]}]
    assert ids_of(view, LITE0) == index.query(clicked, 3)["id"].tolist() == widget.found[LITE0]["id"].tolist()
    labels = dict(zip(cartoons.ids, cartoons.labels, strict=True))
    for row in view["columns"][0]["hits"]:
        assert row["same"] == (labels[row["id"]] == labels[clicked])
    assert view["past"] == [{"id": cartoons.ids[7], "at": 0}]
    assert len(ask("query", id=clicked)["past"]) == 1  # the same query again is not a step
    assert len(ask("query", id=cartoons.ids[70])["past"]) == 2
    assert ask("back")["examples"][0]["id"] == clicked
    ask("query", id=cartoons.ids[70])
    view = ask("back", to=0)
    assert view["past"] == [] and view["examples"][0]["id"] == cartoons.ids[7]


def test_where_there_is_no_kernel_a_still_picture_shows_the_columns(explorer):
    widget, ask = explorer
    for pictures in ({"do": "more", "id": widget.collection.ids[9]}, {"do": "start"}):
        ask(**pictures)
        data, _ = widget._repr_mimebundle_()
        with Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))) as still:
            assert still.width > 300 and still.height > 300
        assert "application/vnd.jupyter.widget-view+json" in data
    ask("look", columns=[])
    assert "image/jpeg" not in widget._repr_mimebundle_()[0]


def test_probabilities_and_novelty_are_sent(explorer, cartoons):
    widget, ask = explorer
    view = ask("look", columns=[SQUEEZENET, "rrf"], k=20)
    table = widget.found[SQUEEZENET]
    sent, fused = view["columns"]
    assert [row["likely"] for row in sent["hits"]] == [round(100 * value) for value in table["probability"]]
    assert sent["unlikely"] == next(iter(table["rank"][table["probability"] < 0.1]), None)
    assert fused["hits"][0]["likely"] is None and fused["unlikely"] is None and view["novelty"] is None
    file = io.BytesIO()
    Image.effect_noise((300, 200), 90).save(file, "PNG")
    view = ask("upload", file.getvalue(), name="noise.png")
    assert view["novelty"].startswith("Nothing here is likely to fit")


def test_a_search_without_results_offers_near_names(explorer, cartoons):
    _, ask = explorer
    sheet = ask("sheet", page=0, text="damslefly")
    assert sheet["ids"] == [] and "damselfly" in " ".join(sheet["near"])
    assert ask("sheet", page=0, text="damselfly")["near"] == []


def test_more_and_less(explorer, cartoons):
    widget, ask = explorer
    one, two, three = cartoons.ids[7], cartoons.ids[30], cartoons.ids[80]
    ask("more", id=two)
    view = ask("less", id=three)
    signs = [(one, "more"), (two, "more"), (three, "less")]
    assert [(example["id"], example["sign"]) for example in view["examples"]] == signs
    assert not {one, two, three} & {row["id"] for column in view["columns"] for row in column["hits"]}
    assert not any(row["same"] for column in view["columns"] for row in column["hits"])
    assert [example["id"] for example in ask("forget", id=three)["examples"]] == [one, two]
    ask("forget", id=two)
    text = "the query needs at least one picture: click another one first"
    assert ask("forget", id=one) == {"say": "error", "text": text}
    assert tuple(widget.session.question.signed("more")) == (one,)


def test_the_look(explorer):
    widget, ask = explorer
    view = ask("look", layer="logits", columns=[LITE0, "vote", "nonsense"], k=5)
    assert [(column["name"], len(column["hits"])) for column in view["columns"]] == [(LITE0, 5), ("vote", 5)]
    assert all("votes" in row for row in view["columns"][1]["hits"])
    assert view["choices"]["columns"] == [SQUEEZENET, LITE0, "vote", "rrf", "combsum"]
    assert ask("look", k=100000)["say"] == "error" and widget.session.look.k == 5
    assert ask("look", columns=[])["columns"] == []


def test_uploads_good_and_bad(explorer, cartoons, tmp_path):
    _, ask = explorer
    id = cartoons.ids[20]
    view = ask("upload", memoryview(cartoons.path(id).read_bytes()), name="mine.webp")
    assert ids_of(view, LITE0)[0] == id and view["examples"][0]["id"].startswith("new picture mine.webp ")
    Image.new("1", (30000, 30000)).save(bomb := tmp_path / "bomb.png")
    for content, name, reason in (
        (b"", "empty.png", "empty.png cannot be used: the file is empty"),
        (b"dear sir", "letter.png", "letter.png cannot be used: not a picture"),
        (bomb.read_bytes(), "bomb.png", "bomb.png cannot be used: 30000 x 30000 is 900 megapixels"),
        (cartoons.path(id).read_bytes()[:300], "cut.webp", "cut.webp cannot be used: "),
    ):
        error = ask("upload", content, name=name)
        assert error["say"] == "error" and error["text"].startswith(reason)
    again = ask("query", id=view["examples"][0]["id"])  # an uploaded picture can be the query again
    assert ids_of(again, LITE0) == ids_of(view, LITE0)


def test_a_part_of_the_query(explorer, cartoons):
    widget, ask = explorer
    id = cartoons.ids[7]
    ask("query", id=id)
    width, height = cartoons.open(id).size
    view = ask("crop", id=id, x=0.5, y=0, w=0.5, h=1)
    assert view["examples"][0]["id"] == f"part {round(width / 2)},0,{width},{height} of {id}"
    (picture,) = widget.session.question.signed("more")
    assert np.array_equal(np.asarray(picture.image), np.asarray(cartoons.open(id))[:, round(width / 2) :])
    vector = am.embed(picture.image, LITE0, "penultimate")["penultimate"][0]
    assert ids_of(view, LITE0) == widget.session.panel[f"{LITE0} penultimate"].query(vector, 3)["id"].tolist()
    assert ask("crop", id=id, x=0.5, y=0.5, w=0.001, h=0.5)["text"].startswith("the part is too small")
    ask("query", id=id)
    ask("more", id=cartoons.ids[20])
    ask("less", id=cartoons.ids[50])
    view = ask("crop", id=id, x=0, y=0, w=0.5, h=1)  # the part takes the place of its picture, the other examples stay
    assert [(one["id"], one["sign"]) for one in view["examples"]] == [
        (f"part 0,0,{round(width / 2)},{height} of {id}", "more"),
        (cartoons.ids[20], "more"),
        (cartoons.ids[50], "less"),
    ]


def test_thumbs_are_kept_and_shown(explorer, cartoons, tmp_path):
    widget, ask = explorer
    view = ask("query", id=cartoons.ids[7])
    good, bad = ids_of(view, LITE0)[:2]
    ask("judge", query=cartoons.ids[7], ids=[good], relevance=1)
    view = ask("judge", query=cartoons.ids[7], ids=[bad], relevance=0)
    assert view["thumbs"] == {"query": 2, "all": 2, "undo": True}
    judged = {row["id"]: row["judged"] for column in view["columns"] for row in column["hits"]}
    assert judged[good] == 1 and judged[bad] == 0
    table = am.measure.Judgements(tmp_path / "judged.csv").table
    assert table.values.tolist() == [[cartoons.ids[7], good, 1], [cartoons.ids[7], bad, 0]]
    ask("judge", query=cartoons.ids[7], ids=[bad], relevance=None)
    assert len(am.measure.Judgements(tmp_path / "judged.csv")) == 1
    ask("undo")
    assert am.measure.Judgements(tmp_path / "judged.csv").table.values.tolist() == table.values.tolist()
    ask("undo")
    view = ask("undo")
    assert len(am.measure.Judgements(tmp_path / "judged.csv")) == 0
    assert view["thumbs"] == {"query": 0, "all": 0, "undo": False}
    assert ask("undo")["say"] == "view"  # nothing more to take back
    other = am.explore(cartoons, widget.session.panel, query=cartoons.ids[7])
    other._handle_custom_msg({"do": "judge", "query": cartoons.ids[7], "ids": [good], "relevance": 1}, [])
    assert other.session.judgements is None


def test_a_selection_is_a_table_is_tagged_and_its_files_are_copied(explorer, cartoons, tmp_path):
    widget, ask = explorer
    chosen = [cartoons.ids[30], cartoons.ids[8]]
    reply = ask("select", ids=[*chosen, "no such"])
    assert [row["id"] for row in reply["rows"]] == chosen[::-1]  # in the order of the collection
    expected = cartoons.table[cartoons.table["id"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(widget.selected, expected)
    found = {id for id in cartoons.ids if "guitar" in id}
    assert {row["id"] for row in ask("select_found", text="guitar")["rows"]} == found | {*chosen}
    ask("select", ids=chosen)
    assert ask("tag", text=" ")["text"].startswith("a tag needs at least one letter")
    (view, _), (done, _) = ask("tag", text=" two  things ")
    assert done["text"] == "2 pictures tagged as “two things”" and view["thumbs"]["all"] == 2
    expected = [["two things", id, 1] for id in chosen[::-1]]
    assert am.measure.Judgements(tmp_path / "judged.csv").table.values.tolist() == expected
    ask("undo")
    assert len(am.measure.Judgements(tmp_path / "judged.csv")) == 0
    assert ask("copy", text="")["text"].startswith("type the folder")
    assert ask("copy", text=str(tmp_path / "to"))["text"] == f"2 pictures copied to {tmp_path / 'to'}"
    for id in chosen:
        assert (tmp_path / "to" / Path(id).name).read_bytes() == cartoons.path(id).read_bytes()
    (tmp_path / "file").touch()
    assert "file is a file: give a folder" in ask("copy", text=str(tmp_path / "file"))["text"]


def test_the_map_and_its_thumbnails_are_sent(panel, bundled_features, cartoons, replies):
    rows = np.arange(len(cartoons))
    cells = np.stack([rows % 16, rows // 16], axis=1)
    layout = am.views.Map(cartoons.ids, cartoons.labels, cells / (16, 10), cells, 16, 10)
    said = replies(am.explore(cartoons, panel, map=layout), "start")
    (about, (content,)), (sheet, (picture,)) = [one for one in said if one[0]["say"] in ("map", "thumbnails")]
    assert about["ids"] == cartoons.ids and about["columns"] == 16 and about["rows"] == 10 and sheet["sheet"] == 0
    assert np.array_equal(np.frombuffer(content, "<u4").reshape(-1, 2), cells)
    assert Image.open(io.BytesIO(picture)).size == (about["side"] * about["across"], about["side"] * 5)
    with pytest.raises(am.errors.QueryError, match="no picture"):
        am.explore(cartoons[:9], bundled_features)  # which makes a panel of them


def test_a_map_is_laid_out_when_asked(explorer, cartoons, monkeypatch):
    widget, ask = explorer
    asked = []

    def fit(features):
        asked.append(features.vectors.shape)
        raise am.errors.QueryError("a map needs at least two pictures")

    monkeypatch.setattr(am.views.Map, "fit", fit)
    ask("map")
    widths = [widget.session.panel.features(f"{model} penultimate").vectors.shape[1] for model in (SQUEEZENET, LITE0)]
    assert asked == [(len(cartoons), sum(widths))]


def test_it_opens_with_a_picture_on_which_the_first_column_is_right(explorer, cartoons):
    widget, _ = explorer
    opened = widget.session.opening()
    labels = dict(zip(cartoons.ids, cartoons.labels, strict=True))

    index = am.ExactIndex.build(widget.session.panel.features(f"{SQUEEZENET} penultimate"))

    def hits(id):
        return (index.query(id, widget.session.look.k)["label"] == labels[id]).sum()

    assert hits(opened) == max(hits(id) for id in cartoons.sample(40)) == 3


def test_a_picture_is_told_about(explorer, cartoons):
    _, ask = explorer
    id = cartoons.ids[7]
    facts = ask("about", id=id)["facts"]
    width, height = cartoons.open(id).size
    assert facts == [f"label: {cartoons.labels[7]}", f"{width:,} x {height:,} pixels, WEBP", str(cartoons.path(id))]
    view = ask("upload", cartoons.path(id).read_bytes(), name="mine.webp")
    facts = ask("about", id=view["examples"][0]["id"])["facts"]
    assert facts == [f"{width:,} x {height:,} pixels, not in the collection"]


def written(html):
    """The data of the part that answers."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])


def test_the_view_is_saved_as_a_page_that_answers(explorer, cartoons):
    widget, ask = explorer
    ask("query", id=cartoons.ids[7])
    answer = ask("export")
    assert answer["name"] == f"like {short_name(cartoons.ids[7])}.html" and answer["html"].startswith("<!doctype html>")
    data = written(answer["html"])
    assert data["ids"] == cartoons.ids and data["query"] == cartoons.ids[7]
    assert [system["name"] for system in data["systems"]] == [SQUEEZENET, LITE0, "rrf"]
    assert data["network"] and [bool(system["compared"]) for system in data["systems"]] == [True, False, False]
    for system in data["systems"]:
        rows = np.frombuffer(base64.b64decode(system["rows"]), "<i4").reshape(-1, system["k"])[7]
        assert [cartoons.ids[row] for row in rows] == widget.found[system["name"]]["id"].tolist()
    ask("crop", id=cartoons.ids[7], x=0, y=0, w=0.5, h=1)
    ask("less", id=cartoons.ids[50])
    answer = ask("export")
    for words in ("more like part ", f" of {cartoons.ids[7]}", "less like "):
        assert words in answer["html"]
    shown = {id for table in widget.found.values() for id in table["id"]}
    assert all(f": {id}" in answer["html"] for id in shown)
    ask("look", columns=[])
    assert ask("export")["text"] == "there is nothing to save: choose a column first"


def test_the_contact_sheet_and_its_pictures(explorer, cartoons):
    _, ask = explorer
    sheet = ask("sheet", page=99, text="Guitar music")
    assert sheet["page"] == 0 and sheet["count"] == len(sheet["ids"])
    assert sheet["ids"] == [id for id in cartoons.ids if "guitar" in id and "music" in id]
    answer, buffers = ask("pictures", ids=[*sheet["ids"][:2], "no such"], side=100)
    assert answer["ids"] == sheet["ids"][:2]
    for id, content in zip(answer["ids"], buffers, strict=True):
        small = cartoons.open(id)
        small.thumbnail((100, 100))
        seen = np.asarray(Image.open(io.BytesIO(content)), int)
        assert seen.shape[1::-1] == small.size and np.abs(seen - np.asarray(small)).mean() < 6


def test_what_is_wrong_leaves_it_working(explorer, cartoons, capsys):
    widget, ask = explorer
    assert ask("query", id="../../etc/passwd")["text"].startswith("no picture '../../etc/passwd' in")
    assert ask("dance")["text"].startswith("something went wrong: AttributeError")
    assert "Traceback" in capsys.readouterr().err
    assert ask("query", id=cartoons.ids[3])["say"] == "view"
    with pytest.raises(am.errors.QueryError, match="no picture 'x'"):
        am.explore(cartoons, widget.session.panel, query="x")


def test_the_collection_is_found_by_keywords_too(all_with_keywords):
    collection = all_with_keywords
    vectors = np.random.default_rng(0).standard_normal((len(collection), 8), np.float32)
    explorer = am.explore(collection, {("m", "l"): am.Features(vectors, collection.ids, collection.labels)})
    sent = []
    explorer.send = lambda message, buffers=None: sent.append(message)
    explorer._receive(None, {"do": "sheet", "page": 0, "text": "Dinosaurs"}, [])
    named = [id for id in collection.ids if "dinosaurs" in id.lower()]
    carriers = {id for id, words in collection.keywords.items() if {"dinosaur", "dinosaurs"} & set(words)}
    assert carriers - set(named) and sent[-1]["count"] == len(carriers | set(named))
    assert sent[-1]["ids"][: len(named)] == named[: len(sent[-1]["ids"])]
    explorer._receive(None, {"do": "sheet", "page": 0, "text": "dinosar"}, [])
    assert sent[-1]["count"] == 0 and sent[-1]["near"]


def test_thumbs_and_parts_are_of_the_query_on_the_screen(explorer, cartoons):
    """The next query may be on its way when a thumb is pressed, or a part is drawn."""
    widget, ask = explorer
    seen = ask("query", id=cartoons.ids[7])
    ask("query", id=cartoons.ids[30])
    view = ask("judge", query=seen["asked"], ids=[cartoons.ids[8]], relevance=1)
    assert widget.session.judgements.table.values.tolist() == [[cartoons.ids[7], cartoons.ids[8], 1]]
    assert view["thumbs"]["query"] == 0 and view["asked"] == cartoons.ids[30]
    width, height = cartoons.open(cartoons.ids[7]).size
    view = ask("crop", id=cartoons.ids[7], x=0, y=0, w=1, h=0.5)
    assert [one["id"] for one in view["examples"]] == [f"part 0,0,{width},{round(height / 2)} of {cartoons.ids[7]}"]


def test_two_fast_clicks_select_two_pictures(explorer, cartoons):
    """Each click says what it changes, because the reply to the one before may not have come."""
    _, ask = explorer
    one, two, three = cartoons.ids[8], cartoons.ids[30], cartoons.ids[60]
    ask("toggle", ids=[one])
    assert [row["id"] for row in ask("toggle", ids=[two])["rows"]] == [one, two]
    assert [row["id"] for row in ask("toggle", ids=[one])["rows"]] == [two]
    assert [row["id"] for row in ask("select", ids=[three], add=True)["rows"]] == [two, three]
    assert [row["id"] for row in ask("select", ids=[one], add=False)["rows"]] == [one]


@pytest.fixture
def few(tmp_path, replies):
    """`few(count)`: the explorer of so many pictures with one's own vectors, and `ask`, which returns all replies."""

    def show(count, names=None):
        for number, name in enumerate(names or [f"{'ab'[number % 2]}/{number}.png" for number in range(count)]):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            Image.new("RGB", (60, 40), (20 * number, 0, 99)).save(tmp_path / name)
        collection = am.Collection.from_folder(tmp_path, progress=False)
        vectors = np.random.default_rng(0).normal(size=(len(collection), 8))
        widget = am.explore(collection, {("own", "vector"): am.Features(vectors, collection.ids, collection.labels)})
        return widget, partial(replies, widget)

    return show


def test_a_missing_file_is_marked_and_blanks_nothing(few):
    widget, ask = few(3)
    ids = widget.collection.ids
    widget.collection.path(ids[1]).unlink()
    ((answer, content),) = ask("pictures", ids=ids, side=100)
    corners = [Image.open(io.BytesIO(one)).getpixel((0, 0)) for one in content]
    assert answer["ids"] == ids and [corner[0] > 200 for corner in corners] == [False, True, False]
    (view, _), *_ = ask("query", id=ids[1])
    assert view["say"] == "view" and ask("export")[-1][0]["say"] == "page"
    assert ask("crop", id=ids[1], x=0, y=0, w=1, h=1)[-1][0]["text"].startswith(str(widget.collection.path(ids[1])))


@pytest.mark.parametrize("count", [2, 3])
def test_few_pictures_are_shown_as_far_as_there_are(few, count):
    widget, ask = few(count)
    ids = widget.collection.ids
    said = [*ask("start"), *ask("query", id=ids[0]), *ask("map"), *ask("export")]
    assert "error" not in {content["say"] for content, _ in said}
    last = [reply for id in ids[1:] for reply in ask("more", id=id)][-1][0]
    assert last["text"].startswith("every picture is an example of the query")
    (page,) = [content for content, _ in said if content["say"] == "page"]
    assert [one["k"] for one in written(page["html"])["systems"]] == [count - 1]


def test_one_picture_is_told(few):
    with pytest.raises(am.errors.QueryError, match="the explorer needs at least two pictures"):
        few(1)


def test_vectors_of_ones_own_are_explored_without_a_complaint(few):
    """Nothing can be computed of a new picture, which matters only once there is one."""
    _, ask = few(3)
    assert [content["say"] for content, _ in ask("start")] == ["view", "sheet", "selected"]
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG")
    told = ask("upload", file.getvalue(), name="new.png")[0][0]["text"]
    assert told.startswith("the index was built from vectors without a model")


def test_names_are_found_as_they_are_typed(few):
    nfd, blank = unicodedata.normalize("NFD", "café"), "9.41\u202fAM"
    widget, ask = few(3, [f"{nfd}.png", f"{blank}.png", "黒猫.png"])
    for typed, name in (("CAFÉ", nfd), (nfd, nfd), ("9.41 am", blank), ("猫", "黒猫")):
        assert ask("sheet", page=0, text=typed)[0][0]["ids"] == [f"{name}.png"]
    again = am.explore(widget.collection, widget.session.panel, query="café.png")
    assert tuple(again.session.question.signed("more")) == (f"{nfd}.png",)


def test_examples_with_the_same_name_are_all_on_the_saved_page(few):
    _, ask = few(3, ["a/cat.png", "b/cat.png", "c/dog.png"])
    ask("query", id="a/cat.png")
    ask("more", id="b/cat.png")
    html = ask("export")[0][0]["html"]
    assert 'alt="more like a/cat.png a/cat.png"' in html and 'alt="more like b/cat.png b/cat.png"' in html


def test_new_pictures_are_kept_as_long_as_one_can_go_back(explorer, cartoons, monkeypatch):
    monkeypatch.setattr("amulsearch.views.session.PAST", 2)
    widget, ask = explorer
    for id in cartoons.ids[20:24]:
        view = ask("upload", cartoons.path(id).read_bytes(), name=Path(id).name)
    pictures = widget.session.pictures
    assert len(view["past"]) == 2 and len(pictures) == 3
    assert ask("back", to=0)["examples"][0]["id"] in pictures and len(widget.session.pictures) == 1


def test_without_anywidget_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    for name in ("explorer", "widget"):
        monkeypatch.delitem(sys.modules, f"amulsearch.views.{name}")
    with pytest.raises(MissingPackageError, match="anywidget is not installed: pip install anywidget"):
        importlib.import_module("amulsearch.views.explorer")


def test_an_installed_package_has_all_files_of_the_views():
    """A wheel has the Python files and what pyproject.toml lists beside them."""
    here = Path(am.views.__file__).parent
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in listed["amulsearch.views"] for path in here.glob(pattern)}
    files = {path for path in here.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert packed == {path for path in files if here / "web" not in path.parents}
