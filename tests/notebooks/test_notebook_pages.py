"""What the runner makes of an executed notebook: figures by the tags of their cells, and a page."""

import base64
import importlib.util
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SPEC = importlib.util.spec_from_file_location("run", NOTEBOOKS / "run.py")
run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run)

PNG = base64.b64encode(b"a picture").decode()
PARAMETERS = {"IMAGES": str(NOTEBOOKS.parent / "data" / "openclipart"), "MODELS": "bundled", "K": 5}


@pytest.fixture
def executed():
    """The cells of a small executed notebook."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    def shown(kind, value):
        return [new_output("display_data", {kind: value})]

    return new_notebook(
        cells=[
            new_markdown_cell("# 3. Small & simple\n\nNext: [4. More](04_more.ipynb), [a folder](../data)"),
            new_code_cell('IMAGES = "../data/openclipart"\nK = 4', metadata={"tags": ["parameters"]}),
            new_code_cell("# Parameters", metadata={"tags": ["injected-parameters"]}),
            new_code_cell("figure", metadata={"tags": ["figure:03_small"]}, outputs=shown("image/png", PNG)),
            new_code_cell("sentence", metadata={"tags": ["figure:03_none"]}, outputs=shown("text/plain", "None")),
            new_code_cell("untagged", outputs=shown("image/png", PNG)),
            new_code_cell("where", outputs=shown("text/plain", f"Collection('{NOTEBOOKS.parent}/data')")),
            new_code_cell("bar", outputs=shown(run.WIDGET, {"model_id": "1"})),
        ]
    )


def test_the_figures_of_tagged_cells_are_kept(executed, tmp_path):
    run.keep_figures(executed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["03_small.png"]
    assert (tmp_path / "03_small.png").read_bytes() == b"a picture"


def test_a_page(executed):
    page = run.page_of(executed, NOTEBOOKS, PARAMETERS)
    assert "<title>3. Small &amp; simple</title>" in page
    assert 'href="04_more.html"' in page and 'href="../data"' in page and ".ipynb" not in page
    text = re.sub(r"<[^>]*>", "", page)
    assert text.count("IMAGES") == 1 and '"../data/openclipart"' in text.replace("&quot;", '"') and "K = 5" in text
    assert str(NOTEBOOKS.parent) not in page
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=.(?!data:)", page)


def test_a_page_with_a_formula_loads_what_draws_it(executed):
    executed.cells[0].source += "\n\n$x^2$"
    sources = re.findall(r'<script[^>]* src="([^"]*)"', run.page_of(executed, NOTEBOOKS, PARAMETERS))
    assert len(sources) == 1 and "mathjax" in sources[0]
