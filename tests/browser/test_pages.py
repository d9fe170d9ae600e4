"""A saved page in a browser: at phone and desktop widths, in light and dark mode, without a network."""

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.index.neighbours import neighbours

EVIL = "<script>document.title = 'run'<_script>"


@pytest.fixture(scope="module")
def saved(cartoons, bundled_features, tmp_path_factory):
    """A page of cartoons with every kind of part; the names of one picture and its folder look like scripts."""
    folder = tmp_path_factory.mktemp("page")
    rows = np.sort(np.random.default_rng(1).permutation(len(cartoons))[:120])
    kept = [cartoons.ids[row] for row in rows]
    for id in kept:
        (folder / "pictures" / id).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / id).write_bytes(cartoons.path(id).read_bytes())
    (folder / "pictures" / EVIL).mkdir()
    Image.new("RGB", (50, 50), "teal").save(folder / "pictures" / EVIL / f"{EVIL}.png")
    collection = am.Collection.from_folder(folder / "pictures")
    label = dict(zip(cartoons.ids, cartoons.labels, strict=True))
    of = {name: bundled_features[name, "penultimate"].vectors[rows] for name in am.models.BUNDLED}
    features = {(name, "penultimate"): am.Features(made, kept, [label[id] for id in kept]) for name, made in of.items()}
    query = kept[40]
    indexes = {name: am.ExactIndex.build(made) for (name, _), made in features.items()}
    lists = {**am.query_all(indexes, query, 4)}
    lists["fused (rrf)"] = am.fuse(list(lists.values()), "rrf", k=4)
    lists[EVIL] = neighbours([f"{EVIL}/{EVIL}.png"], [0.5], [EVIL], EVIL, "logits")
    page = am.views.Page(f"A page with {EVIL} in its title and in other places").text("Some words. " * 40)
    page.heading("A table").table(collection.table.tail(8)).heading("A grid").grid(collection, query, lists)
    page.heading("Side by side").contact_sheet(collection, collection.sample(30))
    page.heading("A map").map(collection, am.views.Map.fit(am.transforms.concatenate(list(features.values()))))
    figure = am.plot.heat_maps(
        {"x": am.views.HeatMap(np.zeros((9, 9, 3), np.uint8), np.eye(3, dtype="f4"), 3.0, "sum")}
    )
    page.heading("A figure").figure(figure, "a heat map")
    page.heading("A measure").evaluation(am.compare(features, fusions=["rrf"], progress=False))
    return page.save(folder / "page.html")


@pytest.fixture
def look(browser, saved):
    """Open the page at a width and in a colour scheme; check that it logged no message and fetched nothing."""
    contexts, complaints = [], []

    def open_at(width, scheme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(saved.as_uri())
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []


OVERLAPS = """() => {
  const kinds = "h1, h2, h3, p, .am-frame, figcaption, table, .am-view, button, .am-named, li";
  const boxes = [...document.querySelectorAll(kinds)].map((one) => [one, one.getBoundingClientRect()]);
  const found = [];
  for (const [a, p] of boxes) for (const [b, q] of boxes)
    if (a !== b && !a.contains(b) && !b.contains(a)
        && Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
        && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1) found.push(a.outerHTML.slice(0, 90));
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_it_fits_at_every_width(width, scheme, look, shots, faults):
    page = look(width, scheme)
    page.screenshot(path=shots / f"page_{width}_{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].filter((one) => !one.complete || !one.naturalWidth).length") == 0
    assert page.evaluate("[...document.images].filter((one) => !one.alt).length") == 0
    assert page.evaluate(OVERLAPS) == []
    paper, ink = (
        page.evaluate(f"getComputedStyle(document.querySelector('.am-page')).{of}.match(/\\d+/g).map(Number)")
        for of in ("backgroundColor", "color")
    )
    assert abs(sum(paper[:3]) - sum(ink[:3])) > 3 * 150
    assert (sum(paper[:3]) < sum(ink[:3])) == (scheme == "dark")
    assert faults(page) == []


def test_a_script_in_a_name_does_not_run(look):
    page = look(1280)
    assert page.title().startswith(f"A page with {EVIL}")
    assert page.locator("h1").inner_text().startswith(f"A page with {EVIL}")
    assert page.locator("script").count() == 1
    assert page.get_by_alt_text(EVIL).count() == 1


def scale(page):
    return page.evaluate("new DOMMatrix(getComputedStyle(document.querySelector('.am-view img')).transform).a")


def corner(page):
    return page.evaluate(
        "(() => { const m = new DOMMatrix(getComputedStyle(document.querySelector('.am-view img')).transform);"
        "return [m.e, m.f]; })()"
    )


def test_the_map_zooms_and_moves(look, shots):
    page = look(1280)
    view = page.locator(".am-view")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert scale(page) == 1
    page.mouse.move(x, y)
    page.mouse.wheel(0, -50)
    assert scale(page) == 1  # the wheel without Ctrl scrolls the page
    page.evaluate("scrollTo(0, document.querySelector('.am-view').offsetTop - 20)")
    box = view.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.dblclick(x, y)
    assert scale(page) == 2
    page.keyboard.down("Control")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -50)
    page.keyboard.up("Control")
    page.wait_for_function("new DOMMatrix(document.querySelector('.am-view img').style.transform).a > 2.5")
    before = corner(page)
    page.mouse.down()
    page.mouse.move(x - 60, y - 40, steps=3)
    page.mouse.up()
    assert np.allclose(np.subtract(corner(page), before), [-60, -40], atol=1)
    page.screenshot(path=shots / "page_map_near.png")
    page.get_by_role("button", name="show all").click()
    assert scale(page) == 1 and corner(page) == [0, 0]
    page.get_by_role("button", name="zoom in").click()
    assert scale(page) == 1.5
    view.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    assert scale(page) == 1


def test_two_fingers_zoom_the_map(look):
    page = look(390, has_touch=True, is_mobile=True)
    page.evaluate("scrollTo(0, document.querySelector('.am-view').getBoundingClientRect().top + scrollY - 20)")
    box = page.locator(".am-view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind, apart):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 30)
    for apart in (40, 50, 60):
        touch("touchMove", apart)
    touch("touchEnd", None)
    assert scale(page) == pytest.approx(2, abs=0.1)
    left, _ = corner(page)
    assert left == pytest.approx(-box["width"] / 2, abs=10)  # the point between the fingers stays in place


def test_the_map_tells_the_name_under_the_pointer(look):
    page = look(1280)
    view = page.locator(".am-view")
    columns, rows, names = page.evaluate(
        "(() => { const d = document.querySelector('.am-map').dataset;"
        "return [+d.columns, +d.rows, JSON.parse(d.names)]; })()"
    )
    cell = next(place for place, name in enumerate(names) if name and place > columns)
    page.evaluate("scrollTo(0, document.querySelector('.am-view').offsetTop - 20)")
    box = view.bounding_box()
    where = (
        box["x"] + 1 + (cell % columns + 0.5) / columns * (box["width"] - 2),
        box["y"] + 1 + (cell // columns + 0.5) / rows * (box["height"] - 2),
    )
    page.mouse.move(*where)
    assert page.locator(".am-named").inner_text() == names[cell]
    page.mouse.dblclick(*where)
    page.mouse.move(*where)
    assert page.locator(".am-named").inner_text() == names[cell]


def test_without_script_the_map_is_a_picture(look):
    page = look(390, java_script_enabled=False)
    assert page.locator(".am-view img").bounding_box()["width"] > 300
    assert not page.locator(".am-tools").is_visible()
