"""Networks by name: records, weights, checkpoints, preprocessing, and the network ready to run.

Input: the name of a model. Output: its `Model` record, and from the record a `Network`, which computes the layers of a
batch of pictures. The table of models is read without torch; `load` and the objects it returns import it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["Model", "canonical_layer", "layer_names"],
        "network_table": ["BLOG", "BUNDLED", "GROUPS", "INNER", "MODERN", "TABLE"],
        "catalogue": [
            *("classifiers", "get", "get_all", "main_layers", "names_of", "reads_words", "standard_layers"),
            *("table", "title"),
        ],
        "own_network": ["own"],
        "preprocess": ["FRAMINGS", "Preprocess", "resize_image"],
        "devices": ["DEVICES", "DeviceConfig", "device"],
        "network": ["PRECISIONS", "Network", "categories", "load"],
        "layers": ["pool"],
    },
)
