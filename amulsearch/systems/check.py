"""Verify a store on disk: the database, every vector file and every index."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pandas as pd
from tqdm.auto import tqdm

from ..errors import AmulsearchError, OtherFormatError, StoreError, as_argument, check_path
from ..store import AGAIN, REMEDY, Store, writable

DAMAGE = (StoreError, ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What reading a changed store may raise: a row may hold any value, and a checksum that fits."""

Part = tuple[str, Callable[[], object], Callable[[], object]]
"""The name of a part of a store, a function that verifies it, and one that deletes it."""


def check_store(store: str | os.PathLike | Store, *, repair: bool = False, progress: bool = True) -> pd.DataFrame:
    """Verify the checksums of everything in a store, and optionally delete what is damaged.

    All files are read. `amulsearch index` then computes what is missing. StoreError if there is no store, another
    process is writing to it, or it has another format.

    Parameters
    ----------
    store : path or Store
    repair : bool, default False
        Delete damaged vector files and indexes, and what interrupted runs left. A damaged database is deleted with the
        whole contents of the store, which only it describes.
    progress : bool, default True

    Returns
    -------
    DataFrame
        Columns part, finding, remedy; one row per problem, none if the store is intact.
    """
    folder = store.folder if isinstance(store, Store) else check_path(store, "the folder of the store")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not names - {"lock"} or Store(folder).foreign():  # so that nothing in another folder is reported or deleted
        raise StoreError(f"{folder} is not a store: give the folder that `amulsearch index` created")
    with Store(folder).lock(wait=False) if writable(folder) or repair else nullcontext():
        findings = list(_findings(Store(folder), repair, progress))
    return pd.DataFrame(findings, columns=["part", "finding", "remedy"])


def _findings(store: Store, repair: bool, progress: bool) -> Iterator[tuple[str, str, str]]:
    """Each problem as its part, finding and remedy."""
    place = as_argument(store.folder)
    for part, verify, delete in tqdm(_parts(store), desc="check", delay=2, disable=not progress or None):
        try:
            verify()
        except OtherFormatError:
            raise
        except DAMAGE as error:
            remedy = f"run `amulsearch check --store {place} --repair`"
            if repair:
                try:
                    delete()
                    store.tidy()
                    remedy = f"deleted; run `amulsearch index FOLDER --store {place}`"
                except (OSError, AmulsearchError) as failure:
                    remedy = f"the repair failed: {failure}"
            yield part, str(error).removesuffix(f": {REMEDY}").removesuffix(f": {AGAIN}"), remedy
            if part == "store.sqlite":
                return


def _parts(store: Store) -> Iterator[Part]:
    """The parts of a store; all others are what the first, the database, names."""

    def database() -> None:
        store.database.verify()
        if store.revision:
            store.collection()  # refuses names that lead out of its folder

    def nothing_left() -> None:
        if left := store.leftovers():
            name = left[0].relative_to(store.folder).as_posix()
            raise StoreError(f"an interrupted run left {len(left)} files or folders, the first is {name}")

    yield "store.sqlite", database, store.database.delete
    for feature, *_, fingerprint, _, file, _ in list(store.database.select("features")):
        yield file, lambda f=fingerprint: store.vectors(json.loads(f)).verify(), lambda f=feature: store.forget(f)
    for name in store.indexes.names():
        yield f"index {name}", lambda n=name: store.indexes.open(n, whole=True), lambda n=name: store.indexes.remove(n)
    yield "leftovers", nothing_left, store.tidy
