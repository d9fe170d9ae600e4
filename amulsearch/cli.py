"""The command line: a thin layer over the library, stable for scripts.

    amulsearch models  [--json]
    amulsearch index   FOLDER --store DIR [--models A,B] [--layers logits,penultimate] [--framing pad|crop|squash]
                       [--precision float32|bfloat16|float16|auto] [--keywords FILE.csv]
    amulsearch query   IMAGE_OR_ID --store DIR [--models A,B] [--layer L] [--fuse METHOD] [-k 4] [--json | --grid FILE]
                       [--copy-to DIR]
    amulsearch query   [IMAGE_OR_ID] --text WORDS [--avoid WORDS] --store DIR ...
    amulsearch evaluate --store DIR [--judgements FILE.csv] [--json]
    amulsearch check   --store DIR [--repair]
    amulsearch report  FOLDER [-o FILE.html] [--models A,B] [-k 8] [--sample N] [--store DIR]
                       [--sees | --no-sees] [--json]
                       (index, report: [--frame N] [--background COLOUR] [--max-pixels N])

`index` builds indexes with Annoy where it is installed, and otherwise for exact search, and says which. `query` opens
both kinds; an index that Annoy built needs Annoy.

In `index`, `query` and `evaluate`, `--preset` replaces the layers by the recipe for a question: `same-kind` finds
pictures of the same kind, `same-thing` the same thing, whoever drew it. `index` makes it of the networks that --models
names, by default the four with which it was measured.

As text, `query` prints first what all networks find together: the lists of the presets that are indexed if neither
--models nor --layer is given, else the fusion combsum; then the list of each network. As JSON and as a grid, it has the
lists of the networks only; with --fuse or --preset, one list. `evaluate` measures networks and layers by exact search,
the fusions vote and combsum of the penultimate layer (or the first that is stored), and the presets that are indexed,
best mAP first. Pictures without a label count neither as right nor as wrong. `report` compares three layers of each
network, their fusions vote, rrf and combsum, and the presets, and says which to use; without -o it compares a sample.

`query --text` compares the words with the pictures by the text tower of an indexed network (`open_clip/REPOSITORY`);
without one, by the keywords that `index --keywords` read. With a picture beside the words, a text tower looks for what
resembles both; otherwise, the pictures that the words find are ordered by their likeness to the picture. It says which
it did; as JSON in `how`, beside `text`.

A result whose file is missing or has changed since it was indexed is marked: in the text and in JSON by `state`, in a
grid by a square that says so. `--copy-to` copies the others and names it.

What people read names files as they are pasted into bash or zsh. Progress bars are drawn on a terminal only. A file
that was written into the folder of pictures (a grid, copies, a store) is no picture of the next scan.

Downloaded weights lie in the folder that the environment variable AMULSEARCH_WEIGHTS names, or else in the caches of
torch and of the Hugging Face hub.

An error is one line on standard error that says what to do; the exit status is then 2. `check` exits with 1 if it finds
a problem. An interrupted command exits with 128 + the number of the signal: 130 for SIGINT, 143 for SIGTERM.
"""

import argparse
import io
import os
import signal
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

from .errors import AmulsearchError, QueryError, check_path, first_line, one_line

# Help and errors of usage need nothing but the standard library, so the names that options take stand here too.
METHODS = ("vote", "borda", "rrf", "combsum", "combmnz")
FRAMINGS = ("pad", "crop", "squash")
PRESETS = ("same-kind", "same-thing")
FIGURES, PAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg"), (".html", ".htm")


class _Interrupted(KeyboardInterrupt):
    """A signal that ends the process; its number is the argument."""


def _interrupt(number: int, frame) -> None:
    raise _Interrupted(number)


