"""Verify a store on disk: every digest, every row, and every index against exact search."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import AmulsearchError, OtherFormatError, StoreError
from ..features import Features
from ..store import (
    PARTIAL,
    FeatureFile,
    Store,
    empty_state,
    feature_file,
    features_path,
    locked,
    open_sidecar,
    sidecar,
    write_json,
)
from .annoy_index import AnnoyIndex

QUERIES = 5
"""How many pictures are searched both in an index and exactly."""


def check_store(store: str | os.PathLike | Store, *, repair: bool = False, progress: bool = True) -> pd.DataFrame:
    """Verify a store on disk, and optionally repair it.

    All files are read. The check covers the digests of files, the checksum of every row, missing and duplicate rows,
    whether each index was built from the features beside it, and whether it finds what exact search finds.

    Parameters
    ----------
    store : path or Store
    repair : bool, default False
        Delete damaged and leftover files, keep every intact row, and rebuild the indexes of complete features.
        `amulsearch index` then computes what is missing.
    progress : bool, default True

    Returns
    -------
    DataFrame
        Columns part, finding, remedy; one row per problem, none if the store is intact. After a repair, the remedy
        says what was done.

    Raises
    ------
    StoreError
        If there is no store, if another process is writing to it, or if it has another format.
    """
    folder = Path(store.folder if isinstance(store, Store) else store).expanduser()
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a store: there is no such folder")
    _refuse_other_folders(folder)
    writable = os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    with locked(folder / "lock", wait=False) if writable or repair else nullcontext():
        return _Check(folder, repair, progress)()


class _Check:
    def __init__(self, folder: Path, repair: bool, progress: bool):
        self.folder, self.repair, self.progress = folder, repair, progress
        self.findings: list[tuple[str, str, str]] = []
        self.index_again = f"run `amulsearch index FOLDER --store {folder}`"
        self.repair_it = f"run `amulsearch check --store {folder} --repair`"
        self.files: dict[Path, FeatureFile] = {}
        self.features: dict[tuple[str, str], Features] = {}
        """The complete features of the store's collection, by (model, layer)."""

    def __call__(self) -> pd.DataFrame:
        store = self._store()
        folders = sorted(path for path in self.folder.glob("features/*/*") if path.is_dir())
        indexes = sorted(self.folder.glob("indexes/*/*.ann"))
        with tqdm(total=len(folders) + len(indexes), desc="check", delay=2, disable=not self.progress) as bar:
            for folder in folders:
                self._features(folder)
                bar.update()
            if store is not None:
                self._complete(store)
            for path in indexes:
                self._index(path, store)
                bar.update()
        if store is not None:
            self._unindexed(store)
        self._leftovers()
        return pd.DataFrame(self.findings, columns=["part", "finding", "remedy"])

    def _find(self, part: str, finding: object, remedy: str, done: str = "", act=lambda: None) -> None:
        """Record a finding; with `repair`, carry out its repair `act`, if there is one, and record that instead."""
        if self.repair and done:
            try:
                act()
                remedy = done
            except (OSError, AmulsearchError) as error:
                remedy = f"the repair failed: {error}"
        told = str(finding).removesuffix(f": {feature_file.REMEDY}").removesuffix(f": {sidecar.REMEDY}")
        self.findings.append((part, told, remedy))

    def _store(self) -> Store | None:
        """The store, or None if its table is damaged or empty."""
        try:
            if not (self.folder / "store.json").exists():
                raise StoreError("the file is missing")
            store = Store(self.folder)
            if "collection" in store._state and len(set(store.collection().ids)) < len(store.collection()):
                raise StoreError("a picture is listed twice")
        except OtherFormatError:
            raise
        except (StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
            self._find(
                "store.json",
                error,
                self.repair_it,
                f"replaced by an empty table; {self.index_again}, which reuses the features that are left",
                lambda: write_json(self.folder / "store.json", empty_state()),
            )
            return None
        if not store.current():
            self._find("store.json", "the store has no features yet", self.index_again)
            return None
        return store

    def _features(self, folder: Path) -> None:
        part = f"features/{folder.relative_to(self.folder / 'features').as_posix()}"
        try:
            file, wrong = FeatureFile.salvage(folder)
            if features_path(file.meta["fingerprint"]) != folder.relative_to(self.folder):
                raise StoreError("the folder holds other features than its name says")
        except OtherFormatError:
            raise
        except (StoreError, KeyError, TypeError, ValueError) as error:
            done = f"deleted; {self.index_again}"
            self._find(part, error, self.repair_it, done, lambda: shutil.rmtree(folder))
            return
        self.files[folder] = file
        for finding in wrong:
            done = f"deleted these rows; {self.index_again}"
            self._find(part, finding, self.repair_it, done, lambda: file.tidy(list(file.rows)))

    def _complete(self, store: Store) -> None:
        """Find pictures of the table without a vector in the current features."""
        table = store.collection().table
        keys = list(zip(table["id"], table["digest"], strict=True))
        for (model, layer), made_by in store.current().items():
            file = self.files.get(self.folder / features_path(made_by))
            missing = [id for id, digest in keys if file is None or (id, digest) not in file.rows]
            if missing:
                finding = f"{len(missing)} of {len(keys)} pictures have no vector, the first is {missing[0]!r}"
                self._find(f"{model} {layer}", finding, self.index_again)
                continue
            about = table["id"].tolist(), table["label"].tolist(), made_by, table["digest"].tolist()
            self.features[model, layer] = Features(file.take(keys), *about)

    def _index(self, path: Path, store: Store | None) -> None:
        part = path.relative_to(self.folder).as_posix()
        names = {store.index_path(*key): key for key in self.features} if store else {}
        features = self.features.get(names.get(path))
        try:
            index = AnnoyIndex.open(open_sidecar(path, AnnoyIndex, whole=True)[0])
            if finding := _differences(index, features):
                raise StoreError(finding)
        except StoreError as error:
            self._mend_index(part, path, features, error)
            return
        if store and path.parent.name == "preset" and index.ids != store.collection().ids:
            remedy = f"{self.index_again} --preset {path.stem}"
            self._find(part, "the collection has changed since the index was built", remedy)
        elif store and features is None and path.parent.name != "preset" and path not in store.index_paths().values():
            self._find(
                part, "the index belongs to no features of the store", self.repair_it, "deleted", lambda: _delete(path)
            )

    def _mend_index(self, part: str, path: Path, features: Features | None, error: object) -> None:
        if features is not None:
            self._find(part, error, self.repair_it, "rebuilt", lambda: AnnoyIndex.build(features).save(path))
        else:
            preset = f" --preset {path.stem}" if path.parent.name == "preset" else ""
            self._find(part, error, self.repair_it, f"deleted; {self.index_again}{preset}", lambda: _delete(path))

    def _unindexed(self, store: Store) -> None:
        """Find features without an index, unless none has one."""
        paths = {key: store.index_path(*key) for key in store.current()}
        lacking = [key for key, path in paths.items() if not path.exists()]
        if len(lacking) == len(paths):
            return  # a store without indexes: a user of the library keeps them elsewhere
        for key in lacking:
            features = self.features.get(key)
            done = "built" if features is not None else ""
            build = lambda features=features, path=paths[key]: AnnoyIndex.build(features).save(path)  # noqa: E731
            self._find(" ".join(key), "the features have no index", self.index_again, done, build)

    def _leftovers(self) -> None:
        found = {path for path in self.folder.rglob(f"*{PARTIAL}") if path.is_file()}
        for file in self.files.values():
            found.update(file.leftovers())
        beside = (".json", ".npz")  # files that belong to an index, which has another extension itself
        there = set(self.folder.glob("indexes/*/*"))
        whole = {path.with_suffix("") for path in there if path.suffix not in (*beside, PARTIAL)}
        found.update(path for path in there if path.suffix in beside and path.with_suffix("") not in whole)
        if found:
            names, size = sorted(found), sum(path.stat().st_size for path in found) / 1e6
            finding = f"an interrupted run left {len(found)} files with {size:.1f} MB"
            part = names[0].relative_to(self.folder).as_posix()
            self._find(part, finding, self.repair_it, "deleted", lambda: [path.unlink() for path in names])


def _differences(index: AnnoyIndex, features: Features | None) -> str:
    """How an index differs from its features, or from exact search of its own vectors; "" if it does not."""
    rows = np.random.default_rng(0).permutation(len(index))[:QUERIES]
    if features is not None:
        if index.content != features.content:
            return "the index was built from other pictures or features than the store holds now"
        if not np.array_equal(index._take(rows), features.vectors[rows]):
            return "the index holds other vectors than the features"
    k = min(10, len(index) - 1)
    recall = index.recall(k, sample=QUERIES) if k else 1
    return "" if recall >= 0.5 else f"the index finds only {recall:.0%} of the neighbours that exact search finds"


def _delete(path: Path) -> None:
    for ending in (".json", ".npz", ".ann"):
        path.with_suffix(ending).unlink(missing_ok=True)


def _refuse_other_folders(folder: Path) -> None:
    """Refuse a folder that is not a store, so that nothing in it is reported or deleted."""
    own = {"store.json", "features", "indexes", "lock"}
    names = {path.name for path in folder.iterdir() if not path.name.endswith(PARTIAL)}
    if not names & (own - {"lock"}) or ("store.json" not in names and names - own):
        raise StoreError(f"{folder} is not a store: give the folder that `amulsearch index` created")
