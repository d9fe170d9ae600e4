"""What the command line says it did is what it did, wherever its output goes; files that are gone or have changed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tqdm
from PIL import Image

import amulsearch as am

ONE = ["--models", "squeezenet1_1", "--layers", "penultimate"]


@pytest.fixture
def pictures(tmp_path, openclipart):
    """Six small pictures in two folders."""
    for place, source in enumerate(sorted((openclipart / "animals/birds").iterdir())[:6]):
        path = tmp_path / "pictures" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).resize((64, 64)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def indexed(pictures, tmp_path, run):
    run("index", pictures, "--store", tmp_path / "store", *ONE)
    return pictures, tmp_path / "store"


def test_a_replaced_file_answers_for_the_new_picture_and_one_that_is_gone_is_marked(indexed, tmp_path, run):
    folder, store = indexed
    shutil.copy(folder / "b/1.png", folder / "a/2.png")
    (folder / "a/4.png").unlink()
    query = ["query", "a/0.png", "--store", store, "-k", "5"]
    for asked in ("a/2.png", folder / "a/2.png"):
        told = run("query", asked, "--store", store, "--json")
        assert "a/2.png has changed since it was indexed" in told.err
        first = json.loads(told.out)["results"][0]
        assert first["id"] == "b/1.png" and first["distance"] == pytest.approx(0, abs=1e-3)
    states = {"a/2.png": "changed since it was indexed", "a/4.png": "missing"}
    entries = json.loads(run(*query, "--json").out)["results"]
    assert {one["id"]: one["state"] for one in entries if "state" in one} == states
    lines = run(*query).out.splitlines()
    for id in ("a/2.png", "a/4.png", "b/1.png"):
        (line,) = [line for line in lines if line.endswith(id)]
        assert re.search(r"\.\d{3}  (.*?) +/", line)[1].strip() == states.get(id, "")
    told = run(*query, "--grid", tmp_path / "grid.png", "--copy-to", tmp_path / "out")
    assert "3 of 5 results are in" in told.err and "a/4.png cannot be read" in told.err and "a/2.png has ch" in told.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.png", "3.png", "5.png"]
    assert (np.asarray(Image.open(tmp_path / "grid.png").convert("L")) < 50).any()
    assert "is missing: this is the answer for the picture that was" in run("query", "a/4.png", *query[2:4]).err


def test_a_moved_folder_is_found_again_without_computing(indexed, run):
    folder, store = indexed
    before = run("query", "a/0.png", "--store", store, "--json").out
    moved = folder.rename(folder.with_name("moved here"))
    told = run("query", "a/0.png", "--store", store)
    (command,) = re.findall(r"if it was moved, run `(.*NEW_FOLDER.*)`", told.err)
    arguments = [str(moved) if word == "NEW_FOLDER" else word for word in shlex.split(command)[1:]]
    assert "6 pictures, 0 rejected, 0 extracted, 0 of 1 indexes built" in run(*arguments).out
    after = run("query", "a/0.png", "--store", store, "--json").out
    assert after == before.replace(str(folder), str(moved))


def test_what_is_written_into_the_folder_is_no_picture_of_the_next_scan(pictures, run, monkeypatch):
    monkeypatch.chdir(pictures)
    index = ["index", ".", "--store", "store", *ONE]
    run(*index)
    told = run("query", "a/0.png", "--store", "store", "--grid", "grid.png", "--copy-to", "found", "-k", "3")
    assert told.out == "grid.png\n" and "3 of 3 results are in found" in told.err
    Image.new("RGB", (9, 9)).save("store/picture.png")
    collection = am.Collection.from_folder(".")
    own = am.ExactIndex.build(am.extract(collection, "squeezenet1_1", "penultimate")["squeezenet1_1", "penultimate"])
    am.views.Page("title").answers(collection, {"own": own}).save("page.html")
    again = am.Collection.from_folder(".")
    assert again.ids == collection.ids and len(again) == 6
    assert again.passed_over["written by amulsearch"] == 4 and again.passed_over["store of amulsearch"] == 1
    Image.new("RGB", (9, 9)).save("grid.png")  # a person's own, under the old name
    assert "7 pictures, 0 rejected, 1 extracted" in run(*index).out


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_pictures_have_as_many_neighbours_as_there_are(count, pictures, tmp_path, run):
    for id in am.Collection.from_folder(pictures).ids[count:]:
        (pictures / id).unlink()
    said = run("index", pictures, "--store", tmp_path / "store", *ONE).out.splitlines()[-1]
    query = shlex.split(said.removeprefix("Next: "))[1:] if count > 1 else ["query", "a/0.png"]
    query = [*query[:2], "--store", str(tmp_path / "store")]
    if count == 1:
        assert said.startswith("one picture has no neighbours")
        assert run(*query, status=2).err.count("\n") == 1
    else:
        assert len(json.loads(run(*query, "--json").out)["results"]) == min(4, count - 1)
    run("evaluate", *query[2:], status=0 if count > 1 else 2)
    Image.new("RGB", (9, 9)).save(tmp_path / "new.png")
    query[1] = str(tmp_path / "new.png")
    assert len(json.loads(run(*query, "--json").out)["results"]) == min(4, count)


def test_a_network_that_was_not_indexed_again_is_left_out_of_the_suggested_query(indexed, run):
    folder, store = indexed
    other = ["--models", "tf_efficientnet_lite0", *ONE[2:]]
    run("index", folder, "--store", store, *other)
    (folder / "a/0.png").unlink()
    said = run("index", folder, "--store", store, *ONE).out.splitlines()[-1]
    with pytest.warns(UserWarning, match="tf_efficientnet_lite0 is left out: the collection has changed"):
        told = run(*shlex.split(said.removeprefix("Next: "))[1:])
    assert told.out.startswith("squeezenet1_1: ")
    told = run("query", "b/1.png", "--store", store, *other[:2], status=2)
    (command,) = re.findall(r"run `(amulsearch .*)`", told.err)
    assert "1 of 1 indexes built" in run(*shlex.split(command)[1:]).out


def test_no_bar_of_progress_in_a_log(pictures, tmp_path, run, monkeypatch):
    shown = tqdm.std.tqdm.__init__
    at_once = lambda self, *args, **options: shown(self, *args, **{**options, "delay": 0})  # noqa: E731
    monkeypatch.setattr(tqdm.std.tqdm, "__init__", at_once)
    told = run("index", pictures, "--store", tmp_path / "store", *ONE)
    assert [line.partition(" ")[0] for line in told.err.splitlines()] == ["scanning", "6"]
    assert run("evaluate", "--store", tmp_path / "store").err == ""
    assert run("check", "--store", tmp_path / "store").err == ""


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_streams_that_are_closed(closed):
    command = [sys.executable, "-m", "amulsearch", "models"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, **streams, preexec_fn=lambda: [os.close(number) for number in closed], check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (1 not in closed)


def test_a_user_without_an_account_and_a_home(pictures, tmp_path):
    """As in a container that is started as another user, who can read everything here (CAP_DAC_OVERRIDE)."""
    if not shutil.which("setpriv") or os.geteuid() != 0:
        pytest.skip("only root can become a user without an account")
    become = ["setpriv", "--reuid=54321", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    command = [*become, sys.executable, "-m", "amulsearch", "index", pictures, "--store", tmp_path / "store", *ONE]
    homes = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME")
    known = {name: value for name, value in os.environ.items() if name not in homes}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    assert done.returncode == 0 and "6 pictures, 0 rejected" in done.stdout, done.stderr


def test_a_reader_that_has_ended():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "amulsearch", "--version"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
