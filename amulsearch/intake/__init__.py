"""From a folder, a table or a Danbooru dump to a `Collection`: scan folders, decode and open pictures.

Input: paths. Output: a `Collection` (ids, labels, rejected files with reasons) and decoded RGB pictures.
This package needs only Pillow, numpy and pandas, and does not depend on networks or vectors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collection": ["COLUMNS", "MOVED", "TEXTS", "Collection", "plain_text"],
        "colours": ["colour_of"],
        "copying": ["copy_pictures"],
        "decoding": ["Decoded", "Request", "decode", "decode_each", "decoding_threads", "processors"],
        "labels": ["label_text"],
        "names": ["ByName", "did_you_mean", "fold_name", "leads_out", "near_names"],
        "outputs": ["note_outputs"],
        "pictures": ["OPENING_VERSION", "open_alike", "open_image", "opening"],
        "scan": ["counts_text"],
        "tables": ["separator_of"],
    },
)
