"""Run the notebooks, two at a time, and write figures, executed notebooks and an HTML page of each below build/.

python notebooks/run.py [--images FOLDER] [--models A,B] [--k 4] [--only 03] [--solutions | --keep-outputs]

The figure of a cell with the tag figure:NAME is kept as build/figures/NAME.png. A notebook ends at a cell with the tag
may-end if the library says there that the folder does not suffice, or that a package is missing. A page loads nothing
from elsewhere, except MathJax if it has formulas. With --keep-outputs, the notebooks themselves get their outputs, made
small, as they are committed; each code cell keeps a digest of all code up to it, which tells whether they are current.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMED = ("11_speed_and_a_million",)
"""Notebooks that measure times: nothing else runs meanwhile."""
LARGE = 50_000
"""An HTML output of more characters is not committed."""
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
    parser.add_argument(
        "--keep-outputs", action="store_true", help="write the outputs for the bundled cartoons into the notebooks"
    )
    parser.add_argument("--build", default=str(HERE.parent / "build"), help="the folder for results")
    parser.add_argument("--store", help="the folder for features; by default, below the results")
    options = parser.parse_args()
    images, build = Path(options.images).expanduser().resolve(), Path(options.build).resolve()
    if not images.is_dir():
        print(f"{images} is not a folder: give one with IMAGES=FOLDER", file=sys.stderr)
        return 2
    if options.keep_outputs and (
        images != BUNDLED or options.models != "bundled" or options.k != 4 or options.solutions
    ):
        print("--keep-outputs is for the notebooks with the bundled cartoons and networks", file=sys.stderr)
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
    os.chdir(HERE / below)  # where papermill goes for each notebook, and comes back from
    progress = Progress(len(notebooks))

    def run_one(notebook: Path) -> bool:
        if progress.failed or not run(notebook, pages, figures, parameters, progress):
            return False
        if options.keep_outputs:
            keep_outputs(notebook, pages / notebook.name)
        return True

    processors = os.cpu_count() or 1
    for batch in batches(notebooks):
        together = min(2, len(batch), processors) or 1
        os.environ["OMP_NUM_THREADS"] = str(processors // together)  # kernels that wait for each other lose time
        with ThreadPoolExecutor(together) as pool:
            if not all(list(pool.map(run_one, batch))):
                return 1
    print(f"\nFigures: {figures}\nPages:   {pages}")
    return 0


def batches(notebooks: list[Path]) -> list[list[Path]]:
    """What may run together: the first notebook fills the store for the others; what measures times runs alone."""
    timed = [notebook for notebook in notebooks[1:] if notebook.stem in TIMED]
    others = [notebook for notebook in notebooks[1:] if notebook.stem not in TIMED]
    return [notebooks[:1], others, *([notebook] for notebook in timed)]


def store_name(images: Path) -> str:
    """The name of the store: one per folder of pictures, so that none overwrites the features of another."""
    if images == BUNDLED:
        return "store"
    return f"store-{images.name}-{hashlib.sha256(str(images).encode()).hexdigest()[:8]}"


class Progress:
    """Says which notebooks are running and how long each took; on a terminal also their sections, in one line that is
    rewritten.

    Parameters
    ----------
    count : int
        How many notebooks there are.
    """

    def __init__(self, count: int) -> None:
        self.count, self.begun, self.lock = count, time.monotonic(), Lock()
        self.rewrites, self.failed, self.finished = sys.stdout.isatty(), False, 0
        self.running: dict[str, tuple[float, str]] = {}
        """Notebook -> when it was started, and its section."""

    def start(self, name: str) -> None:
        """Say that a notebook runs."""
        self.running[name] = time.monotonic(), ""
        self._write(None if self.rewrites else name)

    def section(self, name: str, cell: dict) -> None:
        """Called at the start of every cell: a heading names what follows."""
        headings = re.findall(r"^#+ (.*)", cell["source"], re.M) if cell["cell_type"] == "markdown" else []
        if self.rewrites and headings:
            self.running[name] = self.running[name][0], headings[-1]
            self._write(None)

    def done(self, name: str) -> None:
        """Say how long a notebook took."""
        started, _ = self.running.pop(name)
        self.finished += 1
        took = clock(time.monotonic() - started)
        self._write(f"{name}: done in {took}, {self.finished} of {self.count}")

    def fail(self, lines: list[str]) -> None:
        """Say on standard error what went wrong; nothing more is started."""
        self.failed = True
        with self.lock:
            print("\n" * self.rewrites + "\n".join(lines), file=sys.stderr)

    def _write(self, text: str | None) -> None:
        """A line that stays, and on a terminal the one that is rewritten."""
        elapsed = clock(time.monotonic() - self.begun)
        running = ", ".join(f"{name}{': ' * bool(part)}{part}" for name, (_, part) in list(self.running.items()))
        with self.lock:
            if self.rewrites:
                line = f"{elapsed}  {running}"[: shutil.get_terminal_size().columns - 1]
                print(f"\r\033[K{f'{elapsed}  {text}' + chr(10) if text else ''}{line}", end="", flush=True)
            elif text:
                print(f"{elapsed}  {text}", flush=True)


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, such as 02:31."""
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"


