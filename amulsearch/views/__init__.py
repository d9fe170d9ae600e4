"""What a person sees: figures, maps, heat maps, pages, reports, the explorer.

In: collections, features, neighbours, measures. Out: matplotlib figures, HTML, widgets.
Nothing below imports this room; matplotlib is imported with `plot`, ipywidgets with `explore`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["plot"],
    submod_attrs={
        "mapping": ["Map"],
        "explain": ["HeatMap", "class_map", "similarity_maps"],
        "page": ["Page"],
        "report": ["write_report"],
        "explorer": ["explore"],
    },
)
