"""What the runner makes of an executed notebook: figures by the tags of their cells, and a page."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def encoded(colour, kind):
    file = io.BytesIO()
    Image.new("RGB", (9, 9), colour).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


PNG, STILL = encoded("red", "PNG"), encoded("blue", "JPEG")
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
            new_code_cell(
                "explorer",
                metadata={"tags": ["figure:03_explorer"]},
                outputs=[new_output("display_data", {WIDGET: {}, "image/jpeg": STILL})],
            ),
            new_code_cell("sentence", metadata={"tags": ["figure:03_none"]}, outputs=shown("text/plain", "None")),
            new_code_cell("untagged", outputs=shown("image/png", PNG)),
            new_code_cell("where", outputs=shown("text/plain", f"Collection('{NOTEBOOKS.parent}/data')")),
            new_code_cell("bar", outputs=shown(WIDGET, {"model_id": "1"})),
        ]
    )


def test_the_figures_of_tagged_cells_are_kept(runner, executed, tmp_path):
    runner.keep_figures(executed, tmp_path)
    pictures = {path.name: Image.open(path).convert("RGB").getpixel((4, 4)) for path in tmp_path.iterdir()}
    assert pictures == {"03_small.png": (255, 0, 0), "03_explorer.png": pytest.approx((0, 0, 255), abs=9)}


def test_a_page(runner, executed):
    page = runner.page_of(executed, NOTEBOOKS, PARAMETERS)
    assert "<title>3. Small &amp; simple</title>" in page
    assert 'href="04_more.html"' in page and 'href="../data"' in page and ".ipynb" not in page
    text = re.sub(r"<[^>]*>", "", page)
    assert text.count("IMAGES") == 1 and '"../data/openclipart"' in text.replace("&quot;", '"') and "K = 5" in text
    assert str(NOTEBOOKS.parent) not in page
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=.(?!data:)", page)


def test_a_page_with_a_formula_loads_what_draws_it(runner, executed):
    executed.cells[0].source += "\n\n$x^2$"
    sources = re.findall(r'<script[^>]* src="([^"]*)"', runner.page_of(executed, NOTEBOOKS, PARAMETERS))
    assert len(sources) == 1 and "mathjax" in sources[0]


def test_outputs_are_committed_small_and_without_a_trace_of_the_machine(runner, tmp_path):
    from nbformat import read, write
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    file, root = io.BytesIO(), NOTEBOOKS.parent
    picture = Image.effect_noise((400, 300), 60)
    picture.save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    still = {WIDGET: {"model_id": "1"}, "image/jpeg": png, "text/plain": "Explorer()"}
    outputs = [
        new_output("stream", name="stdout", text=f"saved {root}/build/a.html\n"),
        new_output("stream", name="stderr", text="a warning"),
        new_output("display_data", {WIDGET: {"model_id": "2"}, "text/plain": "HBox()"}),
        new_output("display_data", still),
        new_output("display_data", {"image/png": png}),
        new_output("execute_result", {"text/html": "x" * 2_000_000}, execution_count=9),
    ]
    cells = [new_code_cell("a = 1"), new_code_cell("a")]
    done = [cells[0], new_code_cell("a", id=cells[1].id, outputs=outputs)]
    write(new_notebook(cells=done), tmp_path / "done.ipynb")
    write(new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    runner.keep_outputs(tmp_path / "01_a.ipynb", tmp_path / "done.ipynb")
    first, second = read(tmp_path / "01_a.ipynb", as_version=4).cells
    assert [first.metadata["digest"], second.metadata["digest"]] == runner.digests([first, second])
    printed, explorer, figure, page = second.outputs
    assert printed.text == "saved build/a.html\n"
    assert explorer.data == {"image/jpeg": png, "text/plain": "Explorer()"}
    (kind,) = figure.data
    with Image.open(io.BytesIO(base64.b64decode(figure.data[kind]))) as small:
        difference = np.abs(np.asarray(small.convert("L"), int) - np.asarray(picture, int)).mean()
    assert len(figure.data[kind]) < len(png) and difference < 8
    assert "2.0 MB" in page.data["text/html"] and len(page.data["text/html"]) < 100 and page.execution_count == 2
