"""Run the notebooks in order, and write their figures, the executed notebooks and an HTML page of each below build/.

python notebooks/run.py [--images FOLDER] [--models A,B] [--k 4] [--only 03] [--solutions]

The figure of a cell with the tag figure:NAME is kept as build/figures/NAME.png. A notebook ends at a cell with the tag
may-end if the library says there that the folder does not suffice, or that a package is missing. A page loads nothing
from elsewhere, except MathJax if it has formulas.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
BUNDLED = HERE.parent / "data" / "openclipart"
PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{% if resources.formulas %}{{ super() }}{% endif %}{%- endblock -%}
{%- block html_head_css -%}
<style>
main { max-width: 1100px; margin: auto; }
.jp-RenderedMarkdown { max-width: 75ch; }
.jp-RenderedImage img { max-width: 100%; height: auto; }
</style>
{%- endblock -%}
"""

# Without this, the kernel prints a warning about frozen modules and the debugger in every notebook.
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks, and write figures and pages below build/.")
    parser.add_argument("--images", default=str(BUNDLED), help="the folder of pictures")
    parser.add_argument("--models", default="bundled", help="names or groups of networks, separated by commas")
    parser.add_argument("--k", type=int, default=4, help="how many neighbours to show")
    parser.add_argument("--only", help="run only the notebooks whose names start with this, such as 03")
    parser.add_argument("--solutions", action="store_true", help="run the solutions to the exercises instead")
    parser.add_argument("--build", default=str(HERE.parent / "build"), help="the folder for results")
    parser.add_argument("--store", help="the folder for features; by default, below the results")
    options = parser.parse_args()
    images, build = Path(options.images).expanduser().resolve(), Path(options.build).resolve()
    if not images.is_dir():
        print(f"{images} is not a folder: give one with IMAGES=FOLDER", file=sys.stderr)
        return 2
    below = "solutions" if options.solutions else "."
    notebooks = sorted((HERE / below).glob(f"{options.only or '[0-9][0-9]'}*_*.ipynb"))
    parameters = {
        "IMAGES": str(images),
        "MODELS": options.models,
        "K": options.k,
        "STORE": str(Path(options.store).resolve() if options.store else build / store_name(images)),
    }
    pages, figures = build / "notebooks" / below, build / "figures"
    for folder in (pages, figures):
        folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for place, notebook in enumerate(notebooks, 1):
        progress = Progress(f"{place} of {len(notebooks)}: {notebook.stem}", begun)
        if not run(notebook, pages, figures, parameters, progress):
            return 1
    print(f"\nFigures: {figures}\nPages:   {pages}")
    return 0


def store_name(images: Path) -> str:
    """The name of the store: one per folder of pictures, so that none overwrites the features of another."""
    if images == BUNDLED:
        return "store"
    return f"store-{images.name}-{hashlib.sha256(str(images).encode()).hexdigest()[:8]}"


