"""Data on disk: the table of the collection, vector files and the sidecar files of indexes.

Input: fingerprints, ids and vectors. Output: the same, verified, as memory maps.
This package does not compute or search vectors; `extract` looks up in a `Store` which vectors are missing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["feature_file", "parquet", "sidecar"],
    submod_attrs={
        "store": ["Store", "empty_state"],
        "feature_file": ["FeatureFile", "Key", "MemoryRows"],
        "blockwise": ["Blocks", "blocks", "starts"],
        "identity": ["content_of", "features_path"],
        "files": ["PARTIAL", "locked", "replacing", "write_json"],
        "sidecar": ["open_sidecar", "save_with_sidecar"],
    },
)
