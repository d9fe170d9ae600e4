"""Weights that travel: one file with those of several networks, for a machine without a connection."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm

from ..errors import ModelError, QueryError
from . import registry
from .checkpoints import digest
from .record import Model
from .weights import Downloaded, HuggingFace, Packaged, cache_folder

MANIFEST = "manifest.json"
_ENTRY = ("model", "file", "sha256", "bytes", "licence", "source")


def export_weights(
    models: str | Model | list | tuple, path: str | os.PathLike, *, progress: bool = True
) -> list[dict[str, str | int]]:
    """Write the weights of networks to one file; what is missing is downloaded.

    The file is a ZIP archive of the weights as they are, and of `manifest.json`, which lists them.

    Parameters
    ----------
    models : str, Model or sequence of these
        As for `extract`. Networks whose weights are in an installed package are left out.
    path : path
        The file to write.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    list of dict
        For each file: model, file, sha256 (hexadecimal), bytes, licence and source.

    Raises
    ------
    QueryError
        If all weights are in installed packages, a network is not from torchvision or a hub, or the file cannot be
        written.
    ModelError
        For an unknown model, and for weights that cannot be downloaded or are damaged.
    """
    records = [registry.get(name) for name in registry.names_of(models)]
    records = [record for record in records if not isinstance(record.weights, Packaged)]
    if not records:
        raise QueryError("there is nothing to export: the weights of these networks are in packages that pip installs")
    entries, paths = [], []
    for record in records:
        if not isinstance(record.weights, (Downloaded, HuggingFace)):
            raise QueryError(f"{record.name} has weights of your own: copy that file yourself")
        record.weights.read()  # a damaged file must not travel
        for file, source in record.weights.travels().items():
            about = (record.name, file, digest(source), source.stat().st_size, record.licence, record.source)
            entries.append(dict(zip(_ENTRY, about, strict=True)))
            paths.append(source)
    try:
        with _writing(Path(path).expanduser()) as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr(MANIFEST, json.dumps({"weights": entries}, indent=1))
            with _bar("export", entries, progress) as bar:
                for entry, source in zip(entries, paths, strict=True):
                    with source.open("rb") as read, archive.open(entry["file"], "w", force_zip64=True) as write:
                        _copy(read, write, bar)
    except OSError as error:
        raise QueryError(f"{path} cannot be written: {error.strerror or error}") from None
    return entries


def import_weights(path: str | os.PathLike, *, progress: bool = True) -> list[dict[str, str | int]]:
    """Take the weights from a file of `export_weights`; nothing is downloaded.

    They are put in the folder of torch's downloaded checkpoints, where `load` finds them, once their SHA-256 is right.
    Files that are there already stay as they are.

    Parameters
    ----------
    path : path
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    list of dict
        For each file in the archive, as `export_weights` returns it.

    Raises
    ------
    ModelError
        If the file is not such an archive, is damaged, or cannot be read, if another file of the same name is there
        already, or the folder cannot be written. Weights before the damaged place have been taken.
    """
    path, folder = Path(path).expanduser(), cache_folder()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            with _bar("import", entries, progress) as bar:
                for entry in entries:
                    with archive.open(entry["file"]) as read:
                        _take(read, entry, folder / entry["file"], bar)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, NotImplementedError) as error:
        raise ModelError(f"{path} is damaged or not a file of weights ({error}): export it again") from None
    except OSError as error:
        raise ModelError(f"{error.filename or path}: {error.strerror or error}") from None
    return entries


def _entries(archive: zipfile.ZipFile) -> list[dict]:
    """The checked entries of the manifest."""
    entries = json.loads(archive.read(MANIFEST))["weights"]
    for entry in entries:
        if sorted(entry) != sorted(_ENTRY) or not re.fullmatch(r"[\w.-]+", entry["file"]) or entry["file"][0] == ".":
            raise ValueError("its manifest has an unknown form")
    return entries


def _take(read: BinaryIO, entry: dict, path: Path, bar: tqdm) -> None:
    if path.is_file():
        if digest(path) != entry["sha256"]:
            raise ModelError(f"{path} is there already and holds other weights: move it away first")
        bar.update(entry["bytes"])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing(path) as write:
        if _copy(read, write, bar) != entry["sha256"]:
            raise ValueError(f"the SHA-256 of {entry['file']} is not that of the manifest")


def _copy(read: BinaryIO, write: BinaryIO, bar: tqdm) -> str:
    """Copy a file and return its SHA-256."""
    sha = hashlib.sha256()
    while block := read.read(1 << 20):
        sha.update(block)
        write.write(block)
        bar.update(len(block))
    return sha.hexdigest()


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place only when it is complete."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _bar(what: str, entries: list[dict], progress: bool) -> tqdm:
    total = sum(entry["bytes"] for entry in entries)
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, delay=1, disable=not progress)
