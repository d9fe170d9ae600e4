"""A page that sees: its size, how long a person waits for an answer, and whether it is that of Python.

    python benchmarks/seeing.py [--store DIR] [--rounds 10]

The page is of the bundled cartoons, with SqueezeNet's penultimate layer, in Chromium from a file. New pictures are
photographs of scikit-image, and those of another folder, if --others names one. Seconds are wall-clock, from choosing a
file until its neighbours are shown; the first starts the network. Other programs slow them down: the load of the
machine is printed beside them, and the processor time of all processes of the browser, which depends less on others.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import skimage
from playwright.sync_api import sync_playwright

import amulsearch as am
from amulsearch.features import l2_normalize

MODEL, LAYER = "squeezenet1_1", "penultimate"
DATA = Path(__file__).resolve().parent.parent / "data" / "openclipart"
FRONT = "document.querySelector('.am-answers').amulsearch"
PHOTOGRAPHS = [Path(skimage.__file__).parent / "data" / f"{name}.png" for name in ("chelsea", "coffee", "astronaut")]
READY = f"(count) => {FRONT}.own.size === count && {FRONT}.own.has({FRONT}.state.view.query)"
VECTORS = f"[...{FRONT}.own.values()].map(({{ pooled }}) => [...pooled.mean])"
DISTANCES = f"[...{FRONT}.own.values()].map(({{ pooled }}) => {FRONT}.seeing.get('{MODEL}').distances(pooled))"


def choose(page, path: Path, count: int) -> tuple[float, float]:
    """The seconds until a picture is answered, on the clock and of the processor."""
    session = page.context.browser.new_browser_cdp_session()
    start, before = time.perf_counter(), processor_time(session)
    page.locator("input[type=file]").first.set_input_files(path)
    page.wait_for_function(READY, arg=count)
    return time.perf_counter() - start, processor_time(session) - before


def processor_time(session) -> float:
    return sum(process["cpuTime"] for process in session.send("SystemInfo.getProcessInfo")["processInfo"])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often the page is opened for a first answer")
    parser.add_argument("--store", help="a store of the bundled cartoons; by default, one that is discarded")
    parser.add_argument("--others", type=Path, help="a folder of other pictures to ask with")
    options = parser.parse_args()
    cartoons = am.Collection.from_folder(DATA)
    features = am.extract(cartoons, MODEL, LAYER, store=options.store)[MODEL, LAYER]
    index = am.systems.calibrated(am.ExactIndex.build(features))
    others = am.Collection.from_folder(options.others) if options.others else None
    asked = [*PHOTOGRAPHS, *([others.path(id) for id in others.ids] if others else [])]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        maps = {"all": am.views.Map.fit(features)}
        sizes = {
            sees: am.views.Page("Cartoons")
            .answers(cartoons, {MODEL: index}, maps, sees=sees)
            .save(f"{folder}/{sees}.html")
            for sees in (False, True)
        }
        print(" and ".join(f"{path.stat().st_size / 1e6:.2f} MB with sees={sees}" for sees, path in sizes.items()))
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        first, further = [], []
        for _ in range(options.rounds):
            page = browser.new_context(offline=True).new_page()
            page.goto(sizes[True].as_uri())
            page.wait_for_selector(".am-alive")
            first.append(choose(page, PHOTOGRAPHS[0], 1))
            further += [choose(page, path, count) for count, path in enumerate(PHOTOGRAPHS[1:], start=2)]
        for name, times in (("first answer", first), ("further answers", further)):
            clock, processor = zip(*times, strict=True)
            spread = f"{min(clock):.2f} to {max(clock):.2f}"
            print(f"{name}: median {median(clock):.2f} s, {spread}; of the processor {median(processor):.2f}")
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for count, path in enumerate(asked[len(PHOTOGRAPHS) :], start=len(PHOTOGRAPHS) + 1):
            choose(page, path, count)
        theirs = l2_normalize(np.array(page.evaluate(VECTORS), np.float32))
        eight = np.argsort(np.array(page.evaluate(DISTANCES)), axis=1, kind="stable")[:, :10]
        browser.close()
    ours = l2_normalize(np.concatenate([am.embed(am.open_image(path), MODEL, LAYER)[LAYER] for path in asked]))
    cosines = (ours * theirs).sum(axis=1)
    expected, there = (index.search(vectors, 10)[0] for vectors in (ours, theirs))
    print(f"{len(asked)} new pictures: least cosine with Python's vectors {cosines.min():.6f}")
    print(f"first ten neighbours in common: {overlap(expected, there):.3f}; in 8 bits {overlap(expected, eight):.3f}")
    whole, rows = index.take(range(len(index))), np.arange(len(index))
    low, step = whole.min(axis=0), (whole.max(axis=0) - whole.min(axis=0)) / 255
    coded = l2_normalize(low + step * np.rint((whole - low) / np.maximum(step, 1e-12)))
    nearest = np.where(np.eye(len(index), dtype=bool), -1, whole @ coded.T).argsort(axis=1)[:, :-11:-1]
    every = overlap(index.search(whole, 10, own=rows)[0], nearest)
    print(f"each cartoon asks the others: in 8 bits, {every:.4f} of the first ten neighbours are the same")


if __name__ == "__main__":
    main()
