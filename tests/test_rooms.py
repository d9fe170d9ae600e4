"""The rooms: imports run downwards only and through each room's __init__; and what a user sees of them.

The contracts of import-linter are in pyproject.toml.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

import amulsearch as am

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    path.parent.name: importlib.import_module(f"amulsearch.{path.parent.name}")
    for path in (ROOT / "amulsearch").glob("*/__init__.py")
}


def test_imports_run_downwards_and_in_no_circle(capfd):
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True) == 0, capfd.readouterr().out


def test_what_a_room_does_not_list_is_imported_within_it_only():
    """Nor does a module take what is of its own room, or of another one, from the package around them."""
    listed = {f"amulsearch.{room}.{name}" for room, module in ROOMS.items() for name in module.__all__}
    graph = grimp.build_graph("amulsearch", cache_dir=None)
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            around = target.rpartition(".")[0]
            near = target in listed or f"{module}.".startswith(f"{around}.")
            assert near and not module.startswith(f"{target}."), f"{module} imports {target}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_in_a_few_lines(room):
    assert len(ROOMS[room].__doc__.strip().splitlines()) <= 5


@pytest.mark.parametrize("room", [am, am.plot, am.transforms, *ROOMS.values()])
def test_dir_shows_what_is_listed_and_all_of_it_is_there(room):
    assert sorted(dir(room)) == sorted(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError):
        room.nothing_of_this_name


def test_the_core_has_few_names():
    """Some eighteen, and the rooms, one step behind which the rest is."""
    assert dir(am) == sorted(am.__all__) and len(am.__all__) <= 28


def test_importing_the_package_imports_nothing_heavy_and_the_table_of_networks_no_torch():
    heavy = {"torch", "torchvision", "timm", "jinja2", "matplotlib", "scipy", "sklearn", "openvino", "faiss"}
    code = (
        "import sys, amulsearch; dir(amulsearch.indexes)\n"
        f"print(sorted({heavy | {'numpy', 'pandas', 'PIL'}} & set(sys.modules)))\n"
        f"amulsearch.models.table(); print(sorted({heavy} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
