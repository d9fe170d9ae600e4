"""The eight rooms: imports run downwards only and through each room's __init__; and what a user sees of them."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import amulsearch as am

LIBRARY = Path(am.__file__).parent
BELOW = {
    "intake": (),
    "models": ("intake",),
    "store": ("intake",),
    "features": ("intake", "models", "store"),
    "index": ("intake", "models", "store", "features"),
    "measure": ("intake", "models", "store", "features", "index"),
    "views": ("intake", "models", "store", "features", "index", "measure"),
}
"""Each room, from the lowest, and the rooms that it may import."""
LISTED = {room: set(importlib.import_module(f"amulsearch.{room}").__all__) for room in BELOW}


def imports(source: str, room: str | None) -> set[tuple[str, ...]]:
    """What a module of a room (None: of the root) imports from the package, as paths: ("store", "Store").

    Every import statement counts, also within functions and for type checkers.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [tuple(name.name.split(".")) for name in node.names]
            found |= {name[1:] for name in names if name[0] == "amulsearch"}
        elif isinstance(node, ast.ImportFrom):
            inside = ["amulsearch", *([room] if room else [])]
            base = inside[: len(inside) + 1 - node.level] if node.level else []
            path = (*base, *(node.module.split(".") if node.module else ()))
            if path[:1] == ("amulsearch",):
                found |= {(*path[1:], name.name) for name in node.names}
    return found


def wrong_imports(source: str, room: str | None) -> list[str]:
    """What a module of a room, or of the root, must not import."""
    wrong = []
    for path in sorted(imports(source, room)):
        name, target = ".".join(path), path[0] if path else ""
        if target == "errors" or (room is None and target not in BELOW) or (target == room and path[1:]):
            if target == room and path[1] in LISTED[room] and not (LIBRARY / room / f"{path[1]}.py").exists():
                wrong.append(f"{name}: its own room, by way of __init__")
        elif target not in BELOW or target == room:
            wrong.append(f"{name or 'amulsearch'}: of the root")
        elif room is not None and target not in BELOW[room]:
            wrong.append(f"{name}: {target} does not lie below {room}")
        elif path[1:] and (len(path) > 2 or path[1] not in LISTED[target]):
            wrong.append(f"{name}: {target}/__init__.py does not list it")
    return wrong


def circles(modules: dict[str, set[str]]) -> list[str]:
    """The modules that import themselves by way of others."""

    def reached(name: str) -> set[str]:
        seen, ahead = set(), set(modules.get(name, ()))
        while ahead:
            seen |= ahead
            ahead = set().union(*(modules.get(one, set()) for one in ahead)) - seen
        return seen

    return [name for name in modules if name in reached(name)]


def test_there_are_eight_rooms_and_the_root_holds_errors_the_course_and_the_command_line():
    assert sorted(path.parent.name for path in LIBRARY.rglob("__init__.py") if path.parent != LIBRARY) == sorted(BELOW)
    root = {"__init__", "__main__", "cli", "commands", "course", "errors", "printing", "querying"}
    assert {path.stem for path in LIBRARY.glob("*.py")} == root
    for room in BELOW:
        docstring = importlib.import_module(f"amulsearch.{room}").__doc__
        assert len(docstring.strip().splitlines()) <= 5, room


@pytest.mark.parametrize("room", [None, *BELOW])
def test_imports_run_downwards_and_through_the_init_of_a_room(room):
    for path in sorted((LIBRARY / (room or "")).glob("*.py")):
        assert not wrong_imports(path.read_text(encoding="utf-8"), room), path


@pytest.mark.parametrize("room", BELOW)
def test_no_module_of_a_room_imports_itself_by_way_of_others(room):
    modules = {
        path.stem: {name[1] for name in imports(path.read_text(encoding="utf-8"), room) if name[:1] == (room,)}
        for path in (LIBRARY / room).glob("*.py")
    }
    assert not circles(modules)


@pytest.mark.parametrize(
    ("statement", "room"),
    [
        ("from ..views import plot", "index"),
        ("def f():\n    from ..views.plot import pictures", "index"),
        ("if TYPE_CHECKING:\n    from ..views import plot", "measure"),
        ("from .. import views", "measure"),
        ("import amulsearch.views", "intake"),
        ("import amulsearch.views.plot as p", "store"),
        ("import amulsearch as am", "views"),
        ("from .. import extract", "views"),
        ("from ..models import Model", "store"),
        ("from ..commands import list_models", "views"),
        ("from ..store.files import replacing", "features"),
        ("from ..store import files", "features"),
        ("from ..models import catalogue", "features"),
        ("from ..intake import *", "features"),
        ("from ..features import Features", "features"),
        ("from .views.plot import pictures", None),
        ("from .models import catalogue", None),
    ],
)
def test_a_wrong_import_is_found(statement, room):
    assert wrong_imports(statement, room)


@pytest.mark.parametrize(
    ("statement", "room"),
    [
        ("from ..store import blocks, replacing\nfrom .features import Features", "features"),
        ("from .. import models\nfrom ..errors import QueryError\nimport numpy as np", "measure"),
        ("from . import catalogue", "models"),
        ("from . import models\nfrom .views import plot\nfrom . import commands", None),
    ],
)
def test_a_right_import_is_not(statement, room):
    assert not wrong_imports(statement, room)


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    sources = {"a": "from . import b", "b": "def f():\n    from .a import x"}
    modules = {name: {path[1] for path in imports(source, "index")} for name, source in sources.items()}
    assert circles(modules) == ["a", "b"]


@pytest.mark.parametrize(
    "room", [am, am.plot, am.transforms, *(importlib.import_module(f"amulsearch.{r}") for r in BELOW)]
)
def test_dir_shows_what_is_listed_and_all_of_it_is_there(room):
    assert sorted(dir(room)) == sorted(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError):
        room.nothing_of_this_name


def test_the_core_has_some_25_names():
    """Besides the rooms, one step behind which the rest is."""
    rooms = [name for name in am.__all__ if inspect.ismodule(getattr(am, name))]
    assert len(rooms) <= 9 and 20 <= len(am.__all__) - len(rooms) <= 25


def test_importing_the_package_imports_nothing_heavy():
    heavy = "'jinja2', 'numpy', 'pandas', 'PIL', 'torch', 'matplotlib', 'scipy', 'sklearn', 'openvino'"
    code = f"import sys, amulsearch; dir(amulsearch.indexes); print(sorted({{{heavy}}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
