"""The house: eight rooms, whose imports run downwards only and through their doors; and what a visitor sees of it."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import amulsearch as am

LIBRARY = Path(am.__file__).parent
ROOMS = ["intake", "models", "store", "features", "index", "measure", "learning", "views"]
"""From the lowest to the highest: each may import those before it."""


def imports(source: str, room: str | None) -> set[tuple[str, str]]:
    """The imports of a module of a room (None: the root) from the package: (room or root module, "" or what follows).

    Those within functions and for type checkers count as well.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names if name.name.split(".")[0] == "amulsearch"]
            found |= {tuple((*name.split(".")[1:], "", "")[:2]) for name in names}
        elif isinstance(node, ast.ImportFrom):
            inside = ["amulsearch", *([room] if room else [])]
            base = inside[: len(inside) + 1 - node.level] if node.level else []
            path = [*base, *(node.module.split(".") if node.module else [])]
            if path[:1] != ["amulsearch"]:
                continue
            for name in node.names if len(path) == 1 else [None]:  # from .. import models
                place = [*path[1:], *([name.name] if name else [])]
                found.add((place[0], ".".join(place[1:])))
    return found


def wrong_arrows(source: str, room: str) -> list[str]:
    """What a module of a room must not import."""
    wrong = []
    for target, module in sorted(imports(source, room)):
        if target == room or (target == "errors" and not module):
            continue
        if target not in ROOMS:
            wrong.append(f"{room} imports {target or 'the package'} of the root")
        elif ROOMS.index(target) > ROOMS.index(room):
            wrong.append(f"{room} imports {target}, which lies above it")
        elif module:
            wrong.append(f"{room} imports {target}.{module}: only what {target}/__init__.py hands on")
    return wrong


def circles(modules: dict[str, set[str]]) -> list[str]:
    """Modules that import themselves by way of others."""

    def reached(name: str) -> set[str]:
        seen, ahead = set(), set(modules.get(name, ()))
        while ahead:
            seen |= ahead
            ahead = set().union(*(modules.get(one, set()) for one in ahead)) - seen
        return seen

    return [name for name in modules if name in reached(name)]


def test_there_are_eight_rooms_and_the_root_holds_errors_and_the_command_line():
    assert sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py")) == sorted(ROOMS)
    assert {path.stem for path in LIBRARY.glob("*.py")} == {"__init__", "__main__", "cli", "commands", "errors"}
    for room in ROOMS:
        docstring = importlib.import_module(f"amulsearch.{room}").__doc__
        assert len(docstring.strip().splitlines()) <= 5, room


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_downwards_and_through_the_doors(room):
    for path in sorted((LIBRARY / room).glob("*.py")):
        assert not wrong_arrows(path.read_text(), room), path


@pytest.mark.parametrize("room", ROOMS)
def test_within_a_room_no_module_imports_itself_by_way_of_others(room):
    modules = {
        path.stem: {module for target, module in imports(path.read_text(), room) if target == room and module}
        for path in (LIBRARY / room).glob("*.py")
    }
    assert not circles(modules)


def test_an_arrow_the_wrong_way_is_found():
    assert wrong_arrows("from ..views import plot", "index") == ["index imports views, which lies above it"]
    assert wrong_arrows("def f():\n    from ..views.plot import pictures", "index")
    assert wrong_arrows("from .. import learning", "measure") and not wrong_arrows("from .. import models", "measure")
    assert wrong_arrows("import amulsearch.views", "intake") and wrong_arrows("import amulsearch as am", "views")
    assert wrong_arrows("from ..commands import list_models", "views")
    assert wrong_arrows("from ..store.files import replacing", "features") == [
        "features imports store.files: only what store/__init__.py hands on"
    ]
    assert not wrong_arrows("from ..store import replacing\nfrom .features import Features", "features")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


@pytest.mark.parametrize("room", [am, *(importlib.import_module(f"amulsearch.{room}") for room in ROOMS)])
def test_dir_shows_what_is_handed_on_and_all_of_it_is_there(room):
    assert dir(room) == sorted(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError):
        room.nothing_of_this_name


def test_the_core_has_some_25_names():
    assert 20 <= len(am.__all__) <= 28


def test_importing_the_package_imports_nothing_heavy():
    heavy = "'jinja2', 'numpy', 'pandas', 'PIL', 'torch', 'matplotlib', 'scipy', 'sklearn', 'openvino'"
    code = f"import sys, amulsearch; dir(amulsearch.indexes); print(sorted({{{heavy}}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
