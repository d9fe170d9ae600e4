"""Where Annoy is not installed, exact search stands in for it, and what needs Annoy says so in a sentence."""

import json
import subprocess
import sys

import numpy as np
import pytest

import amulsearch as am
from amulsearch.cli import main
from amulsearch.index import annoy_index

MODEL = "squeezenet1_1"


@pytest.fixture
def without_annoy():
    """Functions that take Annoy away, and give it back."""
    patch = pytest.MonkeyPatch()

    def take():
        patch.setitem(sys.modules, "annoy", None)
        annoy_index._annoy.cache_clear()

    yield take, patch.undo
    patch.undo()


def test_index_query_and_evaluate(without_annoy, small_folder, tmp_path, capsys):
    pytest.importorskip("annoy")
    take, give = without_annoy
    folder, store = str(small_folder), ["--store", str(tmp_path / "store")]
    index = ["index", folder, *store, "--models", MODEL, "--layers", "penultimate"]
    query = ["query", am.Collection.from_folder(folder, progress=False).ids[0], *store, "-k", "31", "--json"]

    def run(*arguments):
        status = main(list(arguments))
        return status, *capsys.readouterr()

    take()
    status, out, _ = run(*index)
    assert status == 0 and "1 of 1 indexes built for exact search, as annoy is not installed" in out
    status, out, _ = run(*query)
    found = json.loads(out)["results"]
    assert status == 0 and len({one["id"] for one in found}) == 31
    vectors = am.features.FeatureSet.open(store[1])[MODEL, "penultimate"].vectors
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert [one["distance"] for one in found] == pytest.approx(np.sort(np.sqrt(2 - 2 * units[1:] @ units[0])), abs=1e-3)
    assert run("evaluate", *store)[0] == run("check", *store)[0] == 0
    assert "0 of 1 indexes built" in run(*index)[1]

    give()  # what was indexed for exact search is queried so, until it is indexed again
    assert json.loads(run(*query)[1])["results"] == found and run("check", *store)[0] == 0
    assert "1 of 1 indexes built with Annoy" in run(*index)[1]
    ranked = [one["id"] for one in json.loads(run(*query)[1])["results"]]
    assert ranked == [one["id"] for one in found]

    take()  # a store of another machine
    status, out, error = run(*query)
    assert status == 2 and not out and len(error.splitlines()) == 1
    assert "index.ann was built with Annoy: annoy is not installed: pip install annoy" in error
    assert run("check", *store)[0] == 0 and "1 of 1 indexes built for exact search" in run(*index)[1]
    assert json.loads(run(*query)[1])["results"][0]["id"] == ranked[0]


def test_what_needs_annoy_says_what_to_install_and_what_to_use(without_annoy, vectors, ids):
    without_annoy[0]()
    with pytest.raises(am.errors.AmulsearchError, match=r"pip install annoy.* C\+\+ compiler.*ExactIndex.*FaissIndex"):
        am.AnnoyIndex.build(vectors, ids)
    assert am.indexes.default_kind() is am.ExactIndex


def test_the_library_is_imported_without_annoy():
    code = "import sys; sys.modules['annoy'] = None; import amulsearch as am; print(am.AnnoyIndex.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "AnnoyIndex\n"
