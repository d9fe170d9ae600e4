"""Names as people and shells write them: what is printed can be pasted, what is typed is found or told in a line."""

import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import amulsearch as am
from amulsearch.cli import main
from amulsearch.errors import as_argument, check_path

NAMES = [
    *("-n.png", "~x.png", "plain.png", "a\u202fb.png", "a\xa0b.png", "写真\u30001.png", "می\u200cخو.png"),
    *("50% #1?.png", 'it\'s "so"!.png', "new\nline.png", "back\\slash\t.png", "a $HOME `x`.png", "a%20b.png"),
]
ONE = ["--models", "squeezenet1_1", "--layers", "penultimate"]


def pasted(text):
    """The words that bash makes of a text."""
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    done = subprocess.run(["bash"], input=f"printf '%s\\0' {text}".encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def strange(tmp_path_factory, openclipart):
    """A folder of pictures with such names, and its store."""
    base = tmp_path_factory.mktemp("names")
    (base / "pictures").mkdir()
    for name, source in zip(NAMES, sorted((openclipart / "animals/birds").iterdir()), strict=False):
        Image.open(source).save(base / "pictures" / name)
    assert main(["index", str(base / "pictures"), "--store", str(base / "-store"), *ONE]) == 0
    return base / "pictures", base / "-store"


@pytest.mark.parametrize("inside", [True, False])
def test_every_printed_path_and_command_works_when_pasted(strange, inside, run, monkeypatch):
    folder, store = strange
    monkeypatch.chdir(folder if inside else folder.parent)
    text = run("query", "plain.png", "--store", store, "-k", len(NAMES) - 1).out
    paths = re.findall(r"^ +\d+ +\d+\.\d+  (.*)$", text, re.M)
    found = pasted(" ".join(paths))
    assert sorted(Path(path).resolve().name for path in found) == sorted({*NAMES} - {"plain.png"})
    assert not any(path.startswith(("-", "~")) for path in found)
    for path in found:
        assert run("query", path, "--store", store, "--json", "-k", "1").out
        assert "Not unlike" not in run("query", path, "--store", store, "-k", "1").out  # not a new picture
    monkeypatch.chdir(folder.parent)
    suggested = run("index", folder, "--store", "./-store", *ONE).out.splitlines()[-1]
    assert run(*pasted(suggested.removeprefix("Next: "))[1:]).out


@pytest.mark.parametrize("typed", [["./-n.png"], ["--", "-n.png"], ["~x.png"], ["./~x.png"], ["new\nline.png"]])
def test_names_that_look_like_options_and_homes_are_pictures(typed, strange, run, monkeypatch):
    folder, store = strange
    monkeypatch.chdir(folder)
    text = run("query", "--store", store, "-k", "1", "--models", "squeezenet1_1", *typed).out
    assert len(text.strip().splitlines()) == 3  # no test of novelty: it is a picture of the collection


def test_a_terminal_without_the_letters_gets_bytes(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    shown = as_argument("猫 café.png")
    assert shown.isascii() and pasted(shown) == ["猫 café.png"]


def test_the_home_folder_and_files_that_begin_like_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert check_path("~") == tmp_path and check_path("~/x/y.png") == tmp_path / "x/y.png"
    (tmp_path / "~folder").mkdir()
    for text in ("~x.png", "./~", "./~/x", "~folder/x.png"):
        assert check_path(check_path(text)) == tmp_path / text


DOORS = {
    "folder": am.Collection.from_folder,
    "table": am.Collection.from_table,
    "keywords": lambda path: am.Collection.from_folder("data/openclipart/tools", keywords=path, progress=False),
    "store": am.Store,
    "check": am.systems.check_store,
    "index": am.ExactIndex.open,
    "picture": am.open_image,
    "judgements": am.measure.Judgements,
    "page": lambda path: am.views.Page("title").save(path),
    "report": lambda path: am.views.write_report("nowhere", path),
}


@pytest.mark.parametrize("path", ["", "a\0b", "~nobody_of_this_name/p"])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_path_is_told_at_every_door(door, path):
    with pytest.raises(am.errors.QueryError, match=r"is empty|zero byte|no user nobody_of_this_name"):
        DOORS[door](path)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["index", "FOLDER", "--store", "FILE"], "FILE is a file: give a folder for the store"),
        (["index", "FOLDER", "--store", "FILE/store"], "cannot be written to FILE/store: Not a directory"),
        (["index", "FOLDER", "--store", "NEW", "--models", "nonet"], "no network 'nonet'"),
        (["index", "FOLDER", "--store", "NEW", "--models", ","], "--models: names nothing"),
        (["index", "FOLDER", "--store", "NEW", "--layers", ""], "--layers: names nothing"),
        (["index", "FOLDER", "--store", ""], "the path is empty"),
        (["index", "~nobody_of_this_name/p", "--store", "NEW"], "no user nobody_of_this_name"),
        (["index", "-pictures", "--store", "NEW", "FOLDER"], "a name that begins with - is written ./-NAME"),
        (["report", "FOLDER", "-o", "~nobody_of_this_name/w.html"], "no user nobody_of_this_name"),
        (["report", "FOLDER", "-o", "nowhere/w.html"], "cannot be written to nowhere/w.html: No such file"),
        (["report", "FOLDER", "-o", "page.png"], "page.png cannot be written: give FILE.html"),
        (["report", "FOLDER", "-o", "w.html", "--store", "FILE"], "FILE is a file"),
        (["report", "FOLDER", "-o", f"{'w' * 300}.html"], "File name too long"),
        (["report", "FOLDER", "--sample", "0"], "must be an integer of at least 1"),
        (["report", "FOLDER", "-o", "w.html", "--models", "resnet9000"], "no network 'resnet9000'"),
        (["report", "nowhere", "-o", "w.html"], "nowhere is not a folder"),
        (["report", ".", "-o", "w.html"], "a report needs at least two pictures, but only 1"),
        (["evaluate", "--store", "STORE", "--judgements", "jugdements.csv"], "there is no file jugdements.csv"),
        (["query", "plain.png", "--store", "STORE", "--grid", "grid.xyz"], "give FILE.png"),
        (["query", "plain.png", "--store", "STORE", "--grid", "grid"], "give FILE.png"),
        (["query", "plain.png", "--store", "STORE", "--grid", "FOLDER/plain.png"], "would be overwritten"),
        (["query", "FILE.png", "--store", "STORE", "--grid", "FILE.png"], "would be overwritten"),
        (["query", "plain.png", "--store", "STORE", "--copy-to", "FILE"], "FILE is a file"),
        (["query", "\udce9.png", "--store", "STORE"], "is neither a file nor an id"),
        (["query", "x" * 5000, "--store", "STORE"], "File name too long"),
        (["query", "plain.png", "--store", "\udce9"], r"amulsearch index FOLDER --store $'\351'`"),
    ],
)
def test_it_is_told_before_anything_is_computed(arguments, words, strange, tmp_path, monkeypatch, run):
    folder, store = strange
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    shutil.copy(folder / "plain.png", "FILE.png")
    given = [one.replace("FOLDER", str(folder)).replace("STORE", str(store)) for one in arguments]
    *before, said = run(*given, status=2).err.splitlines()
    assert said.startswith("amulsearch: ") and words in said
    assert not before or (arguments[0] == "report" and before[0].startswith("scanning "))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FILE", "FILE.png"]


