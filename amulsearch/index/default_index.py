"""Which index is used where none is named: Annoy, and what stands in for it where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from ..store import Store
from .annoy_index import AnnoyIndex
from .base import Index
from .exact_index import ExactIndex


def default_kind() -> type[Index]:
    """Return AnnoyIndex if Annoy is installed, else ExactIndex.

    Annoy is compiled on installation, which not every machine can do. For some ten thousand pictures, exact search is
    as fast as anyone needs (docs/measurements.md).
    """
    return AnnoyIndex if find_spec("annoy") else ExactIndex


def open_default(store: Store, name: str, *, whole: bool = False) -> Index:
    """Open an index of `default_kind`, also if the default was another when it was saved.

    Parameters
    ----------
    store, name, whole
        As for `Index.open_in`.
    """
    kind = ExactIndex if store.indexes.about(name).get("kind") == "ExactIndex" else AnnoyIndex
    return kind.open_in(store, name, whole=whole)
