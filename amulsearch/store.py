"""A folder on disk that keeps a collection's table, its features and its indexes.

    store.json                              format version, the collection, which features are current
    features/MODEL/LAYER-KEY/meta.json      fingerprint, width, number of the generation
                             vectors-N.f32  float32, one row a picture, without a header
                             rows-N.jsonl   [id, digest] of each row
    indexes/MODEL/LAYER.ann, .json          an Annoy index and its sidecar; those of presets: preset/NAME, with .npz

Rows are only ever appended to a generation; a new order is a new generation, made current by replacing meta.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from .collection import Collection, plain_text
from .errors import StoreError
from .features import Features

FORMAT = 2
Key = tuple[str, str]  # (id, digest of the file)


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
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise StoreError(f"{self.folder} is neither a store nor empty: give another folder for the store")
            return {"format": FORMAT, "current": {}}
        state = read_json(path)
        if state.get("format") != FORMAT:
            raise StoreError(
                f"{path} has format {state.get('format')}, and this amulsearch reads {FORMAT}: "
                "update amulsearch, or make the store anew in another folder"
            )
        return state

    def _write(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the store {self.folder} cannot be made: {error.strerror}") from None
        write_json(self.folder / "store.json", self._state)

    def save_collection(self, collection: Collection, current: Iterable[dict] = ()) -> None:
        """Keep the table. A store belongs to one collection: refused where no picture is the same as before.

        current: fingerprints of the features that are from now on those of their model and layer, see `features`.
        """
        before = self._state.get("collection")
        if before and before["folder"] != str(collection.folder):
            known = set(zip(before["table"]["id"], before["table"]["digest"], strict=True))
            if known.isdisjoint(zip(collection.ids, collection.table["digest"], strict=True)):
                raise StoreError(
                    f"{self.folder} is the store of {before['folder']}: give {collection.folder} one of its own"
                )
        self._state["collection"] = {
            "folder": str(collection.folder),
            "table": collection.table.to_dict("list"),
            "rejected": collection.rejected.to_dict("list"),
            **{name: getattr(collection, name) for name in ("passed_over", "frame", "background", "max_pixels")},
        }
        self._state["current"] |= {f"{made_by['model']} {made_by['layer']}": made_by for made_by in current}
        self._write()

    def collection(self) -> Collection:
        """The collection as it was when last kept."""
        kept = dict(self._state["collection"])
        table = plain_text(pd.DataFrame(kept.pop("table")), ["id", "label", "format", "digest"])
        rejected = plain_text(pd.DataFrame(kept.pop("rejected")))
        return Collection(Path(kept.pop("folder")), table, rejected, **kept)

    def feature_file(self, fingerprint: dict) -> FeatureFile:
        """The rows of one fingerprint, empty where there are none yet."""
        return FeatureFile(self.folder / "features" / _names(fingerprint, "-" + key_of(fingerprint)), fingerprint)

    def current(self) -> dict[tuple[str, str], dict]:
        """The fingerprints of the features last extracted: (model, layer) -> fingerprint."""
        return {(entry["model"], entry["layer"]): entry for entry in self._state["current"].values()}

    def features(self) -> dict[tuple[str, str], Features]:
        """The features of the collection as last extracted: (model, layer) -> Features, memory maps."""
        collection = self.collection()
        digests = collection.table["digest"].tolist()
        keys = list(zip(collection.ids, digests, strict=True))
        found = {}
        for name, made_by in self.current().items():
            file = self.feature_file(made_by)
            if any(key not in file.rows for key in keys):
                raise StoreError(f"{self.folder} lacks features of {' '.join(name)}: index the folder again")
            found[name] = Features(file.arrange(keys), collection.ids, collection.labels, made_by, digests)
        if not found:
            raise StoreError(f"{self.folder} holds no features: index the folder again")
        return found

    def index_path(self, model: str, layer: str) -> Path:
        """Where the Annoy index of a model's layer lies; those of presets have the model "preset"."""
        return self.folder / "indexes" / _names({"model": model, "layer": layer}, ".ann")

    def index_paths(self) -> dict[tuple[str, str], Path]:
        """The indexes there are: (model, layer) -> path, in the order in which their features were extracted."""
        paths = {key: self.index_path(*key) for key in self.current()}
        return {key: path for key, path in paths.items() if path.exists()}


