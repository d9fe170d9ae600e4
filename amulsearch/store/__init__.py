"""Data on disk: one database of pictures, vector files and indexes; the files beside it.

Input: collections, fingerprints and vectors. Output: the same, verified, as memory maps.
This package does not compute or search vectors; `extract` looks up in a `Store` which vectors are missing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "store": ["Store"],
        "database": ["REMEDY"],
        "vector_file": ["Blocks", "MemoryRows", "VectorFile", "blocks"],
        "index_files": ["AGAIN", "Names"],
        "files": ["replacing", "writable"],
    },
)
