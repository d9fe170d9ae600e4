"""A folder on disk that keeps a collection's table, its features and its indexes.

    store.json                      format version, the collection, which features are current
    features/MODEL/LAYER-KEY/       vectors and whose they are, see feature_file.py
    indexes/MODEL/LAYER.ann, .json  an Annoy index and its sidecar; those of presets: preset/NAME, with .npz
    lock                            held by the process that writes

Pictures are named relative to the collection's folder and everything else to the store's: both can be moved. Reading
writes nothing.
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
    """The folder of one collection; made when first written to."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file: give a folder for the store")
        self._state = self._read()

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Store:
        """A store that exists; raises StoreError otherwise."""
        store = cls(folder)
        if "collection" not in store._state:
            raise StoreError(f"{folder} is not a store: make one with `amulsearch index FOLDER --store {folder}`")
        return store

    def _read(self) -> dict:
        path = self.folder / "store.json"
        if path.exists():
            return read_json(path, FORMAT, REMEDY, OLDER)
        if self.folder.is_dir() and not self._own_only():
            raise StoreError(f"{self.folder} is neither a store nor empty: give another folder for the store")
        return empty_state()

    def _own_only(self) -> bool:
        """Whether nothing is in the folder but what a first run that was cut off may leave."""
        return all(path.name == "lock" or path.name.endswith(PARTIAL) for path in self.folder.iterdir())

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """While a process is in here, others that would write to the store wait, or are told; reading needs no lock."""
        with locked(self.folder / "lock", wait=wait):
            self._state = self._read()  # another process may have written
            yield

    def claim(self, collection: Collection) -> None:
        """Keep the table of a collection where there is none yet.

        A store belongs to one collection: StoreError where it has another, no picture of which is the same.
        """
        before = self._state.get("collection")
        if before is None:
            self.save_collection(collection)
        elif before["folder"] != str(collection.folder):
            known = set(zip(before["table"]["id"], before["table"]["digest"], strict=True))
            if known.isdisjoint(zip(collection.ids, collection.table["digest"], strict=True)):
                raise StoreError(
                    f"{self.folder} is the store of {before['folder']}: give {collection.folder} one of its own"
                )

    def save_collection(self, collection: Collection, current: Iterable[dict] = ()) -> None:
        """Keep the table in place of the one before.

        current: fingerprints of the features that are from now on those of their model and layer, see `features`.
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
        """The collection as it was when last kept."""
        kept = dict(self._state["collection"])
        table = plain_text(kept.pop("table"), TEXTS)
        for id in table["id"]:
            if id.startswith("/") or "\0" in id or ".." in id.split("/"):
                raise StoreError(
                    f"{self.folder} names {id!r}, outside of its folder of pictures: do not use this store"
                )
        rejected = plain_text(kept.pop("rejected"))
        return Collection(Path(kept.pop("folder")), table, rejected, **kept)

    def feature_file(self, fingerprint: dict) -> FeatureFile:
        """The rows of one fingerprint, empty where there are none yet."""
        return FeatureFile(self.folder / features_path(fingerprint), fingerprint)

    def current(self) -> dict[tuple[str, str], dict]:
        """The fingerprints of the features last extracted: (model, layer) -> fingerprint."""
        return {(entry["model"], entry["layer"]): entry for entry in self._state["current"].values()}

    def features(self) -> Iterator[tuple[dict, np.ndarray]]:
        """The fingerprint of each of the current features and its vectors (N, D) float32, a memory map.

        Row i is the picture `collection().ids[i]`. Raises StoreError where a picture has no vector.
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
        """What `Features.content` of the collection's features is, without reading them; "" where there are none."""
        made_by, table = self.current().get((model, layer)), self._state["collection"]["table"]
        return content_of(made_by, table["id"], table["digest"]) if made_by else ""

    def index_path(self, model: str, layer: str) -> Path:
        """Where the Annoy index of a model's layer lies; those of presets have the model "preset"."""
        return self.folder / "indexes" / file_path({"model": model, "layer": layer}, ".ann")

    def index_paths(self) -> dict[tuple[str, str], Path]:
        """The indexes there are: (model, layer) -> path, in the order in which their features were extracted."""
        paths = {key: self.index_path(*key) for key in self.current()}
        return {key: path for key, path in paths.items() if path.exists()}


def empty_state() -> dict:
    """What store.json says before there is anything."""
    return {"format": FORMAT, "current": {}}
