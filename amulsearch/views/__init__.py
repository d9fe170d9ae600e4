"""Presentation: figures, maps, pages, reports, the explorer and the jury.

Input: collections, features, neighbours and measures. Output: matplotlib figures, HTML and widgets.
No lower room imports this one. matplotlib is imported with `plot`, and anywidget with `explore` and `jury`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["plot"],
    submod_attrs={
        "mapping": ["Map"],
        "page": ["Page"],
        "report": ["write_report"],
        "explorer": ["explore"],
        "jury_widget": ["jury"],
    },
)
