"""Pages that live, in a real browser: mouse, touch, keyboard, lasso, search and link; hard names; in a notebook."""

import csv
import math
import unicodedata

import numpy as np
import pytest
from PIL import Image

import amulsearch as am

SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"
FRONT = "document.querySelector('.am-answers').amulsearch"
MAP = ".am-canvas canvas"
COLUMNS = 16  # of the map
MATCHES, SELECTED = ".am-answer > .am-list .am-hit", ".am-side .am-list .am-hit"
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


@pytest.fixture(scope="module")
def indexes(bundled_features):
    indexes = {name: am.ExactIndex.build(bundled_features[name, "penultimate"]) for name in (SQUEEZENET, LITE0)}
    return indexes | {LITE0: am.systems.calibrated(indexes[LITE0])}


@pytest.fixture(scope="module")
def saved(indexes, cartoons, tmp_path_factory):
    """A page with two maps in which the place of each picture is known: row by row."""
    cells = np.stack(np.divmod(np.arange(len(cartoons)), COLUMNS)[::-1], axis=1)
    rows = len(cartoons) // COLUMNS
    layout = am.views.Map(cartoons.ids, cartoons.labels, cells / (COLUMNS, rows), cells, COLUMNS, rows)
    page = am.views.Page("Some cartoons")
    page.answers(cartoons, indexes, {"rows": layout, "again": layout}, query=cartoons.ids[7], k=6)
    return page.save(tmp_path_factory.mktemp("answers") / "page.html")


@pytest.fixture
def hard(tmp_path):
    """A few pictures with hard names, an index and a map of them."""
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (60, 40), (200, 20 * number, 60)).save(tmp_path / "pictures" / f"{name}.png")
    collection = am.Collection.from_folder(tmp_path / "pictures", progress=False)
    vectors = np.random.default_rng(0).normal(size=(len(collection), 8))
    features = am.Features(vectors, collection.ids, collection.labels)
    return collection, {"one": am.ExactIndex.build(features)}, {"all": am.views.Map.fit(features)}


def inside(html, path):
    """The page within another one, as a notebook shows it, below a cell in which one types."""
    cell = "<main><div id=cell contenteditable=true style='min-height: 2em'></div>"
    path.write_text(f"<!doctype html><meta charset=utf-8>{cell}<div>{html}</div></main>", encoding="utf-8")
    return path


def ids_of(tiles):
    return tiles.evaluate_all("(all) => all.map((one) => one.dataset.id)")


def shown(page, column):
    return ids_of(page.locator(f'.am-answer-columns section[aria-label="{column}"] .am-hit'))


def query(page):
    return page.locator(".am-strip .am-title").get_attribute("title")


def position(page, row):
    """Where a picture lies in the window."""
    return page.evaluate(
        f"""(row) => {{
            const {{ map }} = {FRONT}, box = map.canvas.getBoundingClientRect(), [x, y] = map.position(row);
            return [box.left + x, box.top + y];
        }}""",
        row,
    )


def test_five_clicks_and_back(opened, saved, indexes, cartoons):
    page, asked = opened(saved), [cartoons.ids[7]]
    for step in range(5):
        for name, index in indexes.items():
            assert shown(page, name) == index.query(asked[-1], 6)["id"].tolist()
        column = (SQUEEZENET, LITE0)[step % 2]
        asked.append(next(id for id in shown(page, column) if id not in asked))
        page.locator(f'.am-answer-columns [aria-label="{column}"] [data-id="{asked[-1]}"] .am-picture').click()
        assert query(page) == asked[-1]
    page.go_back()
    assert query(page) == asked[-2]
    probability = indexes[LITE0].query(asked[-2], 6)["probability"][0]
    assert f"{probability:.0%}" in page.locator(f'[aria-label="{LITE0}"] .am-value').first.inner_text()


