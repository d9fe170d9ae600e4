"""Every notebook runs in a fresh kernel on a user's folder; `make notebooks` runs them on all cartoons."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import amulsearch as am

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def run(*arguments):
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def assert_results(build):
    """There is a page for each notebook, and figures have more than one colour."""
    assert sorted(path.stem for path in (build / "notebooks").glob("*.html")) == NOTEBOOKS
    for path in (build / "figures").glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.std() > 5, path
    for name in ("04_models.png", "05_ensemble.png"):
        assert (build / "figures" / name).exists()


@pytest.mark.course  # a run of every notebook
def test_on_a_flat_folder_of_twelve_pictures_with_a_transformer_without_classes(
    openclipart, in_hub_cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(tmp_path / "weights"))
    transformer = am.models.get("timm/eva02_tiny_patch14_224.mim_in22k")
    torch.manual_seed(0)
    save_file(transformer.build().state_dict(), in_hub_cache(tmp_path / "weights", transformer.weights))
    (tmp_path / "pictures").mkdir()
    for path in sorted((openclipart / "food" / "fruit").glob("*.webp"))[:12]:
        shutil.copy(path, tmp_path / "pictures")
    models = f"squeezenet1_1,{transformer.name}"
    run("--images", tmp_path / "pictures", "--models", models, "--k", 3, "--build", tmp_path / "build")
    assert_results(tmp_path / "build")
    page = (tmp_path / "build" / "notebooks" / "08_fine_tuning.html").read_text(encoding="utf-8")
    assert "The notebook ends here: too few labels to divide" in page and "Traceback" not in page


def test_a_missing_folder_is_told_in_a_line(runner, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--images", str(tmp_path / "none")])
    assert runner.main() == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "is not a folder" in told
