"""Docstrings: numpydoc's own validation of what rooms export, and examples that run."""

import doctest
import importlib
import inspect
from functools import cached_property
from pathlib import Path

import pytest
from numpydoc.validate import validate

import amulsearch as am

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [importlib.import_module(f"amulsearch.{path.parent.name}") for path in ROOT.glob("amulsearch/*/__init__.py")]

LEFT_OUT = {"ES01", "EX01", "SA01", "SA03", "SA04", "GL07", "RT01", "RT02", "RT03", "RT04", "YD01", "SS05"}
LEFT_OUT |= {"PR03", "PR04", "PR07", "PR08"}
"""Checks of numpydoc that ask for more sections, or for descriptions that would repeat a name or a type."""


def exported(modules) -> dict[str, str | None]:
    """The docstrings of exported functions and classes, and of their public methods, by their full names."""
    docstrings = {}
    for module in modules:
        for thing in (getattr(module, name) for name in module.__all__):
            if not inspect.isfunction(thing) and not inspect.isclass(thing):
                continue
            name = f"{thing.__module__}.{thing.__qualname__}"
            docstrings[name] = inspect.getdoc(thing)
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                value = getattr(value, "__func__", value)
                known = isinstance(value, (type(exported), property, cached_property))
                inherited = any(hasattr(base, member) for base in thing.__mro__[1:]) and not value.__doc__
                if not member.startswith("_") and known and not inherited:
                    docstrings[f"{name}.{member}"] = inspect.getdoc(value)
    return docstrings


EXPORTED = exported([am, am.plot, am.transforms, *ROOMS])


@pytest.mark.parametrize("name", EXPORTED)
def test_what_is_exported_is_documented(name):
    """A docstring names all parameters or none."""
    named = "\nParameters\n" in (EXPORTED[name] or "")
    left_out = LEFT_OUT if named else {*LEFT_OUT, "PR01", "SS06", "GL02"}
    assert not [error for error in validate(name)["errors"] if error[0] not in left_out]


@pytest.mark.parametrize("name", [name for name in am.__all__ if inspect.isfunction(getattr(am, name))])
def test_functions_of_the_core_name_their_parameters(name):
    assert "\nParameters\n" in inspect.getdoc(getattr(am, name))


WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "amulsearch").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


@pytest.mark.parametrize("name", [name for name in am.__all__ if not name.endswith("Error")])
def test_the_core_has_examples(name):
    thing = getattr(am, name)
    if thing in (*ROOMS, am.errors):
        pytest.skip("a room: its names have docstrings of their own")
    module = inspect.getmodule(thing)
    methods = [getattr(value, "__func__", value) for value in vars(thing).values()] if inspect.isclass(thing) else []
    texts = [inspect.getdoc(value) or "" for value in (thing, module, *filter(inspect.isfunction, methods))]
    assert any(">>> " in text for text in texts)
