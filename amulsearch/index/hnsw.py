"""What the indexes share that search in a graph of near neighbours, whichever library made it."""

from __future__ import annotations

import numpy as np

from ..errors import check_integer
from .base import Index


class Graph(Index):
    """HNSW: Malkov & Yashunin 2018, "Efficient and robust approximate nearest neighbor search using hierarchical
    navigable small world graphs".
    """

    effort = "ef"
    ladder = ({"M": 16}, {"M": 32})

    @classmethod
    def _start(cls, features, ids, metric: str, **settings) -> tuple[Index, np.ndarray]:
        check_integer("M", settings["M"], least=2)
        return super()._start(features, ids, metric, **settings)

    def _effort(self, n: int, effort: int) -> int:
        return max(effort, n)
