"""Features as a Parquet file, which vector databases read: id, label, digest, and the vector as a list of float32."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import QueryError, StoreError, import_optional
from .files import replacing

ROWS = 8192
"""Rows of a group: what is in memory at a time."""


def write(
    path: str | os.PathLike, vectors: np.ndarray, strings: Mapping[str, Sequence[str | None]], fingerprint: Mapping
) -> Path:
    """Write columns of strings and the column vector, a fixed-size list of D float32; the path of the file.

    The fingerprint is kept in the file's metadata, as JSON under "amulsearch". Fitted transforms are not: they are
    beside an index that is saved.
    """
    arrow, parquet = import_optional("pyarrow", "pyarrow"), import_optional("pyarrow.parquet", "pyarrow")
    path, width = Path(path).expanduser(), vectors.shape[1]
    fields = [(name, arrow.string()) for name in strings] + [("vector", arrow.list_(arrow.float32(), width))]
    about = {"amulsearch": json.dumps(dict(fingerprint))}
    with (
        replacing(path) as (temporary,),
        parquet.ParquetWriter(temporary, arrow.schema(fields, metadata=about)) as file,
    ):
        for start in range(0, len(vectors), ROWS):
            part = np.ascontiguousarray(vectors[start : start + ROWS]).ravel()
            columns = [arrow.array(values[start : start + ROWS], arrow.string()) for values in strings.values()]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(part), width))
            file.write_table(arrow.Table.from_arrays(columns, schema=file.schema))
    return path


def read(path: str | os.PathLike) -> tuple[np.ndarray, dict[str, list], dict]:
    """Vectors (N, D), columns of strings and fingerprint of a Parquet file with the columns id and vector.

    The columns label and digest may be missing; their lists are then empty.

    vector: lists of numbers, all of one length. A file from elsewhere has no fingerprint: it is of your own vectors.

    Raises StoreError where the file cannot be read, and QueryError where it holds something else.
    """
    arrow, parquet = import_optional("pyarrow", "pyarrow"), import_optional("pyarrow.parquet", "pyarrow")
    path = Path(path).expanduser()
    try:
        with parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if not {"id", "vector"} <= names:
                raise QueryError(f"{path} has no columns id and vector: it has {', '.join(sorted(names))}")
            table = file.read(columns=[name for name in ("id", "label", "digest", "vector") if name in names])
            about = json.loads((file.schema_arrow.metadata or {}).get(b"amulsearch", b"{}"))
    except QueryError:
        raise
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise StoreError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    column = table["vector"].combine_chunks()
    kinds = arrow.types
    if not (kinds.is_list(column.type) or kinds.is_fixed_size_list(column.type) or kinds.is_large_list(column.type)):
        raise QueryError(f"the column vector of {path} holds {column.type}, not lists of numbers")
    flat, count = column.flatten(), len(table)
    width = len(flat) // max(count, 1)
    lengths = arrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    if not count or column.null_count or flat.null_count or (lengths != width).any():
        raise QueryError(f"the vectors of {path} are missing or not all of one length")
    text = {name: table[name].to_pylist() if name in names else [] for name in ("id", "label", "digest")}
    return flat.to_numpy(zero_copy_only=False).reshape(count, width), text, about