def run(notebook: Path, pages: Path, figures: Path, parameters: dict, progress: Progress) -> bool:
    """Execute one notebook in a fresh kernel, keep it, its page and its figures; returns whether it succeeded."""
    import nbformat
    import papermill
    from traitlets.config import Config

    executed = pages / notebook.name
    progress.start(notebook.stem)
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
                on_cell_start=lambda cell, cell_index: progress.section(notebook.stem, cell),
                config=Config(KernelManager=private),
            )
    except papermill.PapermillExecutionError as error:
        done = nbformat.read(executed, as_version=4)
        if not end_where_it_may(done):
            what = f"{notebook.name}, cell {error.cell_index + 1}: {error.ename}: {error.evalue}"
            progress.fail([what, f"The notebook up to the error: {executed}"])
            return False
        nbformat.write(done, executed)
    done = nbformat.read(executed, as_version=4)
    keep_figures(done, figures)
    executed.with_suffix(".html").write_text(page_of(done, notebook.parent, parameters), encoding="utf-8")
    progress.done(notebook.stem)
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
    """Write the figure of each cell with a tag figure:NAME, or the still of its widget, to NAME.png in a folder."""
    from PIL import Image

    for cell in notebook.cells:
        names = [tag.removeprefix("figure:") for tag in cell.metadata.get("tags", []) if tag.startswith("figure:")]
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        drawn = [data.get("image/png") or data.get("image/jpeg") for data in outputs]
        for name, picture in zip(names, filter(None, drawn), strict=False):
            with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
                opened.save(folder / f"{name}.png")


def keep_outputs(notebook: Path, executed: Path) -> None:
    """Write the outputs of an executed notebook into the notebook itself, as they are committed."""
    import nbformat

    kept = nbformat.read(notebook, as_version=4)
    outputs = {cell.id: cell.outputs for cell in nbformat.read(executed, as_version=4).cells if "outputs" in cell}
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    for place, (cell, digest) in enumerate(zip(code, digests(code), strict=True), 1):
        cell.outputs = [small for output in outputs[cell.id] if (small := committed(output, place))]
        cell.execution_count, cell.metadata["digest"] = place, digest
    kept.metadata.pop("widgets", None)
    nbformat.write(kept, notebook)


def digests(code: list[dict]) -> list[str]:
    """For each code cell, a digest of its source and that of all cells before it."""
    running, found = hashlib.sha256(), []
    for cell in code:
        running.update(f"{''.join(cell['source'])}\0".encode())
        found.append(running.hexdigest()[:12])
    return found


def committed(output, place: int):
    """An output as it is committed: figures small, no progress bar, no page, no path of this machine; or None."""
    if output.output_type == "stream":
        output.text = without_root(output.text)
        return output if output.name == "stdout" else None
    if not (kept := without_widgets([output])):
        return None
    data = kept[0].data
    if len(data.get("text/html", "")) > LARGE:
        size = f"{len(data.pop('text/html')) / 1e6:.1f} MB"
        data["text/html"] = f"<p><em>Run this cell to see its page, of {size}.</em></p>"
    if "image/png" in data:
        name, picture = smallest(base64.b64decode(data.pop("image/png")))
        data[name] = base64.b64encode(picture).decode()
    for name in ("text/plain", "text/html"):
        if name in data:
            data[name] = without_root(data[name])
    if output.output_type == "execute_result":
        output.execution_count = place
    return output


def smallest(png: bytes) -> tuple[str, bytes]:
    """A figure as JPEG or as PNG of 128 colours, whichever is smaller, with its MIME type."""
    from PIL import Image

    files = {}
    with Image.open(io.BytesIO(png)) as opened:
        ground = Image.new("RGB", opened.size, "white")
        ground.paste(opened, mask=opened.getchannel("A") if opened.mode == "RGBA" else None)
    for name, picture, options in (
        ("image/jpeg", ground, {"quality": 80, "optimize": True}),
        ("image/png", ground.quantize(128, Image.Quantize.MAXCOVERAGE), {"optimize": True}),  # keeps rare colours
    ):
        file = io.BytesIO()
        picture.save(file, name.removeprefix("image/").upper(), **options)
        files[name] = file.getvalue()
    name = min(files, key=lambda name: len(files[name]))
    return name, files[name]


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
        if cell.cell_type == "code":
            cell.outputs = without_widgets(cell.outputs)
    exporter = HTMLExporter(raw_template=PAGE, exclude_input_prompt=True, exclude_output_prompt=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": heading}, "formulas": formulas})
    return without_root(page)


def without_widgets(outputs: list) -> list:
    """Outputs with the still pictures of widgets in their place; of those without one, such as a progress bar, which
    would stay at its first step where there is no kernel, nothing."""
    for output in outputs:
        if "image/jpeg" in output.get("data", {}):
            output.data.pop(WIDGET, None)
    return [output for output in outputs if WIDGET not in output.get("data", {})]


def without_root(text: str) -> str:
    """A text in which paths below this project do not say where it is."""
    return text.replace(f"{HERE.parent}{os.sep}", "")


def shown(value, folder: Path):
    """A parameter as a page shows it: a path relative to a folder, anything else as it is."""
    return os.path.relpath(value, folder) if isinstance(value, str) and Path(value).is_absolute() else value


if __name__ == "__main__":
    sys.exit(main())