KEPT = "what was computed for a --store is kept: run the same command to continue"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed: the next file that is opened would take its number
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115
    home = None
    try:
        Path.home()
    except RuntimeError:  # a user without an account, as in containers: libraries look there for their settings
        home = tempfile.TemporaryDirectory(prefix="amulsearch-", ignore_cleanup_errors=True)
        os.environ["HOME"] = home.name
    before, shown = {}, warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"amulsearch: {one_line(message)}\n"
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # not ignored, as by nohup
                before[number] = signal.signal(number, _interrupt)
    try:
        return _run(arguments)
    except _Interrupted as interrupted:
        while before:  # the process is about to end
            signal.signal(before.popitem()[0], signal.SIG_IGN)
        _complain(f"interrupted; {KEPT}")
        return 128 + interrupted.args[0]
    finally:
        warnings.formatwarning = shown
        if home:
            os.environ.pop("HOME", None)
            home.cleanup()
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(arguments: list[str] | None) -> int:
    try:
        try:
            return _command(arguments)
        finally:
            sys.stdout.flush()
    except AmulsearchError as error:
        message = str(error)
    except BrokenPipeError:  # the reader of the output has ended, as with `| head`
        _drop_output()
        return 0
    except MemoryError:
        message = "there is not enough memory: close other programs, or index fewer networks at a time"
    except ImportError as error:
        message = f"a library cannot be loaded ({first_line(error)}): free some memory, or reinstall amulsearch"
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror or error}: fix this; {KEPT}"
        _drop_output()
    except RuntimeError as error:
        if "memory" not in str(error):  # torch reports a lack of memory as a RuntimeError
            raise
        message = f"there is not enough memory ({first_line(error)}): close other programs, or use a smaller network"
    _complain(message)
    return 2


def _command(arguments: list[str] | None) -> int:
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.version:
        from importlib.metadata import PackageNotFoundError, version  # takes a while

        try:
            print(f"amulsearch {version('amulsearch')}")
        except PackageNotFoundError:
            print("amulsearch (not installed)")
        return 0
    if parsed.run is None:
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal that cannot show a character of a name
    from . import commands

    return getattr(commands, parsed.run)(parsed) or 0


def _complain(message: str) -> None:
    with suppress(OSError):  # standard error may be a file on a full disk
        print(f"amulsearch: {one_line(message)}", file=sys.stderr)


