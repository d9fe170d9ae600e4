"""Run the notebooks in order, and write their figures, the executed notebooks and an HTML page of each below build/.

python notebooks/run.py [--images FOLDER] [--models A,B] [--k 4] [--only 03] [--solutions]
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
BUNDLED = HERE.parent / "data" / "openclipart"

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
        "FIGURES": str(build / "figures"),
    }
    pages = build / "notebooks" / below
    pages.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for place, notebook in enumerate(notebooks, 1):
        if not run(notebook, pages, parameters, Progress(f"{place} of {len(notebooks)}: {notebook.stem}", begun)):
            return 1
    print(f"\nFigures: {build / 'figures'}\nPages:   {pages}")
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


def run(notebook: Path, output: Path, parameters: dict, progress: Progress) -> bool:
    """Execute one notebook in a fresh kernel, keep it and write it as a page; returns whether it succeeded."""
    import nbconvert
    import nbformat
    import papermill
    from traitlets.config import Config

    executed = output / notebook.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                notebook,
                executed,
                parameters,
                cwd=notebook.parent,
                progress_bar=False,
                on_cell_start=progress.section,
                # Over TCP, the default, anybody on the machine could read along, and the kernel warns of it.
                config=Config(KernelManager={"transport": "ipc"}),
            )
    except papermill.PapermillExecutionError as error:
        progress.end_line()
        print(f"{notebook.name}, cell {error.cell_index + 1}: {error.ename}: {error.evalue}", file=sys.stderr)
        print(f"The notebook up to the error: {executed}", file=sys.stderr)
        return False
    done = nbformat.read(executed, as_version=4)
    for cell in done.cells:
        if cell.cell_type == "code":  # without a kernel, a progress bar would stay at its first step
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    page, _ = nbconvert.HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(done)
    executed.with_suffix(".html").write_text(page, encoding="utf-8")
    progress.done()
    return True


if __name__ == "__main__":
    sys.exit(main())
