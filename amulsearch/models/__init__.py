"""What is known of a network: records, weights, checkpoints, preprocessing, and the network ready to run.

In: a model's name. Out: its `Model` record, and from that a `Network` that gives the layers of a batch of pictures.
Records are read without torch; only `load` and what it returns import it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "registry": ["BLOG", "BUNDLED", "GROUPS", "TABLE", "get", "names_of", "own", "ready", "table"],
        "record": ["Model", "canonical_layer"],
        "preprocess": ["FRAMINGS", "Preprocess", "resize_image"],
        "descriptors": ["Descriptor"],
        "weights": ["InMemory", "OwnFile"],
        "networks": ["Network", "categories", "device", "load", "pool", "spatial_dims"],
    },
)
