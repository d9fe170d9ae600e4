import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import amulsearch as am

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Run the longest test first, so that no worker is left with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_run.py")


@pytest.fixture(scope="session")
def openclipart() -> Path:
    """The folder of the bundled cartoons."""
    return ROOT / "data" / "openclipart"


@pytest.fixture(scope="session")
def cartoons(openclipart) -> am.Collection:
    """The bundled cartoons, scanned."""
    return am.Collection.from_folder(openclipart, progress=False)


@pytest.fixture(scope="session")
def store() -> Path:
    """The store that `make notebooks` fills, so that nothing is extracted twice."""
    return Path(os.environ.get("AMULSEARCH_TEST_STORE", ROOT / "build" / "store"))


@pytest.fixture(scope="session")
def bundled_features(cartoons, store) -> am.features.FeatureSet:
    """The bundled cartoons through the four bundled networks: logits, penultimate and the layers of the preset."""
    features = {}
    for inner in dict.fromkeys(am.BEST.layers.values()):  # all layers in one pass
        names = [name for name, layers in am.BEST.layers.items() if layers == inner]
        features |= am.extract(cartoons, names, ["logits", "penultimate", *inner], store=store, progress=False)
    return am.features.FeatureSet(cartoons, features, extracted=0)


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


@pytest.fixture
def small_folder(openclipart, tmp_path) -> Path:
    """A copy of 32 cartoons: the first eight of four categories."""
    folder = tmp_path / "cartoons"
    for category in ("animals/mammals", "buildings/homes", "food/fruit", "transportation/roadsigns"):
        (folder / category).mkdir(parents=True)
        for path in sorted((openclipart / category).glob("*.webp"))[:8]:
            shutil.copy(path, folder / category)
    return folder


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
            ids = am.AnnoyIndex.open_in(store, name).ids
            found[name] = ids, {path.name: path.read_bytes() for path in sorted(saved.folder.iterdir())}
        return found

    return read


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
        if os.geteuid() != 0:
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
