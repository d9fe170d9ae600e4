"""The site of the course: what is prepared for Sphinx, links, weights, and a small site from one notebook."""

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def modules():
    """Import what takes seconds when the first test runs, not when the tests are collected."""
    global make_site, nbformat
    import make_site
    import nbformat.v4


def noise(side=400):
    """A PNG that does not become much smaller without loss."""
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def shown(**data):
    return [nbformat.v4.new_output("display_data", {kind.replace("_", "/"): value for kind, value in data.items()})]


@pytest.fixture
def executed(tmp_path):
    """One small executed notebook, with its solutions beside it."""
    parameters = {"tags": ["parameters"]}
    injected = {"tags": ["injected-parameters"]}
    cells = [
        nbformat.v4.new_markdown_cell("# 1. A small notebook\n\nA number: $\\Big(x^2\\Big)$."),
        nbformat.v4.new_code_cell("K = 4", metadata=parameters),
        nbformat.v4.new_code_cell("K = 5", metadata=injected),
        nbformat.v4.new_code_cell("figure", outputs=shown(image_png=noise(), text_plain="<Figure>")),
        nbformat.v4.new_code_cell("page", outputs=shown(text_html="<p>large</p>" * 50_000)),
        nbformat.v4.new_code_cell(
            "widget", outputs=[nbformat.v4.new_output("display_data", {make_site.WIDGET: {"model_id": "1"}})]
        ),
        nbformat.v4.new_code_cell("where", outputs=shown(text_plain=f"Collection('{ROOT}/data')")),
        nbformat.v4.new_markdown_cell("## Exercises\n\nTwo. The solutions are in `solutions/01_small.ipynb`."),
        nbformat.v4.new_markdown_cell("### Exercise 1\n\nHow many?"),
        nbformat.v4.new_code_cell("many = ..."),
        nbformat.v4.new_markdown_cell("### Exercise 2\n\nWhy?"),
        nbformat.v4.new_code_cell("cause = ..."),
        nbformat.v4.new_markdown_cell("## Recap\n\nLittle."),
    ]
    solutions = [
        nbformat.v4.new_markdown_cell("# 1. A small notebook: solutions"),
        nbformat.v4.new_code_cell("K = 4", metadata=parameters),
        nbformat.v4.new_code_cell("import amulsearch"),
        nbformat.v4.new_markdown_cell("## Exercise 1\n\n*How many?*\n\nWe count."),
        nbformat.v4.new_code_cell("1 + 1"),
        nbformat.v4.new_markdown_cell("Two."),
        nbformat.v4.new_markdown_cell("## Exercise 2\n\n*Why?*"),
        nbformat.v4.new_code_cell("because"),
    ]
    (tmp_path / "executed" / "solutions").mkdir(parents=True)
    path = tmp_path / "executed" / "01_small.ipynb"
    metadata = {"language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    nbformat.write(nbformat.v4.new_notebook(cells=solutions), path.parent / "solutions" / path.name)
    return path


def prepared(executed, tmp_path):
    make_site.prepare([executed], tmp_path / "source", rooms=["intake"])
    return nbformat.read(tmp_path / "source" / "notebooks" / executed.name, as_version=4)


def test_each_solution_is_folded_below_its_exercise(executed, tmp_path):
    cells = prepared(executed, tmp_path).cells
    sources = [cell.source.strip() for cell in cells]
    assert sources[sources.index("where") + 1 :] == [
        "## Exercises\n\nTwo.",
        "### Exercise 1\n\nHow many?",
        "many = ...",
        '<details class="solution"><summary>Solution</summary>',
        "import amulsearch",
        "We count.",
        "1 + 1",
        "Two.",
        "</details>",
        "### Exercise 2\n\nWhy?",
        "cause = ...",
        '<details class="solution"><summary>Solution</summary>',
        "because",
        "</details>",
        "## Recap\n\nLittle.",
    ]
    assert "K = 4" in sources and "K = 5" not in sources


def test_every_notebook_has_a_solution_below_each_exercise():
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        both = [nbformat.read(one, as_version=4).cells for one in (path, path.parent / "solutions" / path.name)]
        folded = make_site.with_solutions(*both)
        exercises = sum(cell.source.startswith("### Exercise ") for cell in folded)
        assert exercises == sum(cell.source.startswith("<details") for cell in folded) >= 2, path


def test_outputs_become_light(executed, tmp_path):
    cells = {cell.source: cell for cell in prepared(executed, tmp_path).cells}
    folder = tmp_path / "source" / "extra" / "notebooks"
    with Image.open(folder / "01_small_1.webp") as picture:
        assert picture.format == "WEBP" and picture.size == (400, 400)
    assert (folder / "01_small_1.webp").stat().st_size < 0.5 * len(base64.b64decode(noise()))
    assert 'src="01_small_1.webp" width="400" height="400"' in cells["figure"].outputs[0].data["text/html"]
    assert 'href="01_small_2.html"' in cells["page"].outputs[0].data["text/html"]
    assert cells["widget"].outputs == []
    assert cells["where"].outputs[0].data["text/plain"] == "Collection('data')"


def test_the_first_lessons_and_the_index_lead_to_the_page_of_the_cartoons(executed, tmp_path):
    link = f'{make_site.CARTOONS}">Search the cartoons with a picture of your own'
    assert f'"../{link}' in prepared(executed, tmp_path).cells[0].source
    assert f'"{link}' in (tmp_path / "source" / "index.md").read_text(encoding="utf-8")
    later = executed.rename(executed.with_name("02_small.ipynb"))
    (executed.parent / "solutions" / executed.name).rename(executed.parent / "solutions" / later.name)
    assert link not in prepared(later, tmp_path).cells[0].source


def test_a_page_loads_little_and_nothing_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text('<img src="no.png"><img src="data:image/png;base64,"><a href="far.html">far</a>')
    (tmp_path / "b.html").write_text('<script src="https://example.org/a.js"></script><img src="a.png">')
    (tmp_path / "a.png").write_bytes(bytes(1000))
    assert make_site.faults(tmp_path) == ["a.html: no file no.png", "b.html: loads https://example.org/a.js"]
    monkeypatch.setattr(make_site, "HEAVY", 1000)
    assert "b.html: 0.0 MB, more than 0" in make_site.faults(tmp_path)
    (tmp_path / make_site.CARTOONS).write_text(" " * 2000)
    assert not any(fault.startswith(make_site.CARTOONS) for fault in make_site.faults(tmp_path))


def test_without_executed_notebooks_a_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_site.py", "--build", str(tmp_path)])
    assert make_site.main() == 2
    count = len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    told = f"{count} of {count} notebooks have not been executed: run `make notebooks` first.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(("link", "status"), [("notebooks/01_small.ipynb", 0), ("notebooks/02_none.ipynb", 1)])
def test_a_small_site(executed, tmp_path, link, status):
    for module in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(module, reason="the extra `site` is not installed; `make site` installs it")
    prepared(executed, tmp_path)
    source, site = tmp_path / "source", tmp_path / "site"
    for path in source.glob("*.md"):
        path.unlink()
    toctree = "```{toctree}\nnotebooks/01_small\napi/intake\n```\n"
    (source / "index.md").write_text(f"# Small\n\n[The notebook]({link})\n\n{toctree}")
    assert make_site.build(source, site) == status
    assert make_site.faults(site) == []
    page = (site / "notebooks" / "01_small.html").read_text(encoding="utf-8")
    assert "<title>1. A small notebook" in page and "<math" in page and page.count("<details") == 2
    assert 'href="notebooks/01_small.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert 'id="amulsearch.intake.Collection.from_folder"' in (site / "api" / "intake.html").read_text(encoding="utf-8")


def test_the_gallery_states_numbers_of_the_notebooks():
    sections = re.split(r"^## ", (ROOT / "docs" / "course.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    sections = [section for section in sections if section.startswith("[")]  # those of a lesson
    for section, path in zip(sections, sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), strict=True):
        assert f"](../notebooks/{path.name})" in section
        (figure,) = re.findall(r"\]\((figures/[^)]+)\)", section)
        assert (ROOT / "docs" / figure).stat().st_size <= 60_000
        (number,) = re.findall(r"\*\*([^*]+)\*\*", section)
        both = [nbformat.read(one, as_version=4).cells for one in (path, path.parent / "solutions" / path.name)]
        prose = " ".join(cell.source for cells in both for cell in cells if cell.cell_type == "markdown")
        assert number in prose.replace(" %", "%"), (path.name, number)
