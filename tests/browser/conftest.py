"""A headless Chromium, and one Jupyter server. If either is missing, the tests are skipped with a reason."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # or cells outside the viewport are not in the page
}
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
LAYOUT = """(selector) => {
  const root = document.querySelector(selector), edge = root.getBoundingClientRect(), wrong = [];
  const name = (part) => part.outerHTML.slice(0, 80), overflow = (part) => getComputedStyle(part).overflowX;
  for (const pane of root.querySelectorAll(".am-main, .am-beside, .am-body")) pane.scrollTop = 0;
  const kinds = "h1, h2, h3, p, li, table, figcaption, button, input, select, output, img, canvas, .am-head";
  const apart = ".am-sheet .am-hits, .am-list .am-hits, .am-hit > .am-act"; // they scroll, or lie on a picture
  const seen = [...root.querySelectorAll(kinds)].filter((part) => part.checkVisibility() && !part.closest(apart));
  const clipped = (part, box) => part !== root && (clipped(part.parentElement, box)
    || overflow(part) !== "visible" && (box.right > part.getBoundingClientRect().right + 1
      || box.left < part.getBoundingClientRect().left - 1));
  const scrolls = (part) => part !== root && (overflow(part) === "auto" || scrolls(part.parentElement));
  const boxes = seen.map((part) => [part, part.getBoundingClientRect()]);
  for (const [part, box] of boxes)
    if ((box.left < edge.left - 1 || box.right > edge.right + 1) && !scrolls(part)) wrong.push(`cut: ${name(part)}`);
  const whole = boxes.filter(([part, box]) => !clipped(part.parentElement, box));
  whole.forEach(([one, a], place) => whole.slice(place + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1 && !one.contains(other) && !other.contains(one))
      wrong.push(`over each other: ${name(one)}, ${name(other)}`);
  }));
  return wrong;
}"""
RUN_ALL = """async () => {
    const { shell, commands } = jupyterapp;
    await shell.currentWidget.context.ready;
    await shell.currentWidget.sessionContext.ready;
    commands.execute("notebook:run-all-cells");
}"""
ALIVE = "document.querySelector('.am-answers')?.amulsearch?.data.sheets.images.every((one) => one.complete)"


@pytest.fixture(scope="session")
def browser():
    sync = pytest.importorskip(
        "playwright.sync_api", reason="the browser tests need playwright: pip install playwright"
    )
    if not Path(CHROMIUM).exists():
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shots() -> Path:
    """The folder that keeps the screenshots for inspection."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def misplaced():
    """`misplaced(page, within)`: what is cut, or lies over something else."""
    return lambda page, within="body": page.evaluate(LAYOUT, within)


@pytest.fixture(scope="session")
def faults():
    """`faults(page, within)`: what axe-core finds seriously wrong for people who use a keyboard or a screen reader."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

    def find(page, within: str = "body") -> list[str]:
        violations = axe.Axe().run(page, context=within).response["violations"]
        serious = [one for one in violations if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {node['html'][:120]}" for one in serious for node in one["nodes"]]

    return find


@pytest.fixture
def opened(browser):
    """`opened(path, width)`: a file in a browser, whose scripts may not fail, log or fetch anything elsewhere."""
    contexts, complaints = [], []

    def show(path, width=1280, height=900, fragment="", **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        local = ("file:", "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(local) or complaints.append(request.url))
        page.goto(path.as_uri() + fragment)
        page.wait_for_function(ALIVE)
        return page

    yield show
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def run_all():
    """`run_all(page)`: run all cells once the kernel is connected; before that, the menu asks for one or fails."""

    def run(page):
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext", timeout=120_000)
        page.evaluate(RUN_ALL)

    return run


@pytest.fixture
def jupyter(folder: Path):
    """The address of a server of JupyterLab, Notebook 7 and Voila, which serves a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root"]
    options += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    folders = {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "data")}
    for name, content in SETTINGS.items():
        path = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    log = folder / "server.log"
    with log.open("wb") as file:
        command, output = [sys.executable, "-m", "jupyterlab", *options], {"stdout": file, "stderr": file}
        server = subprocess.Popen(command, cwd=folder, env=os.environ | folders, **output)
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()[-2000:]
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(20)
