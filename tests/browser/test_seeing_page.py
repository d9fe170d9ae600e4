"""A page that sees, in a real browser without a network: a new picture finds there what it finds in Python."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

import amulsearch as am
from amulsearch.features import l2_normalize

MODEL, LAYERS = "squeezenet1_1", {"mean": "penultimate", "gem": "last:gem"}
FRONT = "document.querySelector('.am-answers').amulsearch"
BUTTON = "Your own picture"


@pytest.fixture(scope="module")
def features(cartoons, store):
    return am.extract(cartoons, MODEL, list(LAYERS.values()), store=store, progress=False)


@pytest.fixture(scope="module")
def systems(features):
    pen, gem = (features[MODEL, layer] for layer in LAYERS.values())
    reduced = am.transforms.PCA.fit(gem, 64, whiten=0.5)(gem)
    indexes = {"mean": am.ExactIndex.build(pen), "gem": am.ExactIndex.build(gem), "pca": am.ExactIndex.build(reduced)}
    am.systems.calibrated(indexes["mean"])
    return indexes | {"fused": am.Fusion([indexes["mean"], indexes["gem"]], "rrf")}


@pytest.fixture(scope="module")
def pages(systems, cartoons, features, tmp_path_factory):
    """A page on which the column `mean` sees and `fused` does not, beside a map; and one on which three columns see."""
    folder = tmp_path_factory.mktemp("sees")
    maps = {"all": am.views.Map.fit(features[MODEL, "penultimate"])}
    two = {name: systems[name] for name in ("fused", "mean")}
    three = {name: systems[name] for name in ("mean", "gem", "pca")}
    return (
        am.views.Page("Two").answers(cartoons, two, maps, k=10, sees=True).save(folder / "two.html"),
        am.views.Page("Three").answers(cartoons, three, k=10, sees=True).save(folder / "three.html"),
    )


def drawn(size: tuple[int, int] = (400, 300), paper=(255, 255, 255, 255)) -> Image.Image:
    """A cat drawn by a child."""
    image = Image.new("RGBA", (400, 300), paper)
    draw = ImageDraw.Draw(image)
    draw.polygon([(130, 120), (150, 40), (190, 100)], "orange")
    draw.polygon([(270, 120), (250, 40), (210, 100)], "orange")
    draw.ellipse((120, 80, 280, 230), "orange", "black", 4)
    for x in (165, 235):
        draw.ellipse((x - 12, 130, x + 12, 155), "white", "black", 3)
    draw.line((200, 185, 110, 175), "black", 3)
    draw.line((200, 185, 290, 175), "black", 3)
    return image.resize(size)


@pytest.fixture(scope="module")
def pictures(cartoons, photographs, tmp_path_factory):
    """Fourteen files, of the kinds that a browser could open in another way than Python."""
    folder, rocket = tmp_path_factory.mktemp("pictures"), Image.open(photographs["rocket"])
    cat, coffee = Image.open(photographs["cat"]), Image.open(photographs["coffee"])
    fading = cat.convert("RGBA")
    fading.putalpha(Image.linear_gradient("L").resize(cat.size))
    exif = Image.Exif()
    for orientation in (5, 6):
        exif[0x0112] = orientation
        rocket.save(folder / f"exif{orientation}.jpg", exif=exif, quality=92)
    made = {
        "transparent.png": drawn(paper=(0, 0, 0, 0)),
        "fading.png": fading,
        "palette.gif": drawn().convert("P"),
        "grey.png": cat.convert("L"),
        "grey.jpg": rocket.convert("L"),
        "grey_alpha.png": fading.convert("LA"),
        "tiny.png": drawn((3, 2)),
        "dot.png": Image.new("RGB", (1, 1), "teal"),
        "thin.png": drawn((448, 7)),  # 3.5 pixels high in the network's input
        "huge.jpg": coffee.resize((4000, 2600)),
        "lossless.webp": drawn((700, 700)),
    }
    for name, image in made.items():
        image.save(folder / name, **({"lossless": True} if name.endswith("webp") else {}))
    files = [*folder.iterdir(), cartoons.path(cartoons.ids[33])]
    assert len(files) == 14
    return files


def see(page, files, count: int = 1):
    """Choose files, and wait until the page has seen so many."""
    page.locator("input[type=file]").first.set_input_files(files)
    all_seen = f"(count) => {FRONT}.own.size === count && {FRONT}.own.has({FRONT}.state.view.query)"
    page.wait_for_function(all_seen, arg=count, timeout=120_000)


def shown(page, column: str = "mean") -> list[str]:
    return page.locator(f'[aria-label="{column}"] .am-hit').evaluate_all("(all) => all.map((one) => one.dataset.id)")


def said(page) -> str:
    return page.locator(".am-said").inner_text()


def title(page) -> str:
    return page.locator(".am-strip .am-title").get_attribute("title")


def test_the_vectors_and_the_neighbours_are_those_of_python(opened, pages, pictures, systems):
    page = opened(pages[1], offline=True)
    see(page, pictures, len(pictures))
    seen = page.evaluate(f"[...{FRONT}.own.values()].map(({{ pooled }}) => [[...pooled.mean], [...pooled.gem]])")
    distances = {
        name: np.array(
            page.evaluate(
                f"(n) => [...{FRONT}.own.values()].map((one) => {FRONT}.seeing.get(n).distances(one.pooled))", name
            )
        )
        for name in ("mean", "gem", "pca")
    }
    expected = [am.embed(am.open_image(path), MODEL, list(LAYERS.values())) for path in pictures]
    for place, (name, layer) in enumerate(LAYERS.items()):
        ours = l2_normalize(np.concatenate([vectors[layer] for vectors in expected]))
        theirs = l2_normalize(np.array([vectors[place] for vectors in seen], np.float32))
        assert (ours * theirs).sum(axis=1).min() >= 0.9999
        first, there = (systems[name].search(vectors, 10)[0] for vectors in (ours, theirs))
        assert overlap(first, there) >= 0.99
        eight = np.argsort(distances[name], axis=1, kind="stable")[:, :10]
        assert overlap(first, eight) >= 0.97
        if name == "gem":
            reduced = systems["pca"].makers[-1](ours)
            found, far = systems["pca"].search(reduced, 10)
            assert overlap(found, np.argsort(distances["pca"], axis=1, kind="stable")[:, :10]) >= 0.97
            assert np.allclose(np.take_along_axis(distances["pca"], found, axis=1), far, atol=0.01)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)])


def test_a_new_picture_a_part_of_it_and_the_way_back(opened, pages, pictures, photographs, systems, shots):
    page = opened(pages[0], offline=True)
    start = title(page)
    see(page, photographs["cat"])
    table = systems["mean"].query(photographs["cat"], 10)
    assert shown(page) == table["id"].tolist()
    assert page.locator(".am-answer-columns section").count() == 1
    caption = page.locator('[aria-label="mean"] .am-value').first.inner_text()
    assert f"{table['probability'][0]:.0%}" in caption
    test = am.systems.NoveltyTest.build([systems["mean"]])
    assert said(page).startswith(test.sentence(test.p_value(str(photographs["cat"]))).split(":")[0])
    assert "The other columns cannot see new pictures." in said(page)
    whole = title(page)
    page.locator(".am-strip .am-big").focus()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"() => {FRONT}.own.size === 2")
    assert title(page).startswith("part ")
    box = [int(number) for number in title(page).split()[1].split(",")]
    part = am.open_image(photographs["cat"]).crop(box)
    assert shown(page)[:8] == systems["mean"].query(part, 8)["id"].tolist()
    page.screenshot(path=shots / "seeing_part.png")
    page.go_back()
    assert title(page) == whole and shown(page) == table["id"].tolist()
    page.go_back()
    assert title(page) == start and page.locator(".am-answer-columns section").count() == 2
    page.go_forward()
    page.go_forward()
    assert title(page).startswith("part ")


def test_what_cannot_be_seen_is_told_and_what_is_seen_reads_well(
    opened, pages, photographs, shots, faults, misplaced, tmp_path
):
    page = opened(pages[0], offline=True)
    before = title(page)
    (tmp_path / "cut.jpg").write_bytes(photographs["rocket"].read_bytes()[:20_000])
    (tmp_path / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    Image.new("RGB", (10_000, 10_000)).save(tmp_path / "large.png")
    for name, sentence in (
        ("cut.jpg", "cut.jpg is damaged"),
        ("noise.png", "noise.png is damaged"),
        ("film.mp4", "film.mp4 is a video"),
        ("large.png", "large.png has 100 megapixels, over the limit of 64: save it smaller."),
    ):
        page.locator("input[type=file]").first.set_input_files(tmp_path / name)
        page.wait_for_function("(text) => document.querySelector('.am-said').innerText.startsWith(text)", arg=sentence)
    assert title(page) == before
    see(page, photographs["cat"])
    for width, scheme in ((390, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=shots / f"seeing_{scheme}.png", full_page=True)
        assert misplaced(page) == [] and faults(page) == []


def test_pasted_dropped_and_chosen_by_keyboard(opened, pages, tmp_path):
    page, chosen = opened(pages[0], offline=True), []
    drawn().save(tmp_path / "drawn.png")
    page.on("filechooser", lambda chooser: chosen.append(chooser) or chooser.set_files(tmp_path / "drawn.png"))
    page.bring_to_front()
    page.wait_for_timeout(300)  # until Chromium tells of choosers
    page.get_by_role("button", name=BUTTON).press("Enter")
    page.wait_for_function(f"() => {FRONT}.own.size === 1")
    assert len(chosen) == 1
    for count, (kind, field) in enumerate((("Clipboard", "clipboardData"), ("Drag", "dataTransfer")), start=2):
        page.evaluate(
            """async ([kind, field, type]) => {
                const canvas = new OffscreenCanvas(60, 40), carried = new DataTransfer();
                canvas.getContext("2d").fillRect(10, 10, 20, 20);
                carried.items.add(new File([await canvas.convertToBlob()], `${type}.png`, { type: "image/png" }));
                const event = new window[`${kind}Event`](type, { [field]: carried, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [kind, field, "paste" if kind == "Clipboard" else "drop"],
        )
        page.wait_for_function(f"(count) => {FRONT}.own.size === count", arg=count)
    assert "drop.png" in title(page)


def test_on_the_site_a_cartoon_finds_itself(opened, cartoons, store, tmp_path):
    import make_site

    path, asked = tmp_path / make_site.CARTOONS, cartoons.ids[7]
    make_site.cartoons_page(cartoons, store, path)
    page = opened(path, offline=True)
    see(page, cartoons.path(asked))
    assert shown(page, "SqueezeNet")[0] == asked and page.locator(".am-canvas canvas").count() == 1
    assert make_site.faults(tmp_path) == []


def test_nothing_can_leave_the_page(pages):
    html = pages[0].read_text(encoding="utf-8")
    policy = html.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none';") and "connect-src" not in policy and "http" not in policy
