"""How an index, or another system with data of its own, is saved and opened: in a folder of its own or in a store."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ..errors import AmulsearchError, StoreError
from ..features import PCA, open_fitted, write_fitted
from ..models import Model
from ..store import AGAIN, Store
from .probability import Calibration
from .system import System

ALONE = "index"
"""The name of a system that was saved by itself, in a store of names only."""


class Persistent(System):
    """A system that can be saved. A subclass has `_write`, which writes a file, and `_read`, which reads it.

    `fingerprint` says what made the vectors, and is empty for vectors of your own; `width` is their length D.
    """

    ending: ClassVar[str]
    """Of the name of the file."""
    settings: ClassVar[tuple[str, ...]] = ("width", "fingerprint")
    """The attributes that are saved beside the file."""
    fingerprint: Mapping
    width: int
    digests: list[str]
    makers: tuple

    def __repr__(self) -> str:
        made_of = f"{self.fingerprint['model']} {self.fingerprint['layer']}" if self.fingerprint else "own vectors"
        return f"{type(self).__name__}({made_of}: {len(self):,} x {self.width})"

    @property
    def title(self) -> tuple[object, object]:
        return self.fingerprint.get("model"), self.fingerprint.get("layer")

    def save(self, path: str | os.PathLike) -> Path:
        """Write the system to a folder of its own, with its ids, its labels and what made it: a new one, or that of an
        index, which is replaced. StoreError if it cannot be written; an index that was there is then kept."""
        store = Store(path)
        new = not store.folder.exists()
        try:
            with store.lock():
                with store.database.transaction():
                    self._save_in(store, ALONE, store.name_only(self.ids, self.labels))
                store.tidy()
        except BaseException:
            if new:
                shutil.rmtree(store.folder, ignore_errors=True)
            raise
        return store.folder

    def save_in(self, store: Store, name: str) -> None:
        """Save the system in the store that holds its pictures, in place of an earlier one of this name."""
        with store.lock():
            self._save_in(store, name, store.find(self.ids, self.digests))
            store.tidy()

    def _save_in(self, store: Store, name: str, numbers: np.ndarray) -> None:
        about = {setting: getattr(self, setting) for setting in self.settings}
        about |= {"kind": type(self).__name__, "revision": store.revision}
        about["calibration"] = self.calibration and asdict(self.calibration)

        def write(folder: Path) -> None:
            self._write(folder / f"index{self.ending}")
            about["fitted"] = write_fitted(folder, [maker for maker in self.makers if isinstance(maker, PCA)])

        store.indexes.save(name, about, numbers, write)

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> Self:
        """Open a system that was saved in a folder of its own; StoreError if it is damaged, or another class saved it.

        model: the record of your own network, for queries by new pictures.
        """
        return cls.open_in(Store(path), ALONE, model)

    @classmethod
    def open_in(cls, store: Store, name: str, model: Model | None = None) -> Self:
        """Open what `save_in` saved; otherwise as `open`."""
        saved = store.indexes.open(name)
        about, path = saved.about, saved.folder / f"index{cls.ending}"
        if about.get("kind") != cls.__name__:
            raise StoreError(f"{saved.folder} was saved by {about.get('kind')}: open it with that class")
        system = cls.__new__(cls)
        try:
            for setting in cls.settings:
                setattr(system, setting, about[setting])
            if "metric" in cls.settings and system.metric not in cls.metrics:
                raise StoreError(f"{saved.folder} has the metric {system.metric!r}, which is not known: {AGAIN}")
            if about["calibration"]:
                system.calibration = Calibration(**about["calibration"])
            system.pictures, system.digests = saved, []
            fitted = open_fitted(saved.folder, about["fitted"])
            system.makers = (*([model] if model else []), *fitted)
            shape = system._read(path)
        except AmulsearchError:
            raise
        except Exception as error:  # each library raises its own for a damaged file
            raise StoreError(f"{path} is damaged ({error}): {AGAIN}") from None
        if shape != (len(system), system.width):
            raise StoreError(f"{path} holds other vectors than its description says: {AGAIN}")
        return system

    def _write(self, path: Path) -> None:
        raise NotImplementedError

    def _read(self, path: Path) -> tuple[int, int]:
        """Read what `_write` wrote; the number of vectors and their width."""
        raise NotImplementedError
