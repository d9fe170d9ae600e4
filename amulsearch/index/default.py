"""Which index is used where none is named: Annoy, and what stands in for it where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from .annoy_index import AnnoyIndex
from .base import Index
from .exact_index import ExactIndex
from .faiss_index import FaissHNSWIndex


def default_kind(*, approximate: bool = False) -> type[Index]:
    """The class of index to use where none is named: that of Annoy, if it is installed.

    Annoy is compiled on installation, which not every machine can do. For some ten thousand pictures, exact search is
    as fast as anyone needs (docs/measurements.md); where it will not do, `FaissHNSWIndex` stands in.
    """
    if find_spec("annoy"):
        return AnnoyIndex
    return FaissHNSWIndex if approximate else ExactIndex
