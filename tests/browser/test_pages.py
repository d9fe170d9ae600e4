"""A saved page in a browser: at phone and desktop widths, in light and dark mode, without a network."""

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.index import neighbours

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
    vectors = {name: bundled_features[name, "penultimate"].vectors[rows] for name in am.models.BUNDLED[:2]}
    labels = [label[id] for id in kept]
    features = {(name, "penultimate"): am.Features(made, kept, labels) for name, made in vectors.items()}
    query = kept[40]
    indexes = {name: am.ExactIndex.build(made) for (name, _), made in features.items()}
    lists = am.Panel(indexes, fusions=["rrf"]).query(query, 4)
    lists[EVIL] = neighbours([f"{EVIL}/{EVIL}.png"], [EVIL], {"distance": np.array([0.5])}, {}, EVIL, "logits")
    page = am.views.Page(f"A page with {EVIL} in its title and in other places").text("Some words. " * 40)
    page.heading("A table").table(collection.table.tail(8)).heading("A grid").grid(collection, query, lists)
    page.heading("Side by side").contact_sheet(collection, collection.sample(30))
    own = am.Features(np.random.default_rng(0).normal(size=(len(collection), 8)), collection.ids, collection.labels)
    page.heading("Answers").answers(collection, {"own": am.ExactIndex.build(own)}, {"all": am.views.Map.fit(own)})
    compared = am.compare(am.Panel(features, fusions=["rrf"]), progress=False)
    page.heading("A figure").figure(am.plot.systems_chart(compared), "a chart")
    page.heading("A measure").table(compared.table)
    return page.save(folder / "page.html")


def test_it_fits_at_every_width_and_reads_well(opened, saved, shots, faults, misplaced):
    page = opened(saved, color_scheme="light")
    assert page.evaluate("[...document.images].filter((one) => !one.complete || !one.naturalWidth).length") == 0
    assert page.evaluate("[...document.images].filter((one) => !one.alt).length") == 0
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=shots / f"page_{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert misplaced(page) == []
    for width, scheme in ((390, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=shots / f"page_{scheme}.png", full_page=True)
        paper, ink = (
            page.evaluate(f"getComputedStyle(document.querySelector('.am-page')).{of}.match(/\\d+/g).map(Number)")
            for of in ("backgroundColor", "color")
        )
        assert abs(sum(paper[:3]) - sum(ink[:3])) > 3 * 150
        assert (sum(paper[:3]) < sum(ink[:3])) == (scheme == "dark")
        assert faults(page) == []


def test_a_script_in_a_name_does_not_run(opened, saved):
    page = opened(saved)
    assert page.title().startswith(f"A page with {EVIL}")
    assert page.locator("h1").inner_text().startswith(f"A page with {EVIL}")
    assert page.locator("script").count() == 2
    assert page.get_by_alt_text(EVIL).count() == 1
    page.locator(".am-answers input").first.fill("<script>")
    page.locator(".am-answer > .am-list .am-picture").click()
    assert page.locator(".am-answers .am-title").get_attribute("title") == f"{EVIL}/{EVIL}.png"