class Progress:
    """Says which notebook is running and for how long; on a terminal also which section, in a line that is rewritten.

    Parameters
    ----------
    title : str
        The place of the notebook among all, and its name.
    begun : float
        When the first notebook started, in seconds of `time.monotonic`.
    """

    def __init__(self, title: str, begun: float) -> None:
        self.title, self.begun, self.started = title, begun, time.monotonic()
        self.rewrites = sys.stdout.isatty()
        self._write("")

    def section(self, cell: dict, cell_index: int) -> None:
        """Called by the kernel's client at the start of every cell: a heading names what follows."""
        headings = re.findall(r"^#+ (.*)", cell["source"], re.M) if cell["cell_type"] == "markdown" else []
        if self.rewrites:
            self._write(headings[-1] if headings else None)

    def done(self) -> None:
        """Say how long the notebook took."""
        self._write(f"done in {clock(time.monotonic() - self.started)}")
        self.end_line()

    def end_line(self) -> None:
        """What is printed next begins a line of its own."""
        if self.rewrites:
            print(flush=True)

    def _write(self, text: str | None) -> None:
        self.text = self.text if text is None else text
        line = f"{clock(time.monotonic() - self.begun)}  {self.title}{': ' * bool(self.text)}{self.text}"
        if self.rewrites:
            print(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        else:
            print(line, flush=True)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, such as 02:31."""
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"


def run(notebook: Path, pages: Path, figures: Path, parameters: dict, progress: Progress) -> bool:
    """Execute one notebook in a fresh kernel, keep it, its page and its figures; returns whether it succeeded."""
    import nbformat
    import papermill
    from traitlets.config import Config

    executed = pages / notebook.name
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as sockets:
            warnings.simplefilter("ignore")
            # Over TCP, the default and all that Windows has, anybody on the machine could read along, and the kernel
            # warns of it. Without a folder of their own, the sockets of a killed kernel stay beside the notebook.
            private = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
            papermill.execute_notebook(
                notebook,
                executed,
                parameters,
                cwd=notebook.parent,
                progress_bar=False,
                on_cell_start=progress.section,
                config=Config(KernelManager=private),
            )
    except papermill.PapermillExecutionError as error:
        done = nbformat.read(executed, as_version=4)
        if not end_where_it_may(done):
            progress.end_line()
            print(f"{notebook.name}, cell {error.cell_index + 1}: {error.ename}: {error.evalue}", file=sys.stderr)
            print(f"The notebook up to the error: {executed}", file=sys.stderr)
            return False
        nbformat.write(done, executed)
    done = nbformat.read(executed, as_version=4)
    keep_figures(done, figures)
    executed.with_suffix(".html").write_text(page_of(done, notebook.parent, parameters), encoding="utf-8")
    progress.done()
    return True


def end_where_it_may(notebook) -> bool:
    """Whether the library said, in a cell tagged may-end, that a folder or the packages do not suffice; it is kept."""
    from nbformat.v4 import new_output

    notebook.cells = [
        cell for cell in notebook.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename in ("QueryError", "MissingPackageError"):
                cell.outputs = [new_output("stream", text=f"The notebook ends here: {output.evalue}.\n")]
                return "may-end" in cell.metadata.get("tags", [])
    return False


def keep_figures(notebook, folder: Path) -> None:
    """Write the figure of each cell with a tag figure:NAME to the file NAME.png of a folder."""
    for cell in notebook.cells:
        names = [tag.removeprefix("figure:") for tag in cell.metadata.get("tags", []) if tag.startswith("figure:")]
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        drawn = [data["image/png"] for data in outputs if "image/png" in data]
        for name, picture in zip(names, drawn, strict=False):
            (folder / f"{name}.png").write_bytes(base64.b64decode(picture))


def page_of(notebook, folder: Path, parameters: dict) -> str:
    """An executed notebook as an HTML page; its parameters are those of the run, with paths relative to `folder`."""
    from nbconvert import HTMLExporter

    notebook.cells = [cell for cell in notebook.cells if "parameters" not in cell.metadata.get("tags", [])]
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    heading = re.search(r"^# (.*)", prose[0].source, re.M)[1]
    formulas = any("$" in cell.source for cell in prose)
    for cell in prose:  # a page leads to pages
        cell.source = re.sub(r"(\]\([\w/.]+)\.ipynb\)", r"\1.html)", cell.source)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            values = {name: shown(value, folder) for name, value in parameters.items()}
            cell.source = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        if cell.cell_type == "code":  # without a kernel, a progress bar would stay at its first step
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    exporter = HTMLExporter(raw_template=PAGE, exclude_input_prompt=True, exclude_output_prompt=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": heading}, "formulas": formulas})
    return page.replace(f"{HERE.parent}{os.sep}", "")


def shown(value, folder: Path):
    """A parameter as a page shows it: a path relative to a folder, anything else as it is."""
    return os.path.relpath(value, folder) if isinstance(value, str) and Path(value).is_absolute() else value


if __name__ == "__main__":
    sys.exit(main())
