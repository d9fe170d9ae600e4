"""The notebooks are committed with their outputs: current, small, and without a trace of the machine."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
RENEW = "run `make outputs`, or `python notebooks/run.py --keep-outputs --only NN` for one notebook"


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def data_of(path):
    """The outputs of a notebook by MIME type, and its printed text."""
    for cell in code_cells(path):
        for output in cell["outputs"]:
            yield output.get("data", {"text/plain": output.get("text", "")})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_older_than_its_cell_or_a_cell_before_it(path, runner):
    code = code_cells(path)
    digests = runner.digests(code)
    stale = [place for place, cell in enumerate(code, 1) if cell["metadata"].get("digest") != digests[place - 1]]
    assert not stale, f"code cells {stale} have changed: {RENEW}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_shows_no_path_error_progress_or_empty_table(path):
    assert path.stat().st_size < 500_000
    for data in data_of(path):
        assert not any("widget" in kind for kind in data)
        text = "".join("".join(data.get(kind, "")) for kind in ("text/plain", "text/html"))
        assert not re.search(r"(?<![\w.])/(home|root|Users|work|tmp|build)/", text), text[:300]
        assert "Traceback" not in text and "Empty DataFrame" not in text and "it/s]" not in text
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                with Image.open(io.BytesIO(base64.b64decode(data[kind]))) as picture:
                    assert picture.width <= 1000, "a figure is wider than the text"
    assert not any(output["output_type"] == "error" for cell in code_cells(path) for output in cell["outputs"])


def test_all_notebooks_together_are_under_five_megabytes():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 5_000_000


def test_solutions_are_committed_without_outputs():
    for path in (ROOT / "notebooks" / "solutions").glob("*.ipynb"):
        assert not any(cell["outputs"] for cell in code_cells(path)), path


def test_an_output_is_stale_if_an_earlier_cell_changed(runner):
    before, after = (runner.digests([{"source": "a = 1"}, {"source": text}, {"source": "b"}]) for text in ("x", "y"))
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]
