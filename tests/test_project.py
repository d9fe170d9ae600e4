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


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + [item for extra in project["optional-dependencies"].values() for item in extra]
    return project, {re.match(r"[\w-]+", item).group(): item for item in listed}


def test_constraints_pin_each_requirement_and_nothing_else():
    assert set(constraints()) == set(requirements()[1])


def test_environment_yml_names_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = environment[-1]["pip"]
    found = dict(item.split("==") for item in pip if "==" in item)
    found |= dict(item.split("=") for item in environment[:-1] if re.search(r"[^<>]=", item) and ">=" not in item)
    assert {ON_CONDA.get(name, name): version for name, version in found.items()} == constraints()
    assert f"python{requirements()[0]['requires-python']},<3.13" in environment  # up to 3.12, NMSLIB has wheels
    assert "--editable ." in pip


@pytest.mark.parametrize(("package", "outcome"), [("annoy", pytest.skip.Exception), ("scipy", MissingPackageError)])
def test_only_the_packages_of_an_extra_may_be_missing_in_a_test(package, outcome, request):
    call = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py")).pytest_runtest_call()
    next(call)
    with pytest.raises((pytest.skip.Exception, MissingPackageError)) as told:
        call.throw(MissingPackageError(f"{package} is not installed: pip install {package}"))
    assert told.type is outcome


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


def test_every_minimum_allows_the_tested_version():
    for name, item in requirements()[1].items():
        if ">=" in item:
            least = [int(part) for part in item.split(">=")[1].split(".")]
            tested = [int(part) for part in constraints()[name].split(".")]
            assert tested >= least, item


def test_the_packages_that_carry_weights_have_the_tested_version():
    carried = {model.weights.distribution for model in am.models.TABLE.values() if hasattr(model.weights, "package")}
    assert len(carried) == 4
    for name in carried:
        assert requirements()[1][name] == f"{name}=={constraints()[name]}"


def test_what_the_readme_names_is_there():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for command in re.findall(r"make (\w+)", readme):
        assert command in targets
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert notebook.name in (ROOT / "docs" / "course.md").read_text()
        assert (ROOT / "notebooks" / "solutions" / notebook.name).exists()


def test_what_the_other_ways_to_set_up_name_is_there():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.M)
    extras = requirements()[0]["optional-dependencies"]
    for path in ("docs/install.md", "docs/teaching.md", "Makefile"):
        for named in re.findall(r"\.\[([\w,]+)\]", (ROOT / path).read_text()):
            assert set(named.split(",")) <= set(extras), (path, named)


def test_the_teachers_page_has_every_lesson():
    text = (ROOT / "docs" / "teaching.md").read_text()
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        title = re.match(r"# (.*)", "".join(json.loads(notebook.read_text())["cells"][0]["source"]))[1]
        assert f"[{title}](../notebooks/{notebook.name})" in text and f"\n### {title}\n" in text


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "SECURITY.md",
        "data/README.md",
        "docs/architecture.md",
        "docs/course.md",
        "docs/install.md",
        "docs/measurements.md",
        "docs/networks.md",
        "docs/teaching.md",
    ],
)
def test_what_the_texts_name_is_in_the_library(name):
    text = (ROOT / name).read_text()
    for path in set(re.findall(r"\bam\.(\w+(?:\.\w+)*)", text)):
        found = am
        for part in path.split("."):
            found = getattr(found, part)
    folders = ("amulsearch", "benchmarks", "data", "notebooks", "tests")
    modules = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    for module in re.findall(r"`(?:\w+/)?(\w+\.py)`", text):
        assert module in modules, module
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / name).parent / link).exists(), link


def test_the_ten_lines_of_the_readme_run(all_features, course_store, capsys, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(ROOT)
    names = {"STORE": course_store}
    exec(code.replace('"build/store"', "STORE"), names)
    assert len(names["best"]) == 4 and names["query"] not in names["best"]["id"].tolist()
    assert "1,631 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_can_be_imported(path):
    """They run too long for a test; at least what they import is there."""
    importlib.import_module(path.stem)
