"""What is kept on disk: the table of the collection, vector files, and the files beside an index.

In: fingerprints, ids and vectors. Out: the same, verified, as memory maps.
Nothing here knows how a vector is computed or searched; `extract` asks a `Store` what it lacks.
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
