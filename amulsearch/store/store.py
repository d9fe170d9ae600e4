"""A folder on disk that keeps a collection's table, its features and its indexes.

    store.json                      format version, the collection, which features are current
    features/MODEL/LAYER-KEY/       vectors and their pictures, see feature_file.py
    indexes/MODEL/LAYER.ann, .json  an Annoy index and its sidecar; for presets: preset/NAME, with .npz
    lock                            held by the process that writes

Pictures are named relative to the collection's folder, all other files relative to the store: both can be moved.
Reading writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..intake import TEXTS, Collection, plain_text
from .feature_file import FORMAT, OLDER, REMEDY, FeatureFile
from .files import PARTIAL, locked, read_json, write_json
from .identity import content_of, features_path, file_path


class Store:
    """A folder that keeps the table, features and indexes of one collection.

    `extract` takes a store and computes only the vectors that it lacks.

    Parameters
    ----------
    folder : path
        A store, an empty folder, or a folder that does not exist; it is created at the first write.

    Attributes
    ----------
    folder : Path
        The folder of the store.

    Raises
    ------
    StoreError
        If the folder is a file, holds something else, or its store.json is damaged or has another format.

    Examples
    --------
    >>> import tempfile
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     am.Store(folder).claim(birds)
    ...     store = am.Store.open(folder)
    >>> store.collection() == birds
    True
    >>> store.current()  # `extract` has not filled it yet
    {}
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file: give a folder for the store")
        self._state = self._read()

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Store:
        """Open a store that exists.

        Parameters
        ----------
        folder : path
            The folder of the store.

        Returns
        -------
        Store

        Raises
        ------
        StoreError
            If the folder is not a store, or the store is damaged or has another format.
        """
        store = cls(folder)
        if "collection" not in store._state:
            raise StoreError(f"{folder} is not a store: create one with `amulsearch index FOLDER --store {folder}`")
        return store

    def _read(self) -> dict:
        path = self.folder / "store.json"
        if path.exists():
            return read_json(path, FORMAT, REMEDY, OLDER)
        if self.folder.is_dir() and not self._own_only():
            raise StoreError(f"{self.folder} is neither a store nor empty: give another folder for the store")
        return empty_state()

    def _own_only(self) -> bool:
        """Whether the folder holds nothing but what an interrupted first run may leave."""
        return all(path.name == "lock" or path.name.endswith(PARTIAL) for path in self.folder.iterdir())

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock of the store, a context manager; reading needs no lock.

        Parameters
        ----------
        wait : bool, default True
            Wait while another process holds the lock.

        Raises
        ------
        StoreError
            If another process holds the lock and `wait` is false, or the store cannot be written to.
        """
        with locked(self.folder / "lock", wait=wait):
            self._state = self._read()  # another process may have written
            yield

    def claim(self, collection: Collection) -> None:
        """Write the table of a collection if the store has none yet; a store belongs to one collection.

        Parameters
        ----------
        collection : Collection
            Its folder may have been moved.

        Raises
        ------
        StoreError
            If the store belongs to a collection in another folder that has no picture in common with this one.
        """
        before = self._state.get("collection")
        if before is None:
            self.save_collection(collection)
        elif before["folder"] != str(collection.folder):
            known = set(zip(before["table"]["id"], before["table"]["digest"], strict=True))
            if known.isdisjoint(zip(collection.ids, collection.table["digest"], strict=True)):
                raise StoreError(
                    f"{self.folder} is the store of {before['folder']}: use another store for {collection.folder}"
                )

    def save_collection(self, collection: Collection, current: Iterable[dict] = ()) -> None:
        """Write the table of a collection in place of the previous one.

        Parameters
        ----------
        collection : Collection
            The collection.
        current : iterable of dict, optional
            Fingerprints of features that become the current ones of their model and layer.

        Raises
        ------
        StoreError
            If the store cannot be written to.
        """
        self._state["collection"] = {
            "folder": str(collection.folder),
            "table": collection.table,
            "rejected": collection.rejected,
            **{name: getattr(collection, name) for name in ("passed_over", "frame", "background", "max_pixels")},
        }
        self._state["current"] |= {f"{made_by['model']} {made_by['layer']}": made_by for made_by in current}
        write_json(self.folder / "store.json", self._state)

    def collection(self) -> Collection:
        """Return the collection as it was last saved.

        Returns
        -------
        Collection

        Raises
        ------
        StoreError
            If the table names a picture outside the collection's folder.
        """
        kept = dict(self._state["collection"])
        table = plain_text(kept.pop("table"), TEXTS)
        for id in table["id"]:
            if id.startswith("/") or "\0" in id or ".." in id.split("/"):
                raise StoreError(
                    f"{self.folder} names {id!r}, which is outside its folder of pictures: do not use this store"
                )
        rejected = plain_text(kept.pop("rejected"))
        return Collection(Path(kept.pop("folder")), table, rejected, **kept)

    def feature_file(self, fingerprint: dict) -> FeatureFile:
        """Open the rows of one fingerprint.

        Parameters
        ----------
        fingerprint : dict
            What determines the vectors: model, layer and other settings.

        Returns
        -------
        FeatureFile
            Empty if there are no rows yet.

        Raises
        ------
        StoreError
            If the files are damaged.
        """
        return FeatureFile(self.folder / features_path(fingerprint), fingerprint)

    def current(self) -> dict[tuple[str, str], dict]:
        """Return the fingerprints of the features extracted last.

        Returns
        -------
        dict of (model, layer) to dict
        """
        return {(entry["model"], entry["layer"]): entry for entry in self._state["current"].values()}

    def features(self) -> Iterator[tuple[dict, np.ndarray]]:
        """Iterate over the current features; row i belongs to `collection().ids[i]`.

        Yields
        ------
        fingerprint : dict
            What determines the vectors.
        vectors : ndarray of shape (N, D), float32
            Read-only, usually a memory map.

        Raises
        ------
        StoreError
            If the store has no features, a picture has no vector, or the files are damaged.

        See Also
        --------
        amulsearch.features.FeatureSet.open : the same features, with ids and labels.
        """
        table = self._state["collection"]["table"]
        keys = list(zip(table["id"], table["digest"], strict=True))
        if not self.current():
            raise StoreError(f"{self.folder} holds no features: index the folder again")
        for name, made_by in self.current().items():
            file = self.feature_file(made_by)
            if any(key not in file.rows for key in keys):
                raise StoreError(f"{self.folder} lacks features of {' '.join(name)}: index the folder again")
            yield made_by, file.arrange(keys)

    def content(self, model: str, layer: str) -> str:
        """Return the `Features.content` of stored features without reading them.

        Parameters
        ----------
        model, layer : str
            Names of the model and the layer.

        Returns
        -------
        str
            64 hexadecimal digits; "" if there are no such features.
        """
        made_by, table = self.current().get((model, layer)), self._state["collection"]["table"]
        return content_of(made_by, table["id"], table["digest"]) if made_by else ""

    def index_path(self, model: str, layer: str) -> Path:
        """Return the path of an Annoy index.

        Parameters
        ----------
        model, layer : str
            Names of the model and the layer; for a preset, "preset" and its name.

        Returns
        -------
        Path
            The file need not exist.
        """
        return self.folder / "indexes" / file_path({"model": model, "layer": layer}, ".ann")

    def index_paths(self) -> dict[tuple[str, str], Path]:
        """Return the paths of the existing indexes, without those of presets.

        Returns
        -------
        dict of (model, layer) to Path
            In the order in which the features were extracted.
        """
        paths = {key: self.index_path(*key) for key in self.current()}
        return {key: path for key, path in paths.items() if path.exists()}


def empty_state() -> dict:
    """Return the content of store.json for an empty store.

    Returns
    -------
    dict
    """
    return {"format": FORMAT, "current": {}}
