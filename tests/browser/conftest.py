"""A headless Chromium, and servers that show a notebook. If either is missing, the tests are skipped with a reason."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # or cells outside the viewport are not in the page
}
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


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
def faults():
    """`faults(page, within)`: what axe-core finds seriously wrong for people who use a keyboard or a screen reader."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

    def find(page, within: str = "body") -> list[str]:
        violations = axe.Axe().run(page, context=within).response["violations"]
        serious = [one for one in violations if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {node['html'][:120]}" for one in serious for node in one["nodes"]]

    return find


@pytest.fixture(scope="session")
def serve():
    """`with serve("lab", folder) as address`: run a Jupyter program that serves a folder."""

    @contextmanager
    def start(program: str, folder: Path, *more: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", *program.split(), "--no-browser", f"--port={port}", *more]
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
        }
        for name, content in SETTINGS.items():
            path = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        log = (folder / "server.log").open("wb")
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(20)
            log.close()

    return start
