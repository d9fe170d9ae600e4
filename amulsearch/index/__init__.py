"""Vectors answer: Annoy, exact search and the others, tuning, re-ranking, near-duplicates, verification of a store.

In: `Features`, or any (N, D) array and its ids. Out: neighbours, as a table for a query or as rows for all pictures.
Every kind of index has the same verbs; none knows what is relevant to what.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annoy_index": ["AnnoyIndex"],
        "exact_index": ["ExactIndex"],
        "faiss_index": ["FaissHNSWIndex", "FaissIVFIndex", "FaissLSHIndex"],
        "hnswlib_index": ["HnswlibIndex"],
        "nmslib_index": ["NmslibIndex"],
        "base": ["Index"],
        "reranking": ["KReciprocal", "QueryExpansion"],
        "neighbours": ["query_all"],
        "tuning": ["TuningResult", "tune_index"],
        "speed": ["tradeoff"],
        "check": ["check_store"],
        "duplicates": ["THRESHOLD", "near_duplicates"],
        "classes": ["find_class", "list_classes", "query_class", "shared_classes"],
    },
)
