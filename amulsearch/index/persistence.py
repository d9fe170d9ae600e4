"""How an index, or another system with data of its own, is saved and opened: in a folder of its own or in a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ..errors import AmulsearchError, StoreError, check_path
from ..features import PCA, open_fitted, write_fitted
from ..models import Model
from ..store import AGAIN, Store
from .probability import Calibration
from .system import System

ALONE = "index"
"""The name of a system that was saved by itself, in a store of names only."""


class Persistent(System):
    """A system that can be saved. A subclass names its `settings` and the `ending` of its file, and has `_write`,
    which writes a file, and `_read`, which reads it.

    Attributes
    ----------
    fingerprint : dict
        What made the vectors (model, layer, preprocessing, ...); empty for vectors of your own.
    """

    ending: ClassVar[str]
    settings: ClassVar[tuple[str, ...]]
    described: ClassVar[tuple[str, ...]] = ("width", "fingerprint")
    """The attributes that are saved beside the file, with the settings."""
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
        """Write the system to a folder of its own, with its ids, its labels and what made it.

        Parameters
        ----------
        path : path
            The folder: a new one, or that of an index, which is replaced.

        Returns
        -------
        Path
            The folder, for `open`.

        Raises
        ------
        StoreError
            If the path is something else, or the files cannot be written; an index that was there is kept.
        """
        return self._save(path, self._write)

    def _save(self, path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
        store = Store(path)
        new = not store.folder.exists()
        try:
            with store.lock():
                with store.database.transaction():
                    self._save_in(store, ALONE, store.name_only(self.ids, self.labels), write)
                store.indexes.tidy()
        except BaseException:
            if new:
                shutil.rmtree(store.folder, ignore_errors=True)
            raise
        return store.folder

    def save_in(self, store: Store, name: str) -> None:
        """Save the system in the store of its collection, in place of an earlier one of this name.

        Parameters
        ----------
        store : Store
            That holds the pictures.
        name : str

        Raises
        ------
        StoreError
            If the store does not hold the pictures, or cannot be written to.
        """
        with store.lock():
            self._save_in(store, name, store.find(self.ids, self.digests), self._write)
            store.indexes.tidy()

    def _save_in(self, store: Store, name: str, rows: np.ndarray, write: Callable[[Path], None]) -> None:
        about = {**self._about(), "revision": store.revision}

        def write_all(folder: Path) -> None:
            write(folder / f"index{self.ending}")
            about["fitted"] = write_fitted(folder, [maker for maker in self.makers if isinstance(maker, PCA)])

        store.indexes.save(name, about, rows, write_all)

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> Self:
        """Open a saved system.

        Parameters
        ----------
        path : path
            As given to `save`.
        model : Model, optional
            The record of your own network, for queries by new pictures.

        Returns
        -------
        Index or Diffusion
            Of the class on which `open` was called.

        Raises
        ------
        StoreError
            If there is no index, it is damaged, or another class saved it.
        """
        if not (folder := check_path(path)).is_dir():
            what = "no folder of an index" if folder.exists() else "nothing there"
            raise StoreError(f"there is no index {path} ({what}): build one and save it there")
        return cls.open_in(Store(path), ALONE, model)

    @classmethod
    def open_in(cls, store: Store, name: str, model: Model | None = None) -> Self:
        """Open what `save_in` saved.

        Parameters
        ----------
        store : Store
        name : str
        model : Model, optional
            The record of your own network, for queries by new pictures.

        Returns
        -------
        Index or Diffusion
            Of the class on which it was called.

        Raises
        ------
        StoreError
            If there is no index of this name, it is damaged, or another class saved it.
        """
        saved = store.indexes.open(name)
        about, path = saved.about, saved.folder / f"index{cls.ending}"
        if about.get("kind") != cls.__name__:
            raise StoreError(f"{saved.folder} was saved by {about.get('kind')}: open it with that class")
        system = cls.__new__(cls)
        try:
            for setting in (*cls.described, *cls.settings):
                setattr(system, setting, about[setting])
            if about.get("calibration"):
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

    def _about(self) -> dict:
        """What is saved beside the file, as plain values."""
        return {
            **{name: getattr(self, name) for name in (*self.described, *self.settings)},
            "kind": type(self).__name__,
            "calibration": self.calibration.plain() if self.calibration else None,
        }