def _drop_output() -> None:
    """Discard output that cannot be written: otherwise Python would try again at exit and report an error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _path(text: str, endings: tuple[str, ...] = ()) -> Path:
    try:
        path = check_path(text)
    except QueryError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if endings and path.suffix.lower() not in endings:
        others = f" (or one of {', '.join(endings[1:])})"
        raise argparse.ArgumentTypeError(f"{text} cannot be written: give FILE{endings[0]}{others}")
    return path


def _names(text: str) -> list[str]:
    if not (names := [name.strip() for name in text.split(",") if name.strip()]):
        raise argparse.ArgumentTypeError("names nothing")
    return names


def _count(text: str) -> int:
    if not (text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return int(text)


SHARED = {
    "folder": {"type": _path, "metavar": "FOLDER", "help": "the folder with the pictures, and those below it"},
    "--store": {"type": _path, "required": True, "metavar": "DIR", "help": "what `amulsearch index` writes"},
    "--models": {
        **{"type": _names, "default": "bundled", "metavar": "A,B"},
        "help": "names of networks, or a group: bundled, blog or modern (default: bundled)",
    },
    "--preset": {"choices": PRESETS, "help": "a recipe for a question instead of layers"},
    "--json": {"action": "store_true", "help": "print JSON"},
}
"""The options of several commands, as argparse takes them."""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="amulsearch",
        description="Search a folder of pictures by meaning.",
        epilog="The environment variable AMULSEARCH_WEIGHTS names the folder of downloaded weights.",
    )
    parser.add_argument("--version", action="store_true", help="show the version of amulsearch and exit")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, run: str, help: str, *shared: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help)
        made.set_defaults(run=run)
        for option in shared:
            made.add_argument(option, **SHARED[option])
        return made

    command("models", "list_models", "list the networks and whether their weights are on this machine", "--json")
    what = "extract the features of a folder's pictures and index them"
    _index(command("index", "index_folder", what, "folder", "--store", "--models", "--preset"))
    what = "find the pictures that are most similar to one, or fit words"
    _query(command("query", "query_store", what, "--store", "--preset"))
    what = "evaluate stored features; pictures in the same folder are relevant"
    evaluate = command("evaluate", "evaluate_store", what, "--store", "--preset", "--json")
    evaluate.add_argument("--judgements", type=_path, metavar="FILE.csv", help="what is relevant, in place of folders")
    check = command("check", "check_store", "verify everything in a store", "--store")
    check.add_argument("--repair", action="store_true", help="delete what is damaged or left over")
    what = "say which network, layer or fusion to use for a folder, and write a page about it"
    _report(command("report", "report_folder", what, "folder", "--models", "--json"))
    return parser


def _index(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--keywords", type=_path, metavar="FILE.csv", help="a table with the columns path (or id) and keywords")
    add("--layers", type=_names, metavar="A,B", help="layers (default: penultimate, and logits if there are classes)")
    add("--framing", default="pad", choices=FRAMINGS, help="how pictures are made square (default: pad)")
    what = "number format of the networks; auto is the fastest on this machine (default: float32)"
    add("--precision", default="float32", choices=("float32", "bfloat16", "float16", "auto"), help=what)
    _opening(command)


def _query(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("query", nargs="?", metavar="IMAGE_OR_ID", help="a picture file, or an id of the collection")
    add("--text", metavar="WORDS", help="words to look for, without a picture or beside it")
    add("--avoid", metavar="WORDS", help="words that results should not fit; goes with --text")
    add("--models", type=_names, metavar="A,B", help="networks to query (default: all that are indexed)")
    add("--layer", metavar="L", help="layer to query (default: penultimate if it is indexed)")
    add("--fuse", choices=METHODS, metavar="METHOD", help=f"fuse all lists into one: {', '.join(METHODS)}")
    add("-k", type=_count, metavar="K", help="number of neighbours (default: 4)")
    add("--copy-to", type=_path, metavar="DIR", help="copy the results to this folder, where nothing is overwritten")
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", **SHARED["--json"])
    what = "draw the query and its neighbours"
    output.add_argument("--grid", type=partial(_path, endings=FIGURES), metavar="FILE.png", help=what)


def _report(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    page = partial(_path, endings=PAGES)
    add("-o", "--output", type=page, metavar="FILE.html", help="the page to write (default: only compare)")
    add("-k", type=_count, default=8, metavar="K", help="number of neighbours (default: 8)")
    what = "how many pictures query for the comparison, at random (default: 2000)"
    add("--sample", type=_count, default=2000, metavar="N", help=what)
    what = "whether the page itself finds pictures like a new one, by SqueezeNet (default: if this takes under 4 MB)"
    add("--sees", action=argparse.BooleanOptionalAction, help=what)
    add("--store", type=_path, metavar="DIR", help="keep the features here for later runs")
    _opening(command)


def _opening(command: argparse.ArgumentParser) -> None:
    """How pictures are opened; what is not given is as in the store, if that has pictures."""
    group = command.add_argument_group("how pictures are opened (by default as the store has it, if it has pictures)")
    group.add_argument("--frame", type=int, metavar="N", help="the frame of an animation, from 0 (default: 0)")
    group.add_argument("--background", metavar="COLOUR", help="what is behind transparent parts (default: white)")
    group.add_argument("--max-pixels", type=int, metavar="N", help="reject larger pictures (default: 64000000)")


class _Parser(argparse.ArgumentParser):
    """A parser that prints usage errors in one line, like all other errors."""

    def error(self, message: str):
        hint = "; a name that begins with - is written ./-NAME, or after --" if message.startswith("unrec") else ""
        self.exit(2, f"amulsearch: {one_line(message)}{hint}; see {self.prog} --help\n")