def texts(tree):
    """The strings of a module but its docstrings, with X in place of what is filled in."""
    plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            plain |= {id(part) for part in ast.walk(node)} - {id(node)}
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in plain:
            yield node.value


def test_commands_and_options_that_messages_name_exist(tmp_path, monkeypatch, capsys):
    library = Path(am.__file__).parent
    found = [text for path in library.rglob("*.py") for text in texts(ast.parse(path.read_text(encoding="utf-8")))]
    commands = [one for text in found for one in re.findall(r"`amulsearch ([^`]+)`|Next: amulsearch (.+)", text)]
    commands = [shlex.split("".join(one)) for one in commands]
    assert len(commands) >= 8

    def said(*arguments):
        with contextlib.suppress(SystemExit):
            main(arguments)
        return "".join(capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    names = re.findall(r"^    (\w+)", said("--help"), re.M)
    for name, *arguments in commands:
        assert name in names
        if len(arguments) > 1:  # a whole command: its folder is not there, but it can be read
            assert not re.search(r"required|unrecognized|invalid choice|expected", said(name, *arguments))
    known = {option for name in names for option in re.findall(r"--[a-z][a-z-]+", said(name, "--help"))}
    named = {
        one for text in found if "pip install" not in text for one in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert len(named) > 10 and named <= known | {"--version"}
