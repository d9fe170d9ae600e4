import hashlib
import http.server
import os
import pickle
import re
import shutil
import tempfile
import threading
import tomllib
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import amulsearch as am
from amulsearch.cli import main
from amulsearch.errors import MissingPackageError

os.environ.pop("AMULSEARCH_WEIGHTS", None)  # the tests have folders of their own

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OPTIONAL = {re.match(r"[\w-]+", item)[0] for extra in EXTRAS.values() for item in extra} | {"amulsearch"}
"""The packages of the extras; a message may also name an extra itself, as amulsearch[text]."""


def pytest_collection_modifyitems(items):
    """Mark the tests of the course, and run the longest test first, so that no worker is left with it at the end."""
    for item in items:
        if "course_store" in item.fixturenames:
            item.add_marker("course")
    items.sort(key=lambda item: item.path.name != "test_run.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Skip a test that needs a package of an extra which is not installed, such as Annoy without a compiler."""
    try:
        return (yield)
    except MissingPackageError as error:
        if re.search(r"pip install '?([\w-]+)", str(error))[1] not in OPTIONAL:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def openclipart() -> Path:
    """The folder of the bundled cartoons."""
    return ROOT / "data" / "openclipart"


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that the processes of one run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cartoons(openclipart, shared) -> am.Collection:
    """160 of the bundled cartoons, in a folder of their own: of each of the 16 largest labels, every third of 30."""
    folder, labels = shared / "cartoons", defaultdict(list)
    for path in sorted(openclipart.rglob("*.webp")):
        labels[path.parent].append(path)
    with FileLock(f"{folder}.lock"):
        for paths in () if folder.exists() else sorted(labels.values(), key=len)[-16:]:
            target = folder / paths[0].parent.relative_to(openclipart)
            target.mkdir(parents=True, exist_ok=True)
            for path in paths[:30:3]:
                shutil.copy(path, target)
    return am.Collection.from_folder(folder, progress=False)


@pytest.fixture(scope="session")
def store(shared) -> Path:
    """The store of `cartoons`: what one process has extracted, the others take."""
    return shared / "store"


@pytest.fixture(scope="session")
def bundled_features(cartoons, store) -> am.features.FeatureSet:
    """`cartoons` through the four bundled networks."""
    return of_the_preset(cartoons, store)


@pytest.fixture(scope="session")
def preset(cartoons, bundled_features, store) -> am.Diffusion:
    """The index of the preset over `cartoons`."""
    return am.systems.SAME_KIND.build(cartoons, store=store, progress=False)


@pytest.fixture(scope="session")
def all_cartoons(openclipart) -> am.Collection:
    """All bundled cartoons."""
    return am.Collection.from_folder(openclipart, progress=False)


@pytest.fixture(scope="session")
def all_with_keywords(openclipart):
    """All bundled cartoons, with the keywords of their table."""
    return am.Collection.from_folder(openclipart, keywords=openclipart.parent / "openclipart.csv", progress=False)


@pytest.fixture(scope="session")
def course_store() -> Path:
    """The store that `make notebooks` fills. Tests that use it are those of the course."""
    return Path(os.environ.get("AMULSEARCH_TEST_STORE", ROOT / "build" / "store"))


@pytest.fixture(scope="session")
def all_features(all_cartoons, course_store) -> am.features.FeatureSet:
    """All bundled cartoons through the four bundled networks."""
    return of_the_preset(all_cartoons, course_store)


@pytest.fixture(scope="session")
def all_preset(all_cartoons, all_features, course_store) -> am.Diffusion:
    """The index of the preset over all bundled cartoons."""
    return am.systems.SAME_KIND.build(all_cartoons, store=course_store, progress=False)


def of_the_preset(collection, store) -> am.features.FeatureSet:
    """Logits, penultimate and the layers of the preset: all layers of a network in one pass."""
    features = {}
    for inner in dict.fromkeys(am.systems.SAME_KIND.layers.values()):
        names = [name for name, layers in am.systems.SAME_KIND.layers.items() if layers == inner]
        features |= am.extract(collection, names, ["logits", "penultimate", *inner], store=store, progress=False)
    return am.features.FeatureSet(collection, features, extracted=0)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """600 random vectors of 24 dimensions."""
    return np.random.default_rng(1).standard_normal((600, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def ids(vectors) -> list[str]:
    """An id for each of `vectors`."""
    return [f"folder/{row:04}.png" for row in range(len(vectors))]


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """Three photographs that come with scikit-image."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {"cat": folder / "chelsea.png", "coffee": folder / "coffee.png", "rocket": folder / "rocket.jpg"}


@pytest.fixture(scope="session")
def copied(openclipart):
    """`copied(folder, categories, count)`: a folder with copies of the first cartoons of some categories."""

    def copy(folder: Path, categories, count: int) -> Path:
        for category in categories:
            (folder / category).mkdir(parents=True)
            for path in sorted((openclipart / category).glob("*.webp"))[:count]:
                shutil.copy(path, folder / category)
        return folder

    return copy


@pytest.fixture(scope="session")
def in_hub_cache():
    """`in_hub_cache(folder, weights)`: where the hub's client keeps the file of these weights; its folder is made."""

    def path(folder: Path, weights) -> Path:
        place = folder / weights.file
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text("1")
        (place / "snapshots" / "1").mkdir(parents=True, exist_ok=True)
        return place / "snapshots" / "1" / weights.name

    return path


@pytest.fixture
def small_folder(copied, tmp_path) -> Path:
    """A copy of 32 cartoons: the first eight of four categories."""
    categories = ("animals/mammals", "buildings/homes", "food/fruit", "transportation/roadsigns")
    return copied(tmp_path / "cartoons", categories, 8)


@pytest.fixture
def run(capsys):
    """`run("index", folder, ..., status=0)`: what a command prints (`out`), and its messages (`err`)."""

    def run(*arguments, status: int = 0):
        capsys.readouterr()
        try:
            ended = main([*map(str, arguments)])
        except SystemExit as stopped:  # errors of usage
            ended = stopped.code
        assert ended == status
        return capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def contents():
    """A function from the folder of a store to all that it holds: the table, vectors by id, indexes by name."""

    def read(folder: Path) -> dict:
        store = am.Store.open(folder)
        collection = store.collection()
        found = {"table": collection.table.to_dict("list"), "rejected": collection.rejected.to_dict("list")}
        for made_by, vectors in store.features():
            found[made_by["model"], made_by["layer"]] = made_by, np.array(vectors).tobytes()
        for name in store.indexes.names():
            saved = store.indexes.open(name)
            files = {path.name: path.read_bytes() for path in sorted(saved.folder.iterdir())}
            del files["pictures.i64"]  # the numbers of the ids depend on which pictures came first
            found[name] = am.systems.open_system(store, name).ids, files
        return found

    return read


@pytest.fixture
def malicious(tmp_path):
    """An object whose pickle makes a folder when loaded unsafely, and a function that tells whether it did."""
    mark = tmp_path / "it ran"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    def ran() -> bool:
        there = mark.exists()
        if there:
            mark.rmdir()
        return there

    pickle.loads(pickle.dumps(Payload()))
    assert ran()  # the payload works
    return Payload(), ran


@pytest.fixture
def open_folder():
    """A new folder that other users can access, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def without_root():
    """A context in which this process does not act as root; no change if it does not run as root."""

    @contextmanager
    def context():
        if os.name == "nt" or os.geteuid() != 0:
            yield
            return
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("root cannot lay down its rights here, and root reads everything")
        try:
            yield
        finally:
            os.seteuid(0)

    return context


class Server:
    """Files on 127.0.0.1: path -> bytes. Half of a path in `cut` is sent, once; one in `spoiled` is damaged once."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.spoiled: set[str] = set()
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.partition("?")[0]
                server.asked.append(f"{self.command} {path}")
                if path not in server.files:
                    self.send_error(404)
                    return
                data = server.files[path]
                sha = hashlib.sha256(data).hexdigest()
                self.send_response(200)
                # The length, and the headers of the Hugging Face hub.
                headers = {"Content-Length": len(data), "X-Linked-Size": len(data), "X-Repo-Commit": "0123456789" * 4}
                for name, value in {**headers, "ETag": f'"{sha}"', "X-Linked-ETag": f'"{sha}"'}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if path in server.spoiled:
                    server.spoiled.remove(path)
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if path in server.cut:
                    server.cut.remove(path)
                    data = data[: len(data) // 2]
                self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def local_hub(server, monkeypatch, tmp_path) -> dict[str, str]:
    """The client of the Hugging Face hub asks the local server, and all caches are empty. Returns what another process
    needs in its environment for the same."""
    from huggingface_hub import constants

    told = {"TORCH_HOME": str(tmp_path / "torch"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "no_proxy": "127.0.0.1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return told | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
