"""From a folder or a table to a `Collection`: scan folders, decode and open pictures.

Input: paths. Output: a `Collection` (ids, labels, rejected files with reasons) and decoded RGB pictures.
This package needs only Pillow, numpy and pandas, and does not depend on networks or vectors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collection": ["COLUMNS", "MOVED", "Collection", "plain_text"],
        "colours": ["colour_of"],
        "copying": ["copy_pictures"],
        "decoding": ["Decoded", "Request", "decode", "decoding_threads", "processors"],
        "labels": ["label_text"],
        "outputs": ["note_outputs"],
        "pictures": ["OPENING_VERSION", "file_digest", "open_image", "opening"],
        "scan": ["counts_text", "leads_out"],
        "spelling": ["ByName", "did_you_mean", "fold_name", "near_names"],
        "tables": ["separator_of"],
    },
)
