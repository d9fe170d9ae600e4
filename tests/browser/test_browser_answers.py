"""The page that answers in a real browser, opened from a file: mouse, touch, keyboard, lasso, search and the link."""

import csv
import math

import numpy as np
import pytest

import amulsearch as am

SQUEEZENET, LITE0 = "squeezenet1_1", "tf_efficientnet_lite0"
ALIVE = (
    "document.querySelector('.am-answers')?.amulsearch?.data.images.every((one) => one.complete && one.naturalWidth)"
)


@pytest.fixture(scope="module")
def indexes(bundled_features):
    return {
        name: am.systems.calibrated(am.ExactIndex.build(bundled_features[name, "penultimate"]))
        for name in (SQUEEZENET, LITE0)
    }


@pytest.fixture(scope="module")
def layout(cartoons):
    """A map in which the place of each picture is known: row by row."""
    columns = 42
    cells = np.stack(np.divmod(np.arange(len(cartoons)), columns)[::-1], axis=1)
    rows = -(-len(cartoons) // columns)
    return am.views.Map(cartoons.ids, cartoons.labels, cells / (columns, rows), cells, columns, rows, len(cartoons))


@pytest.fixture(scope="module")
def path(indexes, layout, cartoons, tmp_path_factory):
    path = tmp_path_factory.mktemp("answers") / "page.html"
    maps = {"rows": layout, "again": layout}
    return am.views.Page("All cartoons").answers(cartoons, indexes, maps, query=cartoons.ids[7], k=6).save(path)


@pytest.fixture
def opened(browser, path):
    """A function from the size of the window to the page in it."""
    pages = []

    def show(width=1280, height=900, fragment="", **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_function(ALIVE)
        pages.append(page)
        return page

    yield show
    for page in pages:
        assert not page.errors
        page.context.close()


def shown(page, column):
    tiles = page.locator(f'.am-answer-columns section[aria-label="{column}"] .am-hit')
    return tiles.evaluate_all("(all) => all.map((one) => one.title)")


def test_five_clicks_and_back(opened, indexes, cartoons):
    page, asked = opened(), [cartoons.ids[7]]
    for step in range(5):
        for name, index in indexes.items():
            assert shown(page, name) == index.query(asked[-1], 6)["id"].tolist()
        column = (SQUEEZENET, LITE0)[step % 2]
        chosen = next(id for id in shown(page, column) if id not in asked)
        page.locator(f'.am-answer-columns section[aria-label="{column}"] .am-hit[title="{chosen}"]').click()
        asked.append(chosen)
        assert page.locator(".am-strip .am-title").get_attribute("title") == chosen
    page.go_back()
    assert page.locator(".am-strip .am-title").get_attribute("title") == asked[-2]
    table = indexes[LITE0].query(asked[-2], 6)
    first = page.locator(f'.am-answer-columns section[aria-label="{LITE0}"] .am-hit').first.inner_text()
    assert f"{table['probability'][0]:.0%}" in first


def point_of(page, row):
    """Where a picture lies in the window."""
    return page.evaluate(
        """(row) => {
            const map = document.querySelector(".am-answers").amulsearch.maps[0];
            const box = map.canvas.getBoundingClientRect(), [x, y] = map.position(row);
            return [box.left + x, box.top + y];
        }""",
        row,
    )


def test_the_map_the_lasso_and_the_link(opened, layout, cartoons, shots, tmp_path):
    page = opened()
    page.mouse.click(*point_of(page, 850))
    assert page.locator(".am-strip .am-title").get_attribute("title") == cartoons.ids[850]
    x, y = point_of(page, 850)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(200)
    near = point_of(page, 850)
    assert math.dist(near, (x, y)) < 8, "the picture under the pointer stays there"
    assert math.dist(near, point_of(page, 851)) > 20
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=5)
    page.mouse.up()
    assert math.dist(point_of(page, 850), (near[0] + 60, near[1] + 30)) < 3
    page.get_by_role("button", name="all", exact=True).click()
    page.get_by_role("button", name="Lasso").click()
    corners = [point_of(page, row) for row in (420, 424, 424 + 3 * 42, 420 + 3 * 42)]  # 5 columns, 4 rows
    step = point_of(page, 421)[0] - corners[0][0]
    outside = [(-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4)]
    line = [(u + a * step, v + b * step) for (u, v), (a, b) in zip(corners, outside, strict=True)]
    page.mouse.move(*line[0])
    page.mouse.down()
    for place in [*line[1:], line[0]]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    expected = {cartoons.ids[row + 42 * line] for row in range(420, 425) for line in range(4)}
    selected = page.locator(".am-side .am-list .am-hit").evaluate_all("(all) => all.map((one) => one.title)")
    assert set(selected) == expected and "20 selected" in page.locator(".am-side").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    label = dict(zip(cartoons.ids, cartoons.labels, strict=True))
    assert {row["id"]: row["label"] for row in rows} == {id: label[id] for id in expected}
    page.get_by_label("Second map").select_option("1")
    page.screenshot(path=shots / "answers_lasso.png")
    again = opened(fragment="#" + page.url.split("#")[1])
    assert again.locator(".am-strip .am-title").get_attribute("title") == cartoons.ids[850]
    assert again.locator(".am-side .am-list .am-hit").count() == 20
    assert again.locator(".am-canvas canvas").nth(1).is_visible()


def test_search_columns_and_differences(opened, cartoons, indexes):
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("guitar music")
    expected = [id for id in cartoons.ids if "guitar" in id and "music" in id]
    found = page.locator(".am-answer > .am-list .am-hit")
    assert set(expected) <= set(found.evaluate_all("(all) => all.map((one) => one.title)"))
    page.get_by_role("button", name="Close").click()
    assert found.count() == 0
    page.get_by_role("button", name=SQUEEZENET).click()
    assert page.locator(".am-answer-columns section").count() == 1 and shown(page, LITE0)
    page.locator("summary").click()
    first = page.locator(".am-changes .am-hit").first
    id = first.get_attribute("title")
    lists = [set(index.query(id, 6)["id"]) for index in indexes.values()]
    rows = [index.all_neighbours(6)[0] for index in indexes.values()]
    least = min(len(set(a) & set(b)) for a, b in zip(*rows, strict=True))
    assert first.inner_text().startswith(f"{least} of 6 shared") and len(lists[0] & lists[1]) == least


def test_the_keyboard_alone(opened, cartoons):
    page = opened()
    page.locator(".am-canvas canvas").first.focus()
    before = point_of(page, 0)
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert math.dist(before, point_of(page, 0)) > 50
    page.keyboard.press("Enter")
    middle = page.evaluate(
        """() => {
            const { maps, data } = document.querySelector(".am-answers").amulsearch, [map] = maps;
            const far = data.names.map((_, row) => Math.hypot(
                map.position(row)[0] - map.canvas.clientWidth / 2, map.position(row)[1] - map.canvas.clientHeight / 2));
            return data.names[far.indexOf(Math.min(...far))];
        }"""
    )
    assert page.locator(".am-strip .am-title").get_attribute("title") == middle
    hit = page.locator(".am-answer-columns .am-hit").nth(2)
    wanted = hit.get_attribute("title")
    hit.focus()
    page.keyboard.press("Enter")
    assert page.locator(".am-strip .am-title").get_attribute("title") == wanted


def test_touch(opened, cartoons):
    page = opened(390, 800, has_touch=True, is_mobile=True)
    hit = page.locator(".am-answer-columns .am-hit").first
    wanted = hit.get_attribute("title")
    hit.tap()
    assert page.locator(".am-strip .am-title").get_attribute("title") == wanted
    page.locator(".am-canvas canvas").first.scroll_into_view_if_needed()
    page.touchscreen.tap(*point_of(page, 700))
    page.wait_for_function("(id) => document.querySelector('.am-strip .am-title').title === id", arg=cartoons.ids[700])


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(opened, shots, faults, width, scheme):
    page = opened(width, 900, color_scheme=scheme)
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=shots / f"answers_{width}_{scheme}.png", full_page=True)
    boxes = page.locator(".am-strip button:visible, .am-strip input, .am-side .am-bar > *:visible").evaluate_all(
        """(all) => all.map((one) => one.getBoundingClientRect())
            .map((box) => [box.left, box.top, box.right, box.bottom])"""
    )
    for place, (left, top, right, bottom) in enumerate(boxes):
        for a, b, c, d in boxes[place + 1 :]:
            assert min(right, c) - max(left, a) < 1 or min(bottom, d) - max(top, b) < 1


def test_in_a_notebook_the_address_is_left_alone(browser, path, tmp_path):
    """Inside another page, as in JupyterLab, a click changes what is shown and not the address."""
    page = browser.new_page()
    text = (
        path.read_text(encoding="utf-8")
        .replace("<body><main>", "<body><div>")
        .replace("</main></body>", "</div></body>")
    )
    (tmp_path / "inside.html").write_text(text, encoding="utf-8")
    page.goto((tmp_path / "inside.html").as_uri())
    page.wait_for_function(ALIVE)
    hit = page.locator(".am-answer-columns .am-hit").first
    wanted = hit.get_attribute("title")
    hit.click()
    assert page.locator(".am-strip .am-title").get_attribute("title") == wanted and "#" not in page.url
    page.close()
