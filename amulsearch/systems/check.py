"""Verify a store on disk: the database, every vector, and every index against exact search."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import AmulsearchError, OtherFormatError, StoreError, as_argument, check_path
from ..features import Features, metric_vectors, opening_of
from ..store import AGAIN, PARTIAL, REMEDY, Store, VectorFile, locked, rescue, unsealed
from ..index import Index, default_kind
from .diffusion import Diffusion
from .stored import is_current, open_index

QUERIES = 5
"""How many pictures are searched both in an index and exactly."""

DAMAGE = (StoreError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a changed store may raise: a row may hold any value, and a checksum that fits."""

OWN = {"store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "vectors", "indexes", "lock", "store.json"}
"""What may lie in a store; store.json only in those of before."""


def check_store(store: str | os.PathLike | Store, *, repair: bool = False, progress: bool = True) -> pd.DataFrame:
    """Verify a store on disk, and optionally repair it.

    All files are read. The check covers the structure of the database and the checksum of each of its rows, that of
    every vector, the digests of index files, whether each index was built from the current features, and whether it
    finds what exact search finds.

    Parameters
    ----------
    store : path or Store
    repair : bool, default False
        Keep every intact row and vector, delete what is damaged or left over, and rebuild the indexes of complete
        features. `amulsearch index` then computes what is missing.
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
    folder = store.folder if isinstance(store, Store) else check_path(store, "the folder of the store")
    names = {path.name for path in folder.iterdir() if not path.name.endswith(PARTIAL)} if folder.is_dir() else set()
    if not names - {"lock"} or names - OWN:  # so that nothing in another folder is reported or deleted
        raise StoreError(f"{folder} is not a store: give the folder that `amulsearch index` created")
    writable = os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    with locked(folder / "lock", wait=False) if writable or repair else nullcontext():
        return _Check(folder, repair, progress)()


class _Check:
    def __init__(self, folder: Path, repair: bool, progress: bool):
        self.folder, self.repair, self.progress = folder, repair, progress
        self.store = Store(folder)
        self.findings: list[tuple[str, str, str]] = []
        self.index_again = f"run `amulsearch index FOLDER --store {as_argument(folder)}`"
        self.repair_it = f"run `amulsearch check --store {as_argument(folder)} --repair`"
        self.features: dict[str, Features] = {}
        """The features that cover the table, by "MODEL LAYER"."""
        self.damaged: set[str] = set()
        """The "MODEL LAYER" of vectors in which a fault was found and not repaired."""

    def __call__(self) -> pd.DataFrame:
        if self._database():
            entries = list(self.store.database.select("features"))
            names = self.store.indexes.names()
            with tqdm(total=len(entries) + len(names), desc="check", delay=2, disable=not self.progress or None) as bar:
                for entry in entries:
                    self._vectors(entry)
                    bar.update()
                self._complete()
                for name in names:
                    self._index(name)
                    bar.update()
            self._unindexed([name for name in names if not name.startswith("preset ")])
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
        told = str(finding).removesuffix(f": {REMEDY}").removesuffix(f": {AGAIN}")
        self.findings.append((part, told, remedy))

    def _database(self) -> bool:
        """Verify the database; whether it can be read, and holds a table."""
        part = "store.sqlite"
        try:
            if not self.store.database.exists:
                self._find(part, "the file is missing", self.index_again)
                return False
            for table, count in unsealed(self.store.database).items():
                self._find(part, f"{count} rows of {table} do not match their checksums", self.repair_it)
            if not self.findings and self.store.revision:
                self.store.collection()
        except OtherFormatError:
            raise
        except DAMAGE as error:
            self._find(part, error, self.repair_it)
        if self.findings and self.repair:
            self.findings.clear()
            done = f"kept what can be read; {self.index_again}"
            self._find(part, "the database is damaged", self.repair_it, done, lambda: rescue(self.store.database))
            self.store = Store(self.folder)
        elif self.findings:
            return False
        if not self.store.current() or not self.store.revision:
            self._find(part, "the store has no features yet", self.index_again)
        return bool(self.store.revision)

    def _vectors(self, entry: tuple) -> None:
        """Verify the vectors of one fingerprint."""
        feature, name, part = entry[0], " ".join(entry[1:3]), entry[5]
        bad: dict[str, list[int]] = {}
        try:
            file = VectorFile.of_entry(self.store.database, entry)
            for place, fault in file.faults():
                if fault:
                    bad.setdefault(fault, []).append(place)
        except DAMAGE as error:
            self._find(part, error, self.repair_it, f"deleted; {self.index_again}", lambda: self.store.forget(feature))
            if not self.repair:
                self.damaged.add(name)
            return
        if bad and not self.repair:
            self.damaged.add(name)
        for fault, places in bad.items():
            finding = f"{len(places)} of {len(file.rows)} vectors {fault}"
            done = f"deleted these vectors; {self.index_again}"
            self._find(part, finding, self.repair_it, done, lambda places=places: file.drop(places))

    def _complete(self) -> None:
        """Open the current features that cover the table; find the pictures that lack a vector but have an index."""
        rows, table = self.store.contents(self.store.rows()), self.store.collection().table
        ids, digests = table["id"].tolist(), table["digest"].tolist()
        for (model, layer), made_by in self.store.current().items() if ids else ():
            name = f"{model} {layer}"
            if name in self.damaged:
                continue
            file = self.store.vectors(made_by)
            missing = np.flatnonzero(file.places(rows) < 0)
            if not len(missing):
                self.features[name] = Features(file.take(rows), ids, [], made_by, digests)
            elif name in self.store.indexes:
                finding = f"{len(missing)} of {len(rows)} pictures have no vector, the first is {ids[missing[0]]!r}"
                self._find(name, finding, self.index_again)

    def _index(self, name: str) -> None:
        features, part = self.features.get(name), f"index {name}"
        preset = name.removeprefix("preset ") if name.startswith("preset ") else ""
        try:
            index = (Diffusion.open_in if preset else open_index)(self.store, name, whole=True)
            if finding := "" if preset else self._differences(index, name, features):
                raise StoreError(finding)
        except DAMAGE as error:
            if features is not None:
                rebuild = lambda: default_kind().build(features).save_in(self.store, name)  # noqa: E731
                self._find(part, error, self.repair_it, "rebuilt", rebuild)
            else:
                done = f"deleted; {self._index_preset(preset) if preset else self.index_again}"
                self._find(part, error, self.repair_it, done, lambda: self.store.indexes.remove(name))
            return
        if preset and not is_current(self.store, name):
            told = "the collection has changed since the index was built"
            self._find(part, told, self._index_preset(preset))

    def _index_preset(self, name: str) -> str:
        return f"{self.index_again[:-1]} --preset {name}`"

    def _differences(self, index: Index, name: str, features: Features | None) -> str:
        """How an index differs from its features, or from exact search of its own vectors; "" if it does not."""
        some = np.random.default_rng(0).permutation(len(index))[:QUERIES]
        if features is not None:
            if not is_current(self.store, name) or index.ids != features.ids:
                return "the index was built from other pictures or features than the store holds now"
            ours, stored = (metric_vectors(each, index.metric) for each in (index.take(some), features.vectors[some]))
            if not np.allclose(ours, stored, atol=1e-6):  # exact search keeps the vectors scaled
                return "the index holds other vectors than the features"
        k = min(10, len(index) - 1)
        recall = index.recall(k, sample=QUERIES) if k else 1
        return "" if recall >= 0.5 else f"the index finds only {recall:.0%} of the neighbours that exact search finds"

    def _unindexed(self, names: list[str]) -> None:
        """Find features without an index, as an interrupted `index` leaves them."""
        # Without any index, a user of the library keeps them elsewhere. A pooled layer of which no network has one was
        # extracted for a report or a preset.
        layers = {name.rpartition(" ")[2] for name in names}
        usual = lambda name: ":" not in name or name.rpartition(" ")[2] in layers  # noqa: E731
        for name in [name for name in self.features if name not in names and usual(name)] if names else []:
            build = lambda name=name: default_kind().build(self.features[name]).save_in(self.store, name)  # noqa: E731
            self._find(name, "the features have no index", self.index_again, "built", build)

    def _leftovers(self) -> None:
        found = [path for path in self.folder.rglob(f"*{PARTIAL}") if path.is_file()]
        found += self.store.indexes.leftovers() + self.store.unnamed_vectors()
        if found:
            part = found[0].relative_to(self.folder).as_posix()
            self._find(part, f"an interrupted run left {len(found)} files", self.repair_it, "deleted", self._clean)

    def _clean(self) -> None:
        self.store.indexes.tidy()
        for path in [*self.folder.rglob(f"*{PARTIAL}"), *self.store.unnamed_vectors()]:
            path.unlink(missing_ok=True)
