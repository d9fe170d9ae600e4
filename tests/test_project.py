"""The files that describe the project agree with each other and with the tree."""

import ast
import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import amulsearch as am
from amulsearch.errors import MissingPackageError

ROOT = Path(__file__).resolve().parent.parent
ON_CONDA = {"python-annoy": "annoy", "matplotlib-base": "matplotlib", "pytorch": "torch"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = {re.match(r"[\w-]+", item)[0]: item for item in sum(EXTRAS.values(), PROJECT["dependencies"])}
PINNED = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
TARGETS = set(re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.M))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TEXTS = [path for folder in (".", "data", "docs") for path in sorted((ROOT / folder).glob("*.md"))]


def test_constraints_pin_each_requirement_and_nothing_else():
    assert set(PINNED) == set(REQUIREMENTS)
    parts = lambda version: [int(part) for part in version.split(".")]  # noqa: E731
    for name, item in REQUIREMENTS.items():
        if ">=" in item:
            assert parts(PINNED[name]) >= parts(item.split(">=")[1]), item


def test_environment_yml_names_the_same_versions():
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    versions = re.findall(r"^([\w-]+)==?(\d\S*)$", "\n".join(conda + last["pip"]), re.M)
    assert {ON_CONDA.get(name, name): version for name, version in versions} == PINNED
    assert f"python{PROJECT['requires-python']},<3.13" in conda  # up to 3.12, NMSLIB has wheels
    assert "--editable ." in last["pip"]


@pytest.mark.parametrize(("package", "outcome"), [("annoy", pytest.skip.Exception), ("scipy", MissingPackageError)])
def test_only_the_packages_of_an_extra_may_be_missing_in_a_test(package, outcome, request):
    call = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py")).pytest_runtest_call()
    next(call)
    with pytest.raises((pytest.skip.Exception, MissingPackageError)) as caught:
        call.throw(MissingPackageError(f"{package} is not installed: pip install {package}"))
    assert caught.type is outcome


POSIX_ONLY = {"resource", "fcntl", "pwd", "grp", "termios", "SIGKILL", "SIGALRM", "mkfifo", "geteuid", "setrlimit"}


def test_the_tests_can_be_collected_on_windows():
    """What a test module runs when it is imported names nothing that Windows lacks."""
    for path in (ROOT / "tests").rglob("*.py"):
        nodes = [ast.parse(path.read_text(encoding="utf-8"))]
        for node in nodes:  # grows
            if isinstance(node, ast.FunctionDef):
                nodes += node.decorator_list
            elif not isinstance(node, ast.Lambda):
                nodes += ast.iter_child_nodes(node)
        names = {getattr(node, "name", getattr(node, "attr", "")) for node in nodes}
        assert not names & POSIX_ONLY, path


def test_the_packages_that_carry_weights_have_the_tested_version():
    carried = {
        model.weights.package.replace("_", "-")
        for model in am.models.TABLE.values()
        if hasattr(model.weights, "package")
    }
    assert len(carried) == 4
    for name in carried:
        assert REQUIREMENTS[name] == f"{name}=={PINNED[name]}"


def test_the_commands_and_extras_that_texts_name_are_there():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert {container["postCreateCommand"].removeprefix("make "), *re.findall(r"make (\w+)", readme)} <= TARGETS
    for path in ("docs/install.md", "docs/teaching.md", "Makefile"):
        for names in re.findall(r"\.\[([\w,]+)\]", (ROOT / path).read_text()):
            assert set(names.split(",")) <= set(EXTRAS), (path, names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_lesson_has_its_place_in_the_course_and_for_teachers(path):
    title = re.match(r"# (.*)", "".join(json.loads(path.read_text())["cells"][0]["source"]))[1]
    teaching = (ROOT / "docs" / "teaching.md").read_text()
    assert f"[{title}](../notebooks/{path.name})" in teaching and f"\n### {title}\n" in teaching
    assert path.name in (ROOT / "docs" / "course.md").read_text()
    assert (path.parent / "solutions" / path.name).exists()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_texts_name_is_in_the_library(path):
    text = path.read_text()
    for name in set(re.findall(r"\bam\.(\w+(?:\.\w+)*)", text)):
        thing = am
        for part in name.split("."):
            thing = getattr(thing, part)
    folders = ("amulsearch", "benchmarks", "data", "notebooks", "tests")
    modules = [f"/{module.relative_to(ROOT)}" for folder in folders for module in (ROOT / folder).rglob("*.py")]
    for name in set(re.findall(r"`([\w/]+\.py)`", text)):
        assert any(module.endswith(f"/{name}") for module in modules), name
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link


def test_the_ten_lines_of_the_readme_run(all_features, course_store, capsys, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(ROOT)
    names = {"STORE": course_store}
    exec(code.replace('"build/store"', "STORE"), names)
    found = names["panel"].query(names["query"], 4)
    assert list(found) == [*am.models.BUNDLED, "rrf of 4"]
    assert all(len(table) == 4 and names["query"] not in table["id"].tolist() for table in found.values())
    assert "1,631 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_can_be_imported(path):
    """They run too long for a test; at least what they import is there."""
    importlib.import_module(path.stem)
