"""The page that answers: bytes, seconds to the first picture and to all, and frames a second while the map is dragged.

    python benchmarks/answers.py [--sizes 1631,20000] [--store DIR]

Needs Playwright and Chromium (/usr/bin/chromium). A page holds nine systems with eight neighbours each; larger
collections are copies of the bundled cartoons, with a little noise in their vectors and a map without t-SNE.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
READY = "document.querySelector('.am-answers')?.amulsearch?.data.sheets.images.{}((one) => one.naturalWidth)"
DRAG = """async () => {
    const { maps: [map] } = document.querySelector(".am-answers").amulsearch, times = [];
    const box = map.canvas.getBoundingClientRect(), at = (step) => ({
        clientX: box.left + box.width / 2 + 100 * Math.sin(step / 8), clientY: box.top + box.height / 2,
        bubbles: true, cancelable: true, view: window });
    ZOOM
    map.canvas.dispatchEvent(new MouseEvent("mousedown", at(0)));
    let before = performance.now();
    for (let step = 1; step <= 60; step++) {
        window.dispatchEvent(new MouseEvent("mousemove", at(step)));
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        times.push(now - before);
        before = now;
    }
    window.dispatchEvent(new MouseEvent("mouseup", at(60)));
    return 1000 / times.sort((a, b) => a - b)[30];
}"""


def copies(folder: Path, count: int) -> am.Collection:
    """The bundled cartoons, copied as often as needed."""
    pictures = sorted(DATA.rglob("*.webp"))
    for number in range(count):
        source = pictures[number % len(pictures)]
        to = folder / source.relative_to(DATA).parent / f"{number // len(pictures):02}_{source.name}"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
    return am.Collection.from_folder(folder, progress=False)


def make(count: int, folder: Path, store: str) -> Path:
    cartoons = am.Collection.from_folder(DATA, progress=False)
    features = am.extract(cartoons, layers=["penultimate"], store=store, progress=False)
    pictures = cartoons if count == len(cartoons) else copies(folder / "pictures", count)
    row = {id: place for place, id in enumerate(cartoons.ids)}
    of = [row[id] if id in row else row[str(Path(id).parent / Path(id).name[3:])] for id in pictures.ids]
    chance, indexes = np.random.default_rng(0), {}
    for (name, _), made in features.items():
        vectors = am.features.l2_normalize(made.vectors[of])
        noise = 0.01 * chance.standard_normal(vectors.shape, dtype=np.float32)
        indexes[name] = am.systems.calibrated(
            am.ExactIndex.build(am.Features(vectors + noise, pictures.ids, pictures.labels))
        )
    parts = list(indexes.values())
    systems = indexes | {method: am.Fusion(parts, method, depth=20) for method in am.systems.METHODS}
    columns = round((1.3 * len(pictures)) ** 0.5)
    cells = np.stack(np.divmod(np.arange(len(pictures)), columns)[::-1], axis=1)
    rows = -(-len(pictures) // columns)
    layout = am.views.Map(pictures.ids, pictures.labels, cells / columns, cells, columns, rows)
    page = am.views.Page("benchmark").answers(pictures, systems, {"map": layout})
    return page.save(folder / "page.html")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1631,20000")
    parser.add_argument("--store", help="folder to keep the features in; by default, each run extracts them again")
    options = parser.parse_args()
    rows = []
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
            folder = Path(temporary)
            start = time.perf_counter()
            path = make(size, folder, options.store or str(folder / "store"))
            row = {"pictures": size, "made in s": time.perf_counter() - start}
            row |= {"page MB": path.stat().st_size / 1e6}
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
            start = time.perf_counter()
            page.goto(path.as_uri(), wait_until="commit")
            page.wait_for_function(READY.format("some"))
            row["first picture s"] = time.perf_counter() - start
            page.wait_for_function(READY.format("every"))
            row["all s"] = time.perf_counter() - start
            row["whole map fps"] = page.evaluate(DRAG.replace("ZOOM", ""))
            row["zoomed fps"] = page.evaluate(DRAG.replace("ZOOM", "map.zoomBy(4);"))
            browser.close()
            rows.append(row)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
