"""The base class of the HNSW indexes, whichever library builds the graph."""

from __future__ import annotations

import numpy as np

from ..errors import check_integer
from .base import Index


class Graph(Index):
    """An index that searches a hierarchical navigable small world graph (HNSW; Malkov & Yashunin 2018)."""

    effort, exhaustive = "ef", False  # parts of a graph can be unreachable
    ladder = ({"M": 16}, {"M": 32})

    @classmethod
    def _start(cls, features, ids, metric: str, **settings) -> tuple[Index, np.ndarray]:
        check_integer("M", settings["M"], least=2)
        return super()._start(features, ids, metric, **settings)

    def _effort(self, n: int, effort: int) -> int:
        return max(effort, n)
