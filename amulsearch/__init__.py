"""Find the pictures of a folder that mean the same, and see which network, layer and fusion finds them best.

Importing this imports nothing else: each name is loaded when it is first used, torch with the first network, and
matplotlib with `plot`.
"""

import sys

if sys.argv[:1] == ["-m"] and {"amulsearch", "-mamulsearch"} & {*sys.orig_argv} and not sys.flags.safe_path:
    del sys.path[0]  # `python -m` puts the working directory before the standard library

import lazy_loader

from . import index as indexes

__getattr__, _, __all__ = lazy_loader.attach(
    __name__,
    submodules=["course", "errors", "features", "measure", "models", "systems", "views"],
    submod_attrs={
        "intake": ["Collection", "open_image"],
        "features": ["Features", "Words", "embed", "extract", "transforms"],
        "store": ["Store"],
        "index": ["AnnoyIndex", "ExactIndex"],
        "systems": ["Diffusion", "Fusion", "Panel", "Relevance", "open_panel", "preset"],
        "measure": ["compare", "evaluate"],
        "views": ["explore", "plot"],
    },
)
__all__ += ["indexes"]


def __dir__() -> list[str]:
    return __all__.copy()
