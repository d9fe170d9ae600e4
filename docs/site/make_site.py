"""Make the course's site from the executed notebooks: prepare them, run Sphinx, which checks links, and check sizes.

python docs/site/make_site.py [--build build]
"""

import argparse
import base64
import html
import importlib
import inspect
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from nbformat.v4 import new_markdown_cell
from PIL import Image

import amulsearch as am

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(path.parent.name for path in ROOT.glob("amulsearch/*/__init__.py"))
WIDGET = "application/vnd.jupyter.widget-view+json"
FOLD = '<details class="solution"><summary>Solution</summary>'
HEADING = re.compile(r"##+ (?:Exercise (\d+)\n)?")
LARGE = 200_000  # an HTML output of more characters becomes a page of its own
CARTOONS = "cartoons.html"  # the page on which one searches
INVITATION = f'<p><a href="../{CARTOONS}">Search the cartoons with a picture of your own, in this browser</a></p>'
INVITING = ("00", "01")  # the lessons that begin with it
HEAVY = 3_000_000  # bytes: no page may weigh more, its figures included,
HEAVIEST = 7_000_000  # but that of the cartoons, in which there are all of them and a network


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the site of the course from the executed notebooks.")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where `make notebooks` left its results")
    results = parser.parse_args().build.resolve()
    names = [path.name for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]
    executed = results / "notebooks"
    missing = [name for name in names if not all((executed / part / name).exists() for part in (".", "solutions"))]
    if missing:
        print(
            f"{len(missing)} of {len(names)} notebooks have not been executed: run `make notebooks` first.",
            file=sys.stderr,
        )
        return 2
    source, site = results / "site-source", results / "site"
    prepare([executed / name for name in names], source)
    cartoons = am.Collection.from_folder(ROOT / "data" / "openclipart", progress=False)
    cartoons_page(cartoons, results / "store", source / "extra" / CARTOONS)
    if build(source, site):
        return 1
    if wrong := faults(site):
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    print(f"Site: {site / 'index.html'}")
    return 0


def build(source: Path, site: Path) -> int:
    """Make the site anew with Sphinx and return the exit status; a warning, as of a broken link, is an error."""
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fresh-env", "--fail-on-warning", "--keep-going"]
    return subprocess.run([*command, str(source), str(site)], check=False).returncode


