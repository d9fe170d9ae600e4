"""Features as a Parquet file, as vector databases read it: id, label, digest, and the vector as a list of float32."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import QueryError, StoreError, import_optional
from .files import replacing

ROWS = 8192
"""Rows per row group, which is in memory at a time."""


def write(
    path: str | os.PathLike, vectors: np.ndarray, strings: Mapping[str, Sequence[str | None]], fingerprint: Mapping
) -> Path:
    """Write vectors and columns of strings to a Parquet file.

    Fitted transforms are not written; a saved index keeps them.

    Parameters
    ----------
    path : path
        The file to write.
    vectors : ndarray of shape (N, D), float32
        Written as the column vector, a fixed-size list of D float32.
    strings : mapping of str to sequence of N str or None
        The other columns.
    fingerprint : mapping
        Written to the metadata of the file, as JSON under "amulsearch".

    Returns
    -------
    Path
        The path of the file.

    Raises
    ------
    AmulsearchError
        If pyarrow is not installed.
    StoreError
        If the file cannot be written.
    """
    arrow, parquet = import_optional("pyarrow", "pyarrow"), import_optional("pyarrow.parquet", "pyarrow")
    path, width = Path(path).expanduser(), vectors.shape[1]
    fields = [(name, arrow.string()) for name in strings] + [("vector", arrow.list_(arrow.float32(), width))]
    about = {"amulsearch": json.dumps(dict(fingerprint))}
    with (
        replacing(path) as temporary,
        parquet.ParquetWriter(temporary, arrow.schema(fields, metadata=about)) as file,
    ):
        for start in range(0, len(vectors), ROWS):
            part = np.ascontiguousarray(vectors[start : start + ROWS]).ravel()
            columns = [arrow.array(values[start : start + ROWS], arrow.string()) for values in strings.values()]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(part), width))
            file.write_table(arrow.Table.from_arrays(columns, schema=file.schema))
    return path


def read(path: str | os.PathLike) -> tuple[np.ndarray, dict[str, list], dict]:
    """Read a Parquet file with the columns id and vector.

    Parameters
    ----------
    path : path
        A file whose column vector holds lists of numbers, all of one length.

    Returns
    -------
    vectors : ndarray of shape (N, D)
        The vectors, in the dtype of the file.
    strings : dict of str to list
        The columns id, label and digest; an empty list for a missing column.
    fingerprint : dict
        Empty if another program wrote the file.

    Raises
    ------
    AmulsearchError
        If pyarrow is not installed.
    StoreError
        If the file cannot be read.
    QueryError
        If the file does not hold the columns, or vectors are missing or differ in length.
    """
    arrow, parquet = import_optional("pyarrow", "pyarrow"), import_optional("pyarrow.parquet", "pyarrow")
    path = Path(path).expanduser()
    try:
        with parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if not {"id", "vector"} <= names:
                raise QueryError(f"{path} needs the columns id and vector, but has {', '.join(sorted(names))}")
            table = file.read(columns=[name for name in ("id", "label", "digest", "vector") if name in names])
            about = json.loads((file.schema_arrow.metadata or {}).get(b"amulsearch", b"{}"))
    except QueryError:
        raise
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise StoreError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    column = table["vector"].combine_chunks()
    kinds = arrow.types
    if not (kinds.is_list(column.type) or kinds.is_fixed_size_list(column.type) or kinds.is_large_list(column.type)):
        raise QueryError(f"the column vector of {path} must hold lists of numbers, not {column.type}")
    flat, count = column.flatten(), len(table)
    width = len(flat) // max(count, 1)
    lengths = arrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    if not count or column.null_count or flat.null_count or (lengths != width).any():
        raise QueryError(f"the vectors of {path} are missing or differ in length: give all the same length")
    text = {name: table[name].to_pylist() if name in names else [] for name in ("id", "label", "digest")}
    return flat.to_numpy(zero_copy_only=False).reshape(count, width), text, about
