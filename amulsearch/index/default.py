"""Which index is used where none is named: Annoy, and what stands in for it where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from ..store import Store
from .annoy_index import AnnoyIndex
from .base import Index
from .exact_index import ExactIndex
from .faiss_index import FaissHNSWIndex


def default_kind(*, approximate: bool = False) -> type[Index]:
    """Return the class of index to use where none is named: that of Annoy, if it is installed.

    Annoy is compiled on installation, which not every machine can do. For some ten thousand pictures, exact search is
    as fast as anyone needs (docs/measurements.md).

    Parameters
    ----------
    approximate : bool, default False
        Whether exact search will not do.

    Returns
    -------
    type of Index
        Without Annoy, ExactIndex, or FaissHNSWIndex if it has to be approximate.
    """
    if find_spec("annoy"):
        return AnnoyIndex
    return FaissHNSWIndex if approximate else ExactIndex


def open_default(store: Store, name: str) -> Index:
    """Open an index of `default_kind`, also if the default was another when it was saved.

    Parameters
    ----------
    store : Store
    name : str

    Returns
    -------
    Index

    Raises
    ------
    StoreError
        If there is no index of this name, it is damaged, or Annoy built it and is not installed.
    """
    kind = ExactIndex if store.indexes.about(name).get("kind") == "ExactIndex" else AnnoyIndex
    return kind.open_in(store, name)