class FeatureFile:
    """Vectors of one fingerprint on disk, each row with the id and the digest of its picture."""

    def __init__(self, folder: Path, fingerprint: dict):
        self.folder = folder
        self.meta = {"fingerprint": fingerprint, "width": None, "generation": 1}
        self.rows: dict[Key, int] = {}
        self._pending: list[tuple[list[Key], np.ndarray]] = []
        self._flushed = time.monotonic()
        if (folder / "meta.json").exists():
            self.meta = read_json(folder / "meta.json")
            if self.meta["fingerprint"] != fingerprint:
                raise StoreError(f"{folder} holds other features than its name says: delete that folder")
            self._recover()

    @property
    def vectors_path(self) -> Path:
        return self.folder / f"vectors-{self.meta['generation']}.f32"

    @property
    def rows_path(self) -> Path:
        return self.folder / f"rows-{self.meta['generation']}.jsonl"

    def _recover(self) -> None:
        """Read the rows, and cut off what an interrupted run left half-written."""
        if not self.vectors_path.exists() or not self.rows_path.exists():
            return
        lines = self.rows_path.read_bytes().split(b"\n")[:-1]  # what follows the last line end is incomplete
        width = 4 * self.meta["width"]
        count = min(len(lines), self.vectors_path.stat().st_size // width)
        self.rows = {tuple(json.loads(line)): row for row, line in enumerate(lines[:count])}
        wanted = {
            self.vectors_path: count * width,
            self.rows_path: sum(len(line) + 1 for line in lines[:count]),
        }
        for path, size in wanted.items():
            if path.stat().st_size != size:
                os.truncate(path, size)

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        """Add rows (B, D) float32; written to disk together every few seconds, and by `flush`."""
        self._pending.append((keys, np.ascontiguousarray(vectors, dtype=np.float32)))
        if time.monotonic() - self._flushed > 5:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting: first the vectors, then the rows that name them, so that a row is never without."""
        self._flushed = time.monotonic()
        if not self._pending:
            return
        keys = [key for batch, _ in self._pending for key in batch]
        vectors = np.concatenate([batch for _, batch in self._pending])
        self._pending.clear()
        try:
            if self.meta["width"] is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.meta["width"] = vectors.shape[1]
                write_json(self.folder / "meta.json", self.meta)
            _append(self.vectors_path, vectors.tobytes())
            _append(self.rows_path, "".join(json.dumps(key) + "\n" for key in keys).encode())
        except OSError as error:
            raise StoreError(f"features cannot be written to {self.folder}: {error.strerror}") from None
        first = len(self.rows)
        self.rows.update({key: first + place for place, key in enumerate(keys)})

    def arrange(self, keys: list[Key]) -> np.ndarray:
        """The vectors of these pictures, (N, D) float32, a read-only memory map in this order and nothing else."""
        order = [self.rows[key] for key in keys]
        total = self.vectors_path.stat().st_size // (4 * self.meta["width"])
        if order != list(range(total)):
            self._rewrite(keys, order, total)
        return np.memmap(self.vectors_path, np.float32, "r", shape=(len(keys), self.meta["width"]))

    def _rewrite(self, keys: list[Key], order: list[int], total: int) -> None:
        old = (self.vectors_path, self.rows_path)
        vectors = np.memmap(old[0], np.float32, "r", shape=(total, self.meta["width"]))
        self.meta = {**self.meta, "generation": self.meta["generation"] + 1}
        for path in (self.vectors_path, self.rows_path):
            path.unlink(missing_ok=True)  # of a rewrite that did not end
        try:
            for start in range(0, len(order), 4096):
                _append(self.vectors_path, vectors[order[start : start + 4096]].tobytes())
            _append(self.rows_path, "".join(json.dumps(key) + "\n" for key in keys).encode())
            write_json(self.folder / "meta.json", self.meta)
        except OSError as error:
            raise StoreError(f"features cannot be written to {self.folder}: {error.strerror}") from None
        self.rows = {key: row for row, key in enumerate(keys)}
        for path in old:
            path.unlink(missing_ok=True)


class MemoryRows:
    """What `FeatureFile` does, without a disk."""

    def __init__(self) -> None:
        self.rows: dict[Key, int] = {}
        self._batches: list[np.ndarray] = []

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        self._batches.append(np.array(vectors, dtype=np.float32))
        first = len(self.rows)
        self.rows.update({key: first + place for place, key in enumerate(keys)})

    def flush(self) -> None:
        pass

    def arrange(self, keys: list[Key]) -> np.ndarray:
        return np.concatenate(self._batches)[[self.rows[key] for key in keys]]


def key_of(fingerprint: dict) -> str:
    """A short name for a fingerprint: the start of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]


def _names(fingerprint: dict, ending: str) -> Path:
    """MODEL/LAYER + ending; model names can hold slashes, and layers colons, which are written as %2F and %3A."""
    return Path(quote(fingerprint["model"], safe="")) / (quote(fingerprint["layer"], safe="") + ending)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> dict:
    """The content of a JSON file; StoreError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: the store is incomplete, index the folder again") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}): delete it and index the folder again") from None


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, ensure_ascii=False))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