def test_the_map_the_lasso_and_the_link(opened, saved, cartoons, shots, tmp_path):
    page = opened(saved)
    page.mouse.click(*position(page, 85))
    assert query(page) == cartoons.ids[85]
    x, y = position(page, 85)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(200)
    near = position(page, 85)
    assert math.dist(near, (x, y)) < 8, "the picture under the pointer stays there"
    assert math.dist(near, position(page, 86)) > 20
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=5)
    page.mouse.up()
    assert math.dist(position(page, 85), (near[0] + 60, near[1] + 30)) < 3
    page.get_by_role("button", name="all", exact=True).click()
    page.get_by_role("button", name="Lasso").click()
    corners = [position(page, row) for row in (36, 40, 40 + 3 * COLUMNS, 36 + 3 * COLUMNS)]  # 5 columns, 4 rows
    step = position(page, 37)[0] - corners[0][0]
    outside = [(-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4)]
    line = [(u + a * step, v + b * step) for (u, v), (a, b) in zip(corners, outside, strict=True)]
    page.mouse.move(*line[0])
    page.mouse.down()
    for place in [*line[1:], line[0]]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    expected = {cartoons.ids[row + COLUMNS * line] for row in range(36, 41) for line in range(4)}
    assert set(ids_of(page.locator(SELECTED))) == expected
    assert "20 selected" in page.locator(".am-side").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    label = dict(zip(cartoons.ids, cartoons.labels, strict=True))
    assert {row["id"]: row["label"] for row in rows} == {id: label[id] for id in expected}
    page.get_by_label("Map", exact=True).select_option("again")
    page.screenshot(path=shots / "answers_lasso.png")
    again = opened(saved, fragment="#" + page.url.split("#")[1])
    assert query(again) == cartoons.ids[85] and again.locator(SELECTED).count() == 20
    assert again.get_by_label("Map", exact=True).input_value() == "again"


def test_search_columns_and_differences(opened, saved, cartoons, indexes):
    page = opened(saved)
    page.keyboard.press("/")
    page.keyboard.type("guitar music")
    found = page.locator(MATCHES)
    assert {id for id in cartoons.ids if "guitar" in id and "music" in id} <= set(ids_of(found))
    page.get_by_role("button", name="Close").click()
    assert found.count() == 0
    page.get_by_role("button", name=SQUEEZENET, exact=True).click()
    assert page.locator(".am-answer-columns section").count() == 1 and shown(page, LITE0)
    page.locator("summary").click()
    first = page.locator(".am-changes .am-hit").first
    lists = [set(index.query(first.get_attribute("data-id"), 6)["id"]) for index in indexes.values()]
    rows = [index.all_neighbours(6)[0] for index in indexes.values()]
    least = min(len(set(a) & set(b)) for a, b in zip(*rows, strict=True))
    assert first.inner_text().startswith(f"{least} of 6 shared") and len(lists[0] & lists[1]) == least


def test_the_keyboard_alone(opened, saved):
    page = opened(saved)
    page.locator(MAP).first.focus()
    before = position(page, 0)
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert math.dist(before, position(page, 0)) > 50
    page.keyboard.press("Enter")
    middle = page.evaluate(
        f"""() => {{
            const {{ map, data: {{ sheets: {{ ids }} }} }} = {FRONT};
            const {{ clientWidth: width, clientHeight: height }} = map.canvas;
            const places = ids.map((_, row) => map.position(row));
            const far = places.map(([x, y]) => Math.hypot(x - width / 2, y - height / 2));
            return ids[far.indexOf(Math.min(...far))];
        }}"""
    )
    assert query(page) == middle
    page.locator(".am-answer-columns .am-picture").first.focus()
    for key in ("ArrowRight", "ArrowDown", "s"):
        page.keyboard.press(key)
    wanted = shown(page, LITE0)[1]
    assert ids_of(page.locator(SELECTED)) == [wanted]
    page.keyboard.press("Enter")
    assert query(page) == wanted


def test_touch(opened, saved, cartoons):
    page = opened(saved, 390, 800, has_touch=True, is_mobile=True)
    wanted = shown(page, SQUEEZENET)[0]
    page.locator(".am-answer-columns .am-picture").first.tap()
    assert query(page) == wanted
    page.locator(MAP).first.scroll_into_view_if_needed()
    page.touchscreen.tap(*position(page, 70))
    page.wait_for_function("(id) => document.querySelector('.am-strip .am-title').title === id", arg=cartoons.ids[70])
    x, y = position(page, 70)
    fingers, apart = page.context.new_cdp_session(page), math.dist((x, y), position(page, 71))
    for kind, half in (("Start", 30), ("Move", 45), ("Move", 60), ("End", None)):
        points = [{"x": x + side * half, "y": y, "id": side} for side in (-1, 1)] if half else []
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert math.dist(position(page, 70), position(page, 71)) == pytest.approx(2 * apart, rel=0.1)
    assert math.dist(position(page, 70), (x, y)) < 10  # the point between the fingers stays in place


