"""The page that answers in a real browser: hard names, thumbnails in files, no maps, and inside a notebook."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

import amulsearch as am

READY = "document.querySelector('.am-answers')?.amulsearch?.data.images.every((one) => one.complete)"
NAMES = [
    "Screenshot 9.41.23\u202fAM",
    unicodedata.normalize("NFD", "café"),
    "写真\u30001",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "黒猫",
    '<script>x<_script> & "it\'s"',
    "new\nline",
    "long " * 40,
]


@pytest.fixture
def systems(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (60, 40), (200, 20 * number, 60)).save(tmp_path / "pictures" / f"{name}.png")
    collection = am.Collection.from_folder(tmp_path / "pictures", progress=False)
    vectors = np.random.default_rng(0).normal(size=(len(collection), 8))
    features = am.Features(vectors, collection.ids, collection.labels)
    return collection, {"one": am.ExactIndex.build(features)}, {"all": am.views.Map.fit(features)}


@pytest.fixture
def opened(browser):
    """A function from an HTML file to the page in a browser, in which nothing may go wrong."""
    pages = []

    def show(path):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        pages.append(page)
        page.goto(path.as_uri())
        page.wait_for_function(READY)
        return page

    yield show
    for page in pages:
        assert not page.errors
        page.close()


def inside(html, path):
    """The page within another one, as a notebook shows it, below a cell in which one types."""
    cell = "<main><div id=cell contenteditable=true style='min-height: 2em'></div>"
    path.write_text(f"<!doctype html><meta charset=utf-8>{cell}<div>{html}</div></main>", encoding="utf-8")
    return path


def test_names_are_found_as_they_are_typed(systems, opened, tmp_path):
    collection, found, _ = systems
    page = opened(am.views.Page("names").answers(collection, found).save(tmp_path / "page.html"))
    search, hits = page.locator("input[type=search]"), page.locator(".am-answer > .am-list .am-hit")
    for typed, name in (
        ("9.41.23 am", NAMES[0]),
        ("CAFÉ", NAMES[1]),
        (unicodedata.normalize("NFD", "café"), NAMES[1]),
        ("写真 1", NAMES[2]),
        ("\u0645\u06cc\u062e\u0648\u0627\u0647\u0645", NAMES[3]),
        ("猫", NAMES[4]),
        ("<script>x", NAMES[5]),
        ("new line", NAMES[6]),
    ):
        search.fill(typed)
        assert hits.evaluate_all("(all) => all.map((one) => one.title)") == [f"{name}.png"], typed
        page.locator(".am-answer > .am-list button.am-hit").click()
        assert page.locator(".am-strip .am-title").get_attribute("title") == f"{name}.png"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_without_maps_there_are_no_buttons_of_maps(systems, opened, tmp_path):
    collection, found, _ = systems
    page = opened(am.views.Page("no maps").answers(collection, found).save(tmp_path / "page.html"))
    assert page.locator(".am-side button:visible, .am-side select:visible, canvas[role]:visible").count() == 0
    page.locator(".am-answer-columns .am-hit").first.click()


@pytest.mark.parametrize("name", ["50% #1?", "plain"])
def test_thumbnails_in_files_are_shown(systems, opened, tmp_path, monkeypatch, name):
    """In a saved page, in a notebook, and told where they are missing."""
    monkeypatch.setattr("amulsearch.views.page.WHOLE", 5)
    collection, found, _ = systems
    folder = tmp_path / f"of {name}"
    page = am.views.Page("files").answers(collection, found, folder=folder / f"{name}_files")
    saved = page.save(folder / f"{name}.html")
    notebook = inside(page._repr_html_(), tmp_path / "notebook.html")
    seen = "document.querySelector('.am-answers').amulsearch.data.images.every((one) => one.naturalWidth === 96 * 32)"
    for path in (saved, notebook):
        shown = opened(path)
        assert shown.evaluate(seen) and not shown.get_by_text("cannot be loaded").is_visible()
    (folder / f"{name}_files").rename(folder / "elsewhere")
    assert opened(saved).get_by_text(f"the folder {name}_files belongs beside this page").is_visible()


def test_in_a_notebook_a_slash_goes_where_it_is_typed(systems, opened, tmp_path):
    collection, found, _ = systems
    page = opened(inside(am.views.Page("p").answers(collection, found)._repr_html_(), tmp_path / "notebook.html"))
    page.locator("#cell").click()
    page.keyboard.type("a/b")
    assert page.locator("#cell").inner_text() == "a/b"
    page.locator(".am-answer-columns .am-hit").first.focus()
    page.evaluate("document.addEventListener('keydown', (event) => (window.shortcut = event.key))")
    page.keyboard.press("d")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search" and page.evaluate("window.shortcut") is None


def test_the_map_stays_where_it_is_after_a_selection(systems, opened, tmp_path):
    collection, found, maps = systems
    page = opened(am.views.Page("p").answers(collection, found, maps).save(tmp_path / "page.html"))
    place = """() => {
        const { maps: [map], state } = document.querySelector(".am-answers").amulsearch;
        return map.position(state.view.query);
    }"""
    canvas = page.locator("canvas[role]").first
    canvas.focus()
    for _ in range(6):
        page.keyboard.press("+")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    before = page.evaluate(place)
    assert not 0 < before[0] < canvas.bounding_box()["width"]
    page.evaluate("document.querySelector('.am-answers').amulsearch.state.set({ selected: [0, 1] })")
    assert page.evaluate(place) == before
    query = page.evaluate("document.querySelector('.am-answers').amulsearch.state.view.query")
    page.evaluate(
        "(row) => document.querySelector('.am-answers').amulsearch.state.set({ query: row })", (query + 1) % 8
    )
    assert page.evaluate(place) != before
