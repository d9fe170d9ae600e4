"""Which index is used where none is named: Annoy, and what stands in for it where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from .annoy_index import AnnoyIndex
from .base import Index
from .exact_index import ExactIndex


def default_kind() -> type[Index]:
    """AnnoyIndex if Annoy is installed, else ExactIndex.

    Annoy is compiled on installation, which not every machine can do. For some ten thousand pictures, exact search is
    as fast as anyone needs (docs/measurements.md).
    """
    return AnnoyIndex if find_spec("annoy") else ExactIndex
