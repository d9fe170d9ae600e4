"""Nearest-neighbour search: Annoy, exact search and FAISS, and the base class of all that answers a query.

Input: `Features`, or any (N, D) array and its ids. Output: neighbours, as a table for one query or as rows for all
pictures. Every index has the same methods; none knows which pictures are relevant.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "system": ["NewPicture", "System", "check_same", "neighbours", "query_vectors"],
        "persistence": ["Persistent"],
        "base": ["Index", "as_features", "sampled_rows"],
        "annoy_index": ["AnnoyIndex", "default_kind"],
        "exact_index": ["ExactIndex", "as_systems"],
        "faiss_index": ["FaissIndex"],
        "probability": ["LIKELY", "Calibration", "evidence", "unlikely_from"],
    },
)
