"""Every notebook and every solution runs from a fresh kernel, on cartoons with labels and on a folder of one's own."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def run(*arguments):
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def assert_results(build, pages="notebooks", figures=True):
    """A page for each notebook, and figures that hold more than one colour."""
    assert sorted(path.stem for path in (build / pages).glob("*.html")) == NOTEBOOKS
    for path in (build / "figures").glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.std() > 5, path
    if figures:
        for name in ("04_models.png", "05_ensemble.png"):
            assert (build / "figures" / name).exists()


@pytest.fixture(scope="session")
def part(cartoons, tmp_path_factory):
    """A quarter of the bundled cartoons, with all that the notebooks name. `make notebooks` runs them on the whole."""
    notebooks = [path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").rglob("*.ipynb")]
    folder = tmp_path_factory.mktemp("part") / "cartoons"
    for place, id in enumerate(cartoons.ids):
        if place % 4 == 0 or any(id in text for text in notebooks):
            (folder / id).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(cartoons.path(id), folder / id)
    shutil.copy(ROOT / "data" / "openclipart.csv", folder.parent)  # the keywords
    return folder


@pytest.mark.parametrize("solutions", [False, True])
def test_on_cartoons_with_labels(solutions, part, tmp_path):
    printed = run("--images", part, "--build", tmp_path, *(["--solutions"] if solutions else []))
    assert str(tmp_path / "notebooks") in printed
    assert_results(tmp_path, "notebooks/solutions" if solutions else "notebooks", figures=not solutions)


def test_on_a_flat_folder_of_twelve_pictures(openclipart, tmp_path):
    (tmp_path / "pictures").mkdir()
    for path in sorted((openclipart / "food" / "fruit").glob("*.webp"))[:12]:
        shutil.copy(path, tmp_path / "pictures")
    models = "squeezenet1_1,tf_efficientnet_lite0"
    run("--images", tmp_path / "pictures", "--models", models, "--k", 3, "--build", tmp_path / "build")
    assert_results(tmp_path / "build")


def test_a_missing_folder_is_told_in_a_line(tmp_path):
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), "--images", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is not a folder" in done.stderr
