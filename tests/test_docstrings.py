"""Docstrings in numpydoc form: public names document every parameter, and the core has examples that run."""

import doctest
import importlib
import inspect
import re
from functools import cached_property
from pathlib import Path

import pytest

import amulsearch as am

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["intake", "models", "store", "features", "index", "measure", "views"]


def section(docstring: str, title: str) -> str:
    """The text of a section; "" if there is none."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", docstring, re.S | re.M)
    return found[1] if found else ""


def named(docstring: str) -> set[str]:
    """The parameters that a docstring names."""
    headings = re.findall(r"^([\w*]+(?:, [\w*]+)*)(?: :|$)", section(docstring, "Parameters"), re.M)
    return {name.lstrip("*") for heading in headings for name in heading.split(", ")}


def public() -> dict:
    """Public functions and methods by their full names; inherited ones once."""
    found = {}
    modules = [importlib.import_module(f"amulsearch.{room}") for room in ROOMS]
    modules += [am.transforms, am.plot]
    for module in modules:
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not thing.__module__.startswith("amul"):
                continue
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing
            for method, value in vars(thing).items() if inspect.isclass(thing) else ():
                value = getattr(value, "__func__", value)
                if not method.startswith("_") and inspect.isfunction(value):
                    found[f"{value.__module__}.{value.__qualname__}"] = value
                elif not method.startswith("_") and isinstance(value, (property, cached_property)):
                    found[f"{thing.__module__}.{thing.__qualname__}.{method}"] = value
    return found


PUBLIC = public()


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_documented(name):
    thing = PUBLIC[name]
    docstring = inspect.getdoc(thing)
    assert docstring, "there is no docstring"
    first = docstring.splitlines()[0]
    assert first.endswith(".")
    if len(docstring.splitlines()) > 1:
        assert not docstring.splitlines()[1], "the summary is one line"
    if inspect.isfunction(thing) and ("\n" in docstring or "." not in thing.__qualname__):  # a method may have one line
        own = ("self", "cls") if "." in thing.__qualname__ else ()
        parameters = [one for one in inspect.signature(thing).parameters if one not in own]
        assert set(parameters) <= named(docstring), f"not named: {set(parameters) - named(docstring)}"
        assert named(docstring) <= set(parameters), f"named but not there: {named(docstring) - set(parameters)}"


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
    if name in ("models", "features", "indexes", "measure", "views"):
        pytest.skip("a room: its names have docstrings of their own")
    module = inspect.getmodule(thing if name != "BEST" else type(thing))
    methods = [getattr(value, "__func__", value) for value in vars(thing).values()] if inspect.isclass(thing) else []
    texts = [inspect.getdoc(one) or "" for one in (thing, module, *filter(inspect.isfunction, methods))]
    assert any(">>> " in text for text in texts)