def prepare(notebooks: list[Path], source: Path, rooms: Iterable[str] = ROOMS) -> None:
    """Write what Sphinx reads: the texts, the notebooks with their solutions, and a page for each room.

    The executed solutions are in the folder `solutions` beside the executed notebooks.
    """
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        Path(__file__).parent, source, ignore=shutil.ignore_patterns("*.py[co]", "__pycache__", "make_site.py")
    )
    shutil.copytree(ROOT / "docs" / "figures", source / "figures")
    for path in (source / "figures").glob("*.png"):
        path.with_suffix(".webp").write_bytes(compressed(path.read_bytes())[0])
        path.unlink()
    for name in ("course", "teaching", "install", "networks", "architecture", "measurements"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        (source / f"{name}.md").write_text(text.replace("](../notebooks/", "](notebooks/"), encoding="utf-8")
    (source / "notebooks").mkdir()
    for path in notebooks:
        both = [
            nbformat.reads(without_root(one), as_version=4) for one in (path, path.parent / "solutions" / path.name)
        ]
        notebook = both[0]
        notebook.cells = with_solutions(*(one.cells for one in both))
        if path.name.startswith(INVITING):
            notebook.cells[0].source += f"\n\n{INVITATION}"
        notebook.metadata.pop("widgets", None)
        light_outputs(notebook.cells, path.stem, source / "extra" / "notebooks")
        nbformat.write(notebook, source / "notebooks" / path.name)
    (source / "api").mkdir()
    for room in rooms:
        (source / "api" / f"{room}.rst").write_text(room_page(room), encoding="utf-8")


def cartoons_page(cartoons: am.Collection, store: Path, path: Path) -> None:
    """Write the page that finds cartoons like a picture of one's own, with SqueezeNet's last feature map."""
    model, layer = "squeezenet1_1", "last:gem"
    features = am.extract(cartoons, model, layer, store=store, progress=False)[model, layer]
    index, layout = am.systems.calibrated(am.ExactIndex.build(features)), am.views.Map.fit(features)
    page = am.views.Page("Search the cartoons")
    page.text("Drop, paste or choose a picture of your own. It stays in this browser.")
    page.answers(cartoons, {"SqueezeNet": index}, {"all": layout}, k=12, sees=True).save(path)


def without_root(path: Path) -> str:
    """The text of a notebook, in which paths below this folder do not say where it is."""
    return path.read_text(encoding="utf-8").replace(f"{ROOT}/", "")


def with_solutions(cells: list, solutions: list) -> list:
    """The cells of a notebook, with each solution folded below its exercise."""
    found, number, folded = by_exercise(solutions), "", []

    def fold() -> None:
        if number:
            folded.extend([new_markdown_cell(FOLD), *found[number], new_markdown_cell("</details>")])

    for cell in cells:
        if "injected-parameters" in cell.metadata.get("tags", []):  # the paths of the run
            continue
        if heading := HEADING.match(cell.source) if cell.cell_type == "markdown" else None:
            fold()
            number = heading[1]
        if cell.cell_type == "markdown":
            cell.source = re.sub(r" The solutions are in [^\n]*", "", cell.source)
        folded.append(cell)
    fold()
    for place, cell in enumerate(folded):  # two notebooks may have used the same ids
        cell["id"] = str(place)
    return folded


def by_exercise(solutions: list) -> dict[str, list]:
    """The cells of each solution, by the number of its exercise, without the heading and the question."""
    found, number = {"": []}, ""
    for cell in solutions:
        if cell.cell_type != "markdown":
            found[number] += [] if is_parameters(cell) else [cell]
            continue
        text = cell.source
        if heading := HEADING.match(text):
            number, text = heading[1], text[heading.end() :].strip()
            text = re.sub(r"^\*(?!\*).*?\*(\n|$)", "", text, flags=re.S)  # the question
            found[number] = found.pop("", [])
        if number and text.strip():
            found[number].append(new_markdown_cell(text))
    return found


def is_parameters(cell) -> bool:
    """Whether a cell holds the parameters of a run: the notebook's own, or those that papermill put in."""
    return not {"parameters", "injected-parameters"}.isdisjoint(cell.metadata.get("tags", []))


def light_outputs(cells: list, stem: str, folder: Path) -> None:
    """Replace heavy outputs in place: pictures by compressed files, large HTML by links, widgets by a still or nothing.

    The files are named after the stem of the notebook; on the site, they are beside its page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    heading, count = stem, 0
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.*)", cell.source, re.M) or [heading])[-1]
            continue
        kept = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            figure = data.get("image/png") or data.get("image/jpeg")  # a JPEG is the still of a widget
            if figure:
                count += 1
                name = f"{stem}_{count}.webp"
                picture, (width, height) = compressed(base64.b64decode(figure))
                (folder / name).write_bytes(picture)
                alt = html.escape(f"Figure {count}, section: {heading}")
                size = f'width="{width}" height="{height}"'
                output.data = {"text/html": f'<img src="{name}" {size} alt="{alt}" loading="lazy">'}
            elif len(data.get("text/html", "")) > LARGE:
                count += 1
                name = f"{stem}_{count}.html"
                head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(heading)}</title>'
                head += '<meta name="viewport" content="width=device-width">'
                (folder / name).write_text(head + data["text/html"], encoding="utf-8")
                output.data = {"text/html": f'<p><a href="{name}">Open the page that this cell shows</a></p>'}
            elif WIDGET in data or output.get("name") == "stderr":
                continue
            kept.append(output)
        cell.outputs = kept


def compressed(picture: bytes) -> tuple[bytes, tuple[int, int]]:
    """A picture as WebP, and its width and height."""
    with Image.open(io.BytesIO(picture)) as opened:
        target = io.BytesIO()
        opened.save(target, "WEBP", quality=80, method=6)
        return target.getvalue(), opened.size


def room_page(room: str) -> str:
    """The page of a room's public names, for Sphinx's autodoc."""
    name = f"amulsearch.{room}"
    module = importlib.import_module(name)
    below = [one for one in module.__all__ if inspect.ismodule(getattr(module, one))]
    text = f"{room}\n{'=' * len(room)}\n\n.. automodule:: {name}\n   :members:\n   :imported-members:\n"
    for one in below:
        title, full = f"{room}.{one}", getattr(module, one).__name__
        text += f"\n{title}\n{'-' * len(title)}\n\n.. automodule:: {full}\n   :members:\n"
    return text


class Loads(HTMLParser):
    """What a page loads: pictures, scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        values = dict(attributes)
        if values.get("src") or (tag == "link" and values.get("rel") in ("stylesheet", "icon")):
            self.links.add(values.get("src") or values["href"])


def faults(site: Path) -> list[str]:
    """What is wrong with the pages of a site: what they load must be there, not elsewhere, and not be too heavy."""
    wrong = []
    for page in sorted(site.rglob("*.html")):
        name, files = page.relative_to(site), {page}
        for link in sorted(Loads(page).links):
            parts = urlsplit(link)
            file = (page.parent / unquote(parts.path)).resolve()
            if parts.netloc or parts.scheme not in ("", "data"):
                wrong.append(f"{name}: loads {link}")
            elif not parts.scheme and not file.is_file():
                wrong.append(f"{name}: no file {link}")
            elif not parts.scheme:
                files.add(file)
        weight = sum(file.stat().st_size for file in files)
        limit = HEAVIEST if str(name) == CARTOONS else HEAVY
        if weight > limit:
            wrong.append(f"{name}: {weight / 1e6:.1f} MB, more than {limit / 1e6:.0f}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
