"""Nearest-neighbour search: Annoy, exact search and FAISS; graphs of several networks, tuning, near-duplicates.

Input: `Features`, or any (N, D) array and its ids. Output: neighbours, as a table for one query or as rows for all
pictures. Every index has the same methods; none knows which pictures are relevant. `check_store` verifies a store.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annoy_index": ["AnnoyIndex"],
        "exact_index": ["ExactIndex"],
        "default_index": ["default_kind", "open_default"],
        "faiss_index": ["FaissIndex"],
        "base": ["Index", "encoded"],
        "calibration": ["LIKELY", "Calibration", "evidence", "unlikely_from"],
        "novelty": ["NoveltyTest", "novelty_told"],
        "graph": ["NeighbourGraph"],
        "diffusion": ["DiffusionIndex"],
        "keywords": ["KeywordIndex"],
        "several": ["query_all"],
        "tuning": ["TuningResult", "tune_index"],
        "check": ["check_store", "is_current"],
        "duplicates": ["THRESHOLD", "near_duplicates"],
    },
)
