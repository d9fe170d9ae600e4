"""A folder, a table or a Danbooru dump becomes a `Collection`: scanning, decoding, opening of pictures.

In: paths. Out: a `Collection` (ids, labels, what was rejected and why) and decoded RGB pictures.
Nothing here knows of networks or vectors, or needs more than Pillow, numpy and pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collection": ["COLUMNS", "TEXTS", "Collection", "plain_text"],
        "decoding": ["Decoded", "Request", "decode", "processors", "stop"],
        "pictures": ["MAX_PIXELS", "colour_of", "open_image"],
    },
)