def test_nothing_is_cut_or_overlaps_or_hard_to_read(opened, saved, shots, faults, misplaced):
    page = opened(saved)
    for width in (390, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=shots / f"answers_{width}.png", full_page=True)
        assert misplaced(page) == []
    for width, scheme in ((390, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=shots / f"answers_{scheme}.png", full_page=True)
        assert faults(page) == []


def test_names_are_found_as_they_are_typed(hard, opened, tmp_path):
    collection, found, _ = hard
    page = opened(am.views.Page("names").answers(collection, found).save(tmp_path / "page.html"))
    for typed, name in (
        ("9.41.23 am", NAMES[0]),
        ("CAFÉ", NAMES[1]),
        (unicodedata.normalize("NFD", "café"), NAMES[1]),
        ("写真 1", NAMES[2]),
        ("\u0645\u06cc\u062e\u0648\u0627\u0647\u0645", NAMES[3]),
        ("猫", NAMES[4]),
        ("<script>x", NAMES[5]),
        ("new line", NAMES[6]),
        ("long long", NAMES[7]),
    ):
        page.locator("input[type=search]").fill(typed)
        assert ids_of(page.locator(MATCHES)) == [f"{name}.png"], typed
        page.locator(f"{MATCHES} .am-picture").click()
        assert query(page) == f"{name}.png"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator(".am-side button:visible, .am-side select:visible, canvas[role]:visible").count() == 0


def test_in_a_notebook_keys_and_address_are_those_of_the_notebook(hard, opened, tmp_path):
    collection, found, _ = hard
    page = opened(inside(am.views.Page("p").answers(collection, found)._repr_html_(), tmp_path / "notebook.html"))
    page.locator("#cell").click()
    page.keyboard.type("a/b")
    assert page.locator("#cell").inner_text() == "a/b"
    wanted = shown(page, "one")[0]
    page.locator(".am-answer-columns .am-picture").first.click()
    assert query(page) == wanted and "#" not in page.url
    page.locator(".am-answer-columns .am-picture").first.focus()
    page.evaluate("document.addEventListener('keydown', (event) => (window.shortcut = event.key))")
    page.keyboard.press("d")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search" and page.evaluate("window.shortcut") is None


def test_the_map_stays_where_it_is_after_a_selection(hard, opened, tmp_path):
    collection, found, maps = hard
    page = opened(am.views.Page("p").answers(collection, found, maps).save(tmp_path / "page.html"))
    row = collection.ids.index(query(page))
    canvas = page.locator(MAP).first
    canvas.focus()
    for key in ["+"] * 6 + ["ArrowLeft"] * 20:
        page.keyboard.press(key)
    before, box = position(page, row), canvas.bounding_box()
    assert not box["x"] < before[0] < box["x"] + box["width"]
    page.evaluate(f"(ids) => {FRONT}.state.set({{ selected: ids }})", collection.ids[:2])
    assert position(page, row) == before
    page.evaluate(f"(id) => {FRONT}.state.set({{ query: id }})", collection.ids[(row + 1) % 8])
    assert position(page, row) != before


def test_two_parts_that_answer(hard, opened, tmp_path):
    """The address belongs to the first of them."""
    collection, found, maps = hard
    page = am.views.Page("both").answers(collection, found).answers(collection, found, maps, query=collection.ids[0])
    page = opened(page.save(tmp_path / "page.html"))
    page.wait_for_function("document.querySelectorAll('.am-alive').length === 2")
    second = page.locator(".am-answers").nth(1)
    second.scroll_into_view_if_needed()
    place = page.evaluate("document.querySelectorAll('.am-answers')[1].amulsearch.map.position(4)")
    second.locator(MAP).click(position={"x": place[0], "y": place[1]})
    assert second.locator(".am-title").get_attribute("title") == collection.ids[4] and "#" not in page.url
    assert page.get_by_text("Copy link").count() == 1
