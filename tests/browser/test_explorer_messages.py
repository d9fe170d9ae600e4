"""The script of the explorer in a real browser, with messages from the test in place of a kernel."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amulsearch as am

SCRIPT, STYLE = (
    (Path(am.views.__file__).parent / f"front.{kind}").read_text(encoding="utf-8") for kind in ("js", "css")
)
IDS = ["a/cat.png", "b/cat.png", "c/dog.png", "c/bird.png"]
START = """async ([script, style]) => {
    const { default: widget } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
    document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
    const calls = {}, urls = new Set(), { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (blob) => { const url = createObjectURL.call(URL, blob); urls.add(url); return url; };
    URL.revokeObjectURL = (url) => { urls.delete(url); revokeObjectURL.call(URL, url); };
    window.sent = [];
    window.urls = urls;
    window.emit = (name, ...values) => [...(calls[name] ?? [])].forEach((call) => call(...values));
    window.say = (message, contents = []) => emit("msg:custom", message, contents.map((text) =>
        new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer)));
    const model = {
        get: () => "explorer",
        send: (message) => sent.push(message),
        on: (name, call) => (calls[name] ??= new Set()).add(call),
        off: (name, call) => calls[name].delete(call),
    };
    window.leave = widget.render({ model, el: document.body });
}"""


def view_of(query, *found):
    """What Python says of a query with one column."""
    hits = [{"id": id, "rank": rank, "value": 0.5, "same": False, "judged": None} for rank, id in enumerate(found, 1)]
    return {
        "say": "view",
        "most": 3,
        "examples": [{"id": query, "sign": "more", "label": None}],
        "columns": [{"name": "net", "measure": "distance", "hits": hits, "unlikely": None}],
        "look": {"layer": "l", "columns": ["net"], "k": 3},
        "choices": {"layers": ["l"], "columns": ["net"]},
        "words": False,
        "novelty": None,
        "past": [],
        "asked": query,
        "thumbs": {"query": 0, "all": 0, "undo": False},
        "ms": 1,
    }


def encoded(colour):
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.evaluate(START, [SCRIPT, STYLE])
    page.say = lambda message, *contents: page.evaluate("([one, all]) => say(one, all)", [message, contents])
    page.sent = lambda what: page.evaluate("(what) => sent.filter((one) => one.do === what)", what)
    page.say(view_of(IDS[0], *IDS[1:]))
    page.say({"say": "selected", "rows": []})
    yield page
    assert not errors
    page.close()


def tile(page, id):
    return page.locator(f'.am-answer-columns [data-id="{id}"]')


def test_each_message_says_what_was_seen(page):
    """Clicks that come before a reply: two selections, a thumb on the query that is shown, a part of its picture."""
    for id in IDS[1:3]:
        tile(page, id).locator(".am-picture").click(modifiers=["Control"])
    assert [one["ids"] for one in page.sent("toggle")] == [[IDS[1]], [IDS[2]]]
    tile(page, IDS[3]).locator(".am-picture").click()
    tile(page, IDS[1]).locator('[data-act="up"]').click()
    assert page.sent("query")[0]["id"] == IDS[3]
    assert [(one["query"], one["ids"]) for one in page.sent("judge")] == [(IDS[0], [IDS[1]])]
    page.say({"say": "pictures", "side": 480, "ids": [IDS[0]]}, encoded("red"))
    page.say(view_of(IDS[3], *IDS[:3]))  # its picture has not come: that of the query before is still seen
    page.locator(".am-strip .am-big").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert [one["id"] for one in page.sent("crop")] == [IDS[0]]


def test_a_late_picture_does_not_take_the_place_of_the_query(page):
    page.say({"say": "pictures", "side": 480, "ids": [IDS[0]]}, encoded("red"))
    page.say(view_of(IDS[1], *IDS[2:]))
    page.say(view_of(IDS[0], *IDS[1:]))  # back to the first, which is known
    page.say({"say": "pictures", "side": 480, "ids": [IDS[1]]}, encoded("blue"))
    shown = "document.querySelector('.am-strip .am-big img')"
    page.wait_for_function(f"{shown}.naturalWidth")
    colour = page.evaluate(
        f"""() => {{
            const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
            context.drawImage({shown}, 0, 0);
            return [...context.getImageData(5, 5, 1, 1).data];
        }}"""
    )
    assert colour[0] > 200 and colour[2] < 60


def test_a_restarted_kernel_is_told(page):
    page.evaluate("emit('comm_live_update')")
    said = page.locator(".am-said")
    assert "The kernel was restarted" in said.inner_text() and "run the cell again" in said.inner_text()
    page.evaluate("said = document.querySelector('.am-said').replaceChildren()")
    tile(page, IDS[1]).locator(".am-picture").click()
    assert "The kernel was restarted" in said.inner_text() and page.sent("query") == []
    assert page.locator(".am-waiting").count() == 0


def test_a_map_and_its_thumbnails_are_shown_and_a_second_one_takes_its_place(page):
    cells = np.array([[0, 0], [9, 0], [0, 9], [9, 9]], "<u4")
    about = {"name": "m", "columns": 10, "rows": 10, "ids": IDS, "side": 96, "across": 32}
    for _ in range(2):
        page.say({"say": "map", **about}, base64.b64encode(cells.tobytes()).decode())
    page.say({"say": "thumbnails", "sheet": 0}, encoded("red"))
    page.wait_for_function("document.querySelector('.am-explorer').amulsearch.map().sheets.images[0].naturalWidth")
    x, y = page.evaluate("document.querySelector('.am-explorer').amulsearch.map().position(2)")
    page.locator(".am-canvas canvas").click(position={"x": x, "y": y})
    assert [one["id"] for one in page.sent("query")] == [IDS[2]]


def test_what_another_view_asked_for_is_not_shown_here(page):
    tile(page, IDS[1]).locator('[data-act="view"]').dispatch_event("click")
    (asked,) = page.sent("about")
    page.say({"say": "about", "to": "another", "id": IDS[1], "facts": ["a fact"]})
    assert page.locator("dialog[open]").count() == 0
    page.say({"say": "about", "to": asked["view"], "id": IDS[1], "facts": ["a fact"]})
    assert "a fact" in page.locator("dialog[open]").inner_text()


def test_a_pasted_picture_is_sent(page):
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.of(1, 2)], "pasted.webp", { type: "image/webp" }));
            const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
            document.querySelector(".am-strip").dispatchEvent(event);
        }"""
    )
    page.wait_for_function("sent.some((one) => one.do === 'upload' && one.name === 'pasted.webp')")


def test_the_pages_of_the_collection_are_turned_by_the_keyboard(page):
    for number in range(2):
        page.say({"say": "sheet", "page": number, "pages": 3, "count": 9, "text": "", "near": [], "ids": IDS})
        if number == 0:
            page.get_by_label("Next page").focus()
        page.keyboard.press("Enter")
    assert [one["page"] for one in page.sent("sheet")] == [1, 2]


def test_pictures_are_freed(page):
    for start in range(0, 1500, 100):
        ids = [f"{number}.png" for number in range(start, start + 100)]
        page.say({"say": "sheet", "page": 0, "pages": 1, "count": 100, "text": "", "near": [], "ids": ids})
        page.say({"say": "pictures", "side": 240, "ids": ids}, *[encoded("red")] * 100)
    assert page.evaluate("urls.size") == 600
    assert page.evaluate("[...document.querySelectorAll('.am-sheet img')].every((one) => one.src)")
    page.evaluate("leave()")
    assert page.evaluate("urls.size") == 0
